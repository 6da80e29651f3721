import type { RecorderStatus } from '../../core/accounting.ts';
import { escaped, type PageAssets, policyOf, scriptJson } from './html.ts';

/** Nothing but the page's own style and script, and questions to where it came from. */
export function livePolicy(assets: PageAssets): string {
  return policyOf(assets, ["connect-src 'self'", "frame-ancestors 'none'"]);
}

/**
 * The live page of a recorder: self-contained HTML that shows `status` at once, without a script as well, and
 * asks for `/status.json` each second. To be sent with `livePolicy`.
 */
export function livePage(status: RecorderStatus, assets: PageAssets): string {
  const pairs = status.pairs.map(({ listen, target }) => `${listen} → ${target}`);
  const routes = status.routes.map(({ path, target }) => `${path} → ${target}`);
  return page(status, assets, {
    state: status.state,
    badge: status.state,
    why: status.why ?? '',
    about: `${status.mode} ${[...pairs, ...routes].join(', ')}`,
    directory: status.disk.directory,
    at: new Date(status.atUs / 1000).toISOString(),
  });
}

/** The same page while no recorder answers: it says why, and follows the recorder once there is one. */
export function absentPage(why: string, assets: PageAssets): string {
  return page(null, assets, { state: 'GONE', badge: 'no answer', why, about: '', directory: '', at: '–' });
}

type Field = 'badge' | 'why' | 'about' | 'directory' | 'at';

function page(
  status: RecorderStatus | null,
  assets: PageAssets,
  { state, ...shown }: { readonly state: string } & Readonly<Record<Field, string>>,
): string {
  const text = (field: Field) => escaped(shown[field]);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reprise: recorder</title>
<style>${assets.style}</style>
</head>
<body data-state="${escaped(state)}">
<header><h1>Recorder</h1> <span class="badge" data-field="state">${text('badge')}</span> <span data-field="why">${text('why')}</span></header>
<p data-field="about">${text('about')}</p>
<p><span data-field="directory">${text('directory')}</span> as of <span data-field="at">${text('at')}</span></p>
<dl class="facts">
${FACTS.map(([name, field]) => factCard(name, field, status === null ? '–' : factOf(status, field))).join('\n')}
</dl>
<figure>
<figcaption>Exchanges recorded each second, over two minutes (top: <span data-field="rate-top">–</span>). A dip without a dip in traffic is a recorder that sheds.</figcaption>
<svg viewBox="0 0 600 120" preserveAspectRatio="none" role="img" aria-label="exchanges recorded each second"><polyline id="rate-line" points=""/></svg>
</figure>
<div class="pair">
${tallyTable('Lost, by reason', 'lost')}
${tallyTable('Left out on purpose, by cause', 'omitted')}
</div>
<h2>Last exchanges</h2>
<div class="scroll"><table><thead><tr><th>arrival (UTC)</th><th>route</th><th>model</th><th>status</th><th>request</th><th>response</th><th>took</th></tr></thead><tbody data-field="recent"></tbody></table></div>
<noscript><p>Without JavaScript this page shows the moment it was loaded; load it again for the next.</p></noscript>
<script type="application/json" id="first">${scriptJson(status)}</script>
<script type="module">${assets.script}</script>
</body>
</html>
`;
}

const FACTS = [
  ['exchanges per second', 'rate'],
  ['bytes per second', 'throughput'],
  ['exchanges recorded', 'exchanges'],
  ['recorded share of bytes', 'share'],
  ['open connections', 'open'],
  ['turned away', 'turned-away'],
  ['pending', 'pending'],
  ['queued for the recorder', 'queued'],
  ['recorder’s memory', 'recorder-memory'],
  ['capture on disk', 'disk'],
  ['free on its disk', 'free'],
  ['restarts', 'restarts'],
  ['bodies cut', 'bodies-cut'],
] as const;
type Fact = (typeof FACTS)[number][1];
/** Shown where there are any. */
const MISHAPS: ReadonlySet<Fact> = new Set(['bodies-cut']);

function factCard(name: string, field: Fact, value: string): string {
  const hidden = MISHAPS.has(field) && (value === '0' || value === '–') ? ' hidden' : '';
  return `<div${hidden}><dt>${name}</dt><dd data-field="${field}">${escaped(value)}</dd></div>`;
}

/** The values of a single reading, for browsers without scripts. */
function factOf(status: RecorderStatus, field: Fact): string {
  if (field === 'exchanges') return String(status.exchanges);
  if (field === 'open') return String(status.connections.open);
  if (field === 'turned-away') return String(status.connections.turnedAway);
  if (field === 'disk') return `${status.disk.bytes ?? '–'} of ${status.disk.maxBytes ?? '–'} bytes`;
  if (field === 'bodies-cut') return String(status.bodiesCut);
  if (field === 'pending') return `${status.pending.turns} turns`;
  return '–';
}

function tallyTable(title: string, field: string): string {
  return `<div><h2>${title}</h2><div class="scroll"><table><thead><tr><th></th><th>turns</th><th>bytes</th></tr></thead><tbody data-field="${field}"></tbody></table></div></div>`;
}
