// Runs in the browser: asks for the status each second and writes it into the page, as text only.
const POINTS = 120;
const rates = [];
let before = null;
const find = (name) => document.querySelector(`[data-field="${name}"]`);
const put = (name, text) => {
  const cell = find(name);
  if (cell) cell.textContent = text;
};
const mishaps = (name, count) => {
  put(name, number(count));
  find(name).parentElement.hidden = !(count > 0);
};
const number = (value) => (value === null || value === undefined ? '–' : value.toLocaleString('en'));
const size = (bytes) => {
  if (bytes === null || bytes === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  let value = bytes;
  for (; value >= 1024 && at < units.length - 1; at += 1) value /= 1024;
  return `${at === 0 ? value : value.toFixed(1)} ${units[at]}`;
};
const perSecond = (value) => (value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(1));
const rows = (name, lines) => {
  const body = find(name);
  if (!body) return;
  body.replaceChildren(
    ...lines.map((cells) => {
      const row = document.createElement('tr');
      for (const text of cells) {
        const cell = document.createElement('td');
        cell.textContent = text;
        row.append(cell);
      }
      return row;
    }),
  );
};
const tallies = (parts) => {
  const lines = Object.entries(parts)
    .filter(([, tally]) => tally.bytes + tally.turns > 0)
    .map(([name, tally]) => [name, number(tally.turns), size(tally.bytes)]);
  return lines.length > 0 ? lines : [['nothing', '', '']];
};
const draw = () => {
  const top = Math.max(1, ...rates);
  const step = 600 / (POINTS - 1);
  const from = POINTS - rates.length;
  const points = rates.map(
    (rate, index) => `${((from + index) * step).toFixed(1)},${(118 - (rate / top) * 112).toFixed(1)}`,
  );
  document.querySelector('#rate-line').setAttribute('points', points.join(' '));
  put('rate-top', `${perSecond(top)}/s`);
};
const show = (status) => {
  document.body.dataset.state = status.state;
  put('state', status.draining ? `${status.state}, draining` : status.state);
  put('why', status.why ?? '');
  const pairs = status.pairs.map(({ listen, target }) => `${listen} → ${target}`);
  const routes = (status.routes ?? []).map(({ path, target }) => `${path} → ${target}`);
  put('about', `${status.mode} ${[...pairs, ...routes].join(', ')}`);
  put('directory', status.disk.directory);
  put('exchanges', number(status.exchanges));
  put('open', number(status.connections.open));
  put('turned-away', number(status.connections.turnedAway));
  put('pending', `${number(status.pending.turns)} turns, ${size(status.pending.bytes)}`);
  put('queued', size(status.queuedBytes));
  put('recorder-memory', size(status.recorderResidentBytes));
  put('disk', `${size(status.disk.bytes)} of ${size(status.disk.maxBytes)}`);
  put('free', size(status.disk.freeBytes));
  put('restarts', `${status.restarts.recorder} recorder`);
  mishaps('bodies-cut', status.bodiesCut);
  const seen = status.seen.bytes;
  put(
    'share',
    seen === 0
      ? '–'
      : `${((100 * status.recorded.bytes) / Math.max(1, seen - status.pending.bytes)).toFixed(2)} %`,
  );
  rows('lost', tallies(status.lost));
  rows('omitted', tallies(status.omitted));
  rows(
    'recent',
    status.recent.map((one) => [
      new Date(one.arrivalUs / 1000).toISOString().slice(11, 23),
      one.route ?? '–',
      one.model ?? '–',
      String(one.status ?? one.outcome),
      size(one.requestBytes),
      size(one.responseBytes),
      one.durationUs === null ? '–' : `${(one.durationUs / 1000).toFixed(1)} ms`,
    ]),
  );
  if (before && status.atUs > before.atUs && status.startedUs === before.startedUs) {
    const seconds = (status.atUs - before.atUs) / 1e6;
    const rate = Math.max(0, (status.exchanges - before.exchanges) / seconds);
    rates.push(rate);
    if (rates.length > POINTS) rates.shift();
    put('rate', perSecond(rate));
    put('throughput', `${size(Math.round(Math.max(0, status.seen.bytes - before.seen.bytes) / seconds))}/s`);
    draw();
  }
  before = status;
  put('at', `${new Date(status.atUs / 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC`);
};
const ask = async () => {
  try {
    const answer = await fetch('/status.json', { cache: 'no-store' });
    const status = await answer.json();
    if (!answer.ok) throw new Error([status.error, status.hint].filter(Boolean).join('. '));
    show(status);
  } catch (error) {
    document.body.dataset.state = 'GONE';
    put('state', 'no answer');
    put('why', String(error.message ?? error));
  }
  setTimeout(ask, 1000);
};
const first = JSON.parse(document.querySelector('#first').textContent);
if (first) show(first);
setTimeout(ask, 1000);
