// Runs in the browser, after uPlot in the same module. Draws each time series in the page's colours when it becomes
// visible, and as wide as the page allows. Draws it again when the colours change.
const chartsIn = (page) => JSON.parse(page.querySelector('#charts').textContent);
const { timeZone, charts } = chartsIn(document);
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const zoned = (second) => {
  const date = new Date(second * 1000);
  try {
    return uPlot.tzDate(date, timeZone === 'UTC' ? 'Etc/UTC' : timeZone);
  } catch {
    return uPlot.tzDate(date, 'Etc/UTC');
  }
};
// One time format everywhere. An axis omits the parts that are equal at all ticks.
const instant = uPlot.fmtDate('{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}');
const timeTicks = (_plot, ticks, _axis, _space, step) => {
  const [from, to] = step >= 86400 ? [0, 10] : [11, step < 60 ? 19 : 16];
  const labels = ticks.map((second) => instant(zoned(second)).slice(from, to));
  return labels.map((label, index) => (label === labels[index - 1] ? '' : label));
};
/** A value in the greatest unit that it reaches. */
const short = (value, scale) => {
  if (value === null || value === undefined) return '–';
  const [size, unit] = scale.findLast(([least]) => Math.abs(value) >= least) ?? scale[0];
  return value === 0 ? '0' : Number((value / size).toPrecision(3)) + unit;
};
const PLAIN = [[1, '']];
/** Ticks of bytes are whole units. */
const BINARY = Array.from({ length: 50 }, (_, power) => 2 ** power);
/** Draws marked positions along the x axis. The legend has their labels. */
const drawPlaces = ({ ctx, bbox, valToPos }, places) => {
  ctx.lineWidth = 1.75 * devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const { at, colour } of places) {
    const x = valToPos(at, 'x', true);
    ctx.strokeStyle = colourOf(colour);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
};
const drawLimit = ({ ctx, bbox, valToPos }, { at }) => {
  const y = valToPos(at, 'y', true);
  ctx.strokeStyle = colourOf('limit');
  ctx.lineWidth = 1.75 * devicePixelRatio;
  ctx.setLineDash([7 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
};
/** Points of judged times. Each tone has its own shape. Those beyond the axis are triangles at its edge. */
const SIZE = 4.5;
const shapeOf = { good: 'disc', bad: 'square', warn: 'diamond', plain: 'ring' };
const traceShape = (ctx, shape, x, y, size) => {
  if (shape === 'disc' || shape === 'ring')
    ctx.arc(x, y, shape === 'ring' ? size * 0.8 : size, 0, 2 * Math.PI);
  if (shape === 'square') ctx.rect(x - size, y - size, 2 * size, 2 * size);
  const corners = {
    diamond: [
      [0, -1.3],
      [1.3, 0],
      [0, 1.3],
      [-1.3, 0],
    ],
    triangle: [
      [0, -1.2],
      [1.2, 1],
      [-1.2, 1],
    ],
  };
  for (const [right, down] of corners[shape] ?? []) ctx.lineTo(x + right * size, y + down * size);
  ctx.closePath();
};
const drawTones = ({ ctx, bbox, valToPos }, { at, lines, tones }) => {
  const size = SIZE * devicePixelRatio;
  ctx.lineWidth = 1.75 * devicePixelRatio;
  ctx.setLineDash([]);
  for (const { values } of lines) {
    for (const [index, tone] of tones.entries()) {
      const x = valToPos(at[index], 'x', true);
      if (values[index] === null || x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      const y = valToPos(values[index], 'y', true);
      const isBeyond = y < bbox.top;
      ctx.beginPath();
      traceShape(ctx, isBeyond ? 'triangle' : shapeOf[tone], x, isBeyond ? bbox.top + 1.5 * size : y, size);
      ctx.strokeStyle = colourOf(tone === 'plain' ? 'soft' : 'card');
      ctx.fillStyle = colourOf(tone === 'plain' ? 'card' : tone);
      ctx.fill();
      ctx.stroke();
    }
  }
};
/** Draws the areas behind the lines: time windows and the band of usual values. */
const drawAreas = ({ ctx, bbox, valToPos }, { marks = [], band }) => {
  const right = bbox.left + bbox.width;
  const clamp = (x) => Math.min(right, Math.max(bbox.left, x));
  if (band) {
    ctx.fillStyle = colourOf('band');
    ctx.globalAlpha = 0.35;
    const top = valToPos(band.to, 'y', true);
    ctx.fillRect(bbox.left, top, bbox.width, Math.max(1, valToPos(band.from, 'y', true) - top));
  }
  ctx.globalAlpha = 0.3;
  for (const { from, to, isBad } of marks) {
    ctx.fillStyle = colourOf(isBad ? 'bad' : 'mark');
    const left = clamp(valToPos(from, 'x', true));
    ctx.fillRect(left, bbox.top, Math.max(2, clamp(valToPos(to, 'x', true)) - left), bbox.height);
  }
};
/** Restores the canvas state after drawing. */
const kept = (draw) => (plot) => {
  plot.ctx.save();
  draw(plot);
  plot.ctx.restore();
};
/** Breaks the lines between separate windows, because nothing is known there. */
const brokenColumns = (chart) => {
  const gap = chart.stepS ?? (chart.at.length > 1 ? chart.at[1] - chart.at[0] : 1);
  const at = [];
  const lines = chart.lines.map(() => []);
  chart.at.forEach((second, index) => {
    if (chart.x === undefined && index > 0 && second - chart.at[index - 1] > gap * 1.5) {
      at.push(chart.at[index - 1] + gap);
      for (const values of lines) values.push(null);
    }
    at.push(second);
    for (const [line, values] of lines.entries()) values.push(chart.lines[line].values[index]);
  });
  return [at, ...lines];
};
const heightOf = ({ tall }) => (tall ? 240 : 220);
const drawn = new Map();
const draw = (chart) => {
  const place = document.getElementById(chart.id);
  drawn.get(chart.id)?.plot.destroy();
  const columns = brokenColumns(chart);
  const isTime = chart.x === undefined;
  const greatest = (most) =>
    Math.max(most ?? 0, chart.band?.to ?? 0, ...(chart.limits ?? []).map(({ at }) => at));
  const axis = {
    stroke: colourOf('soft'),
    grid: { stroke: colourOf('grid'), width: 1 },
    ticks: { stroke: colourOf('line'), width: 1 },
  };
  const plot = new uPlot(
    {
      width: Math.max(200, place.clientWidth),
      height: heightOf(chart),
      padding: [null, 28, null, null],
      tzDate: zoned,
      cursor: { ...(isTime && { sync: { key: 'page' } }), drag: { x: true, y: false } },
      scales: {
        x: { time: isTime },
        y: {
          ...(chart.from && { distr: 3 }),
          range: (_, _least, most) => {
            const to = chart.to ?? greatest(most);
            return [chart.from ?? 0, to > 0 ? to * 1.05 : 1];
          },
        },
      },
      hooks: {
        drawClear: [kept((plot) => drawAreas(plot, chart))],
        draw: [
          kept((plot) => {
            for (const limit of chart.limits ?? []) drawLimit(plot, limit);
            drawPlaces(plot, chart.x?.marks ?? []);
            if (chart.tones) drawTones(plot, chart);
          }),
        ],
      },
      axes: [
        {
          ...axis,
          size: 34,
          ...(isTime
            ? { values: timeTicks, space: 80 }
            : { label: chart.x.label, labelSize: 18, labelFont: '12px system-ui, sans-serif' }),
        },
        {
          ...axis,
          size: 64,
          ...(chart.scale[1]?.[0] === 1024 && { incrs: BINARY }),
          values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : short(tick, chart.scale))),
        },
      ],
      series: [
        {
          label: chart.x?.label ?? 'time',
          value: (_, value) => (value === null ? '–' : isTime ? instant(zoned(value)) : short(value, PLAIN)),
        },
        ...chart.lines.map(({ label, colour, isPoints }) => ({
          label,
          stroke: colourOf(colour),
          width: 1.75,
          ...(isPoints
            ? { paths: () => null, points: { show: true, size: 8, fill: colourOf(colour) } }
            : { points: { show: !chart.tones && columns[0].length < 60 } }),
          spanGaps: false,
          value: (_, value) => short(value, chart.scale),
        })),
      ],
    },
    columns,
    place,
  );
  place.dataset.drawn = String(columns[0].length);
  drawn.set(chart.id, { plot, chart });
};
// A collapsed chart has no width, so it is drawn when its part is opened.
const drawSeen = () => {
  for (const chart of charts) {
    const place = document.getElementById(chart.id);
    if (place?.clientWidth > 0 && !drawn.has(chart.id)) draw(chart);
  }
};
drawSeen();
document.addEventListener('toggle', drawSeen, true);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const chart of charts) if (drawn.has(chart.id)) draw(chart);
});
for (const command of document.querySelectorAll('code.command')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'copy';
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = 'copied';
    } catch {
      // The browser does not allow it here: the reader copies what is selected.
      getSelection().selectAllChildren(command);
    }
  });
  command.after(' ', button);
}
// Opens the part that a link points to, because not all browsers do it.
const unfold = () => {
  const part = location.hash === '' ? null : document.getElementById(location.hash.slice(1));
  if (part?.parentElement?.tagName === 'DETAILS') part.parentElement.open = true;
};
unfold();
addEventListener('hashchange', unfold);
addEventListener('beforeprint', () => {
  for (const part of document.querySelectorAll('details')) part.open = true;
});
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === width) return;
  width = innerWidth;
  for (const [id, { plot }] of drawn) {
    const { clientWidth } = document.getElementById(id);
    if (clientWidth > 0) plot.setSize({ width: Math.max(200, clientWidth), height: plot.height });
  }
});
