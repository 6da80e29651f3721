// Runs in the browser, after chart.js in the same module: requests the page each second and updates what changed.
const ask = async () => {
  try {
    const answer = await fetch('/', { cache: 'no-store' });
    const text = await answer.text();
    if (!text.includes('<main data-live')) {
      // The live page has ended. Load the page that follows it.
      location.reload();
      return;
    }
    takeOver(new DOMParser().parseFromString(text, 'text/html'));
  } catch (error) {
    const main = document.querySelector('main');
    main.dataset.state = 'GONE';
    const banner = main.querySelector('.banner');
    banner.className = 'banner bad';
    banner.querySelector('[data-of="state"]').textContent = 'no answer';
    banner.querySelector('[data-of="sentence"]').textContent = String(error.message ?? error);
  }
  setTimeout(ask, 1000);
};
/** Takes newer values over. A chart that is drawn keeps its pointer and what is zoomed into. */
const takeCharts = (page) => {
  charts.splice(0, charts.length, ...chartsIn(page).charts);
  for (const next of charts) {
    const { plot, chart } = drawn.get(next.id) ?? {};
    if (plot === undefined) continue;
    if (String(next.lines.map(({ label }) => label)) !== String(chart.lines.map(({ label }) => label))) {
      draw(next);
      continue;
    }
    const { min, max } = plot.scales.x;
    // Of a single point uPlot shows years, which nobody zoomed to.
    const [known] = plot.data;
    const isWhole = known.length < 2 || (min === known[0] && max === known.at(-1));
    for (const key of ['at', 'lines', 'limits', 'marks', 'stepS']) chart[key] = next[key];
    const columns = brokenColumns(chart);
    plot.setData(columns, isWhole);
    if (!isWhole) plot.redraw();
    document.getElementById(chart.id).dataset.drawn = String(columns[0].length);
  }
  drawSeen();
};
const forgetCharts = () => {
  for (const { plot } of drawn.values()) plot.destroy();
  drawn.clear();
};
/** Replaces only changed fields, so that selected text and scrolled tables stay as they are. */
const takeOver = (page) => {
  const main = document.querySelector('main');
  const next = page.querySelector('main');
  const fields = (of) => [...of.querySelectorAll('[data-field]')];
  const keys = (of) => fields(of).map((each) => each.dataset.field);
  if (String(keys(main)) !== String(keys(next))) {
    forgetCharts();
    main.replaceChildren(...next.childNodes);
  } else {
    const news = fields(next);
    for (const [at, field] of fields(main).entries()) {
      if (field.outerHTML !== news[at].outerHTML) field.replaceWith(news[at]);
    }
  }
  main.dataset.state = next.dataset.state;
  takeCharts(page);
};
setTimeout(ask, 1000);
