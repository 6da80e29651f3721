// Runs in the browser, behind uPlot in one module: draws each time series in the colours of the page, again when these
// change, and as wide as there is room.
const { timeZone, charts } = JSON.parse(document.querySelector('#charts').textContent);
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const zoned = (second) => {
  const date = new Date(second * 1000);
  try {
    return uPlot.tzDate(date, timeZone === 'UTC' ? 'Etc/UTC' : timeZone);
  } catch {
    return uPlot.tzDate(date, 'Etc/UTC');
  }
};
const short = (value) => {
  if (value === null || value === undefined) return '–';
  const units = [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ];
  const unit = units.find(([size]) => Math.abs(value) >= size);
  return unit ? Number((value / unit[0]).toPrecision(3)) + unit[1] : String(Number(value.toPrecision(3)));
};
const drawMarks = (plot, marks) => {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  for (const [index, { label, at, colour }] of marks.entries()) {
    const x = plot.valToPos(at, 'x', true);
    ctx.strokeStyle = colourOf(colour);
    ctx.fillStyle = colourOf(colour);
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const isRight = x > bbox.left + bbox.width / 2;
    ctx.textAlign = isRight ? 'right' : 'left';
    ctx.fillText(
      label,
      x + (isRight ? -4 : 4) * devicePixelRatio,
      bbox.top + (14 + index * 14) * devicePixelRatio,
    );
  }
  ctx.restore();
};
const drawn = new Map();
const draw = (chart) => {
  const place = document.getElementById(chart.id);
  if (!place || chart.at.length === 0) return;
  drawn.get(chart.id)?.destroy();
  const axis = {
    stroke: colourOf('soft'),
    grid: { stroke: colourOf('grid'), width: 1 },
    ticks: { stroke: colourOf('line'), width: 1 },
  };
  const gap = chart.at.length > 1 ? chart.at[1] - chart.at[0] : 1;
  // Where windows lie apart nothing is known between them: a line there would lie.
  const at = [];
  const lines = chart.lines.map(() => []);
  const isTime = chart.x === undefined;
  chart.at.forEach((second, index) => {
    if (isTime && index > 0 && second - chart.at[index - 1] > gap * 1.5) {
      at.push(chart.at[index - 1] + gap);
      for (const values of lines) values.push(null);
    }
    at.push(second);
    for (const [line, values] of lines.entries()) values.push(chart.lines[line].values[index]);
  });
  const plot = new uPlot(
    {
      width: Math.max(200, place.clientWidth),
      height: 220,
      tzDate: zoned,
      cursor: { ...(isTime && { sync: { key: 'page' } }), drag: { x: true, y: false } },
      scales: { x: { time: isTime }, y: { range: (_, _least, most) => [0, most > 0 ? most * 1.05 : 1] } },
      hooks: {
        draw: [(plot) => drawMarks(plot, chart.x?.marks ?? [])],
        drawClear: [
          ({ ctx, bbox, valToPos }) => {
            ctx.save();
            ctx.fillStyle = colourOf('line');
            ctx.globalAlpha = 0.5;
            for (const { from, to } of chart.marks ?? []) {
              const clamp = (x) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, x));
              const [left, right] = [clamp(valToPos(from, 'x', true)), clamp(valToPos(to, 'x', true))];
              ctx.fillRect(left, bbox.top, right - left, bbox.height);
            }
            ctx.restore();
          },
        ],
      },

      axes: [axis, { ...axis, size: 56, values: (_, ticks) => ticks.map(short) }],
      series: [
        { label: chart.x?.label ?? 'time' },
        ...chart.lines.map(({ label, colour }) => ({
          label,
          stroke: colourOf(colour),
          width: 1.25,
          points: { show: at.length < 60 },
          spanGaps: false,
          value: (_, value) => short(value) + (value === null ? '' : ` ${chart.unit}`),
        })),
      ],
    },
    [at, ...lines],
    place,
  );
  place.dataset.drawn = String(at.length);
  drawn.set(chart.id, plot);
};
const drawAll = () => charts.forEach(draw);
drawAll();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === width) return;
  width = innerWidth;
  for (const [id, plot] of drawn)
    plot.setSize({ width: Math.max(200, document.getElementById(id).clientWidth), height: 220 });
});
