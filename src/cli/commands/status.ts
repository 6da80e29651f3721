import { once } from 'node:events';
import { Command } from 'commander';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { RecorderPage } from '../../app/live/pages.ts';
import { LiveServer } from '../../app/live/server.ts';
import { ask } from '../../app/recorder-control.ts';
import type { MirrorTimes, RecorderStatus, StatusTally } from '../../core/accounting.ts';
import { value } from '../../core/options.ts';
import { linesOf } from '../../core/text.ts';
import { countOf, formatBytes, formatInstantUs, formatMs, percent } from '../../core/units.ts';
import { type Endpoint, parseServed } from '../../proxy/net/endpoint.ts';
import { addOptions, optionsOf } from '../options.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';
import { CONTROL_OPTIONS } from './control.ts';

const OPTIONS = {
  ...CONTROL_OPTIONS,
  serve: value(
    '--serve <address>',
    'serve a live page on this address, such as 127.0.0.1:9465, until stopped',
    parseServed,
  ),
};

/** `reprise status --dir DIR`: the state of a running recording. */
export function statusCommand(): Command {
  return addOptions(new Command('status'), OPTIONS)
    .description('show the state of a running recording')
    .action(async (_: object, command: Command) => {
      const { dir, json, serve: address } = optionsOf(command, OPTIONS);
      if (address !== null) {
        await serve(dir, address);
        return;
      }
      const status = await ask(dir, 'GET', '/status');
      if (json) terminal.json(status);
      else terminal.print(...statusLines(status));
    });
}

/** Serves the page until SIGINT or SIGTERM. The recording may start later, and stop in between. */
async function serve(directory: string, address: Endpoint): Promise<void> {
  const page = new RecorderPage(() => ask(directory, 'GET', '/status'));
  const server = new LiveServer(page.pages);
  const { url, warning } = await server.listen(address);
  await page.start();
  const interruption = new Interruption();
  terminal.note(...linesOf(`the live page is at ${url}; Ctrl-C ends it`, warning));
  if (!interruption.signal.aborted) await once(interruption.signal, 'abort');
  page.stop();
  server.close();
  interruption.end();
}

function statusLines(status: RecorderStatus): string[] {
  const { connections, restarts, disk } = status;
  const rows: [string, string][] = [
    ['state', `${status.state}${status.why === null ? '' : ` (${status.why})`}`],
    ['traffic', trafficText(status)],
    ['pairs', status.pairs.map(({ listen, target }) => `${listen} to ${target}`).join(', ')],
    ...routeRows(status),
    ['since', formatInstantUs(status.startedUs)],
    [
      'connections',
      `${connections.open} open, ${connections.seen} seen, ${connections.turnedAway} turned away`,
    ],
    ['failed connections', countsText(connections.failed)],
    ['refused connections', countsText(connections.refused)],
    ['probes dropped', String(status.probesDropped)],
    ['seen', tallyText(status.seen)],
    ['recorded', `${tallyText(status.recorded)}, ${status.exchanges} exchanges`],
    ['answers', answersText(status)],
    ['lost', talliesText(status.lost)],
    ['omitted', talliesText(status.omitted)],
    ['pending', tallyText(status.pending)],
    ['queue', formatBytes(status.queuedBytes)],
    ['bodies cut', String(status.bodiesCut)],
    ['bodies dropped', countsText(status.traffic.bodiesDropped)],
    ['links missed', countsText(status.traffic.linksMissed)],
    ['protocols', protocolsText(status.traffic.protocols)],
    ['recorder memory', sizeText(status.recorderResidentBytes)],
    ['recorder restarts', String(restarts.recorder)],
    ['recording failed', String(status.recordingFailures)],
    ...mirrorRows(status),
    ['capture', disk.directory],
    ['on disk', `${sizeText(disk.bytes)} of ${sizeText(disk.maxBytes)}, ${sizeText(disk.freeBytes)} free`],
  ];
  return tableLines(columnsOf(['', ''], []), rows).slice(1);
}

/** Rows about the mirror; empty without one. */
function mirrorRows({ mirror }: RecorderStatus): [string, string][] {
  if (mirror === null) return [];
  const { url, share, chosen, inFlight, answered, otherStatus, slower, statuses } = mirror;
  const pairs = Object.entries(statuses).map(([pair, count]) => `${pair.replace(' ', ' to ')} ${count}`);
  const rows = ['production', 'mirror'] as const;
  return [
    ['mirror', `${url}, ${percent(share)} of what is recorded`],
    ['mirrored', `${chosen} chosen, ${answered} answered, ${inFlight} under way`],
    ['not mirrored', countsText(mirror.dropped)],
    ['mirror failed', countsText(mirror.failed)],
    ['other status', `${otherStatus}${pairs.length === 0 ? '' : `: ${pairs.join(', ')}`}`],
    ['slower', String(slower)],
    ...rows.map((server): [string, string] => [
      `at ${server === 'mirror' ? 'the mirror' : server}`,
      `first byte ${timesText(mirror.firstByteMs[server])}; latency ${timesText(mirror.latencyMs[server])}`,
    ]),
    ['recorder delay', timesText(mirror.delayMs)],
  ];
}

function timesText({ p50, p95, p99 }: MirrorTimes): string {
  const ms = (value: number | null) => (value === null ? '–' : formatMs(value));
  return `p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}`;
}

function trafficText({ ready, draining, mode }: RecorderStatus): string {
  const accepting = ready ? 'accepted' : 'not accepted';
  return `${draining ? 'draining' : accepting} (${mode})`;
}

/** The routes of a gateway. */
function routeRows({ routes }: RecorderStatus): [string, string][] {
  const text = routes.map(({ path, target }) => `${path} to ${target}`).join(', ');
  return text === '' ? [] : [['routes', text]];
}

/** Recorded answers since the start, by class of status: `2xx 498, 4xx 265 (34.7 %)`. */
function answersText({ traffic }: RecorderStatus): string {
  const counts = new Map<string, number>();
  for (const { codeClass, count } of traffic.requests)
    counts.set(codeClass, (counts.get(codeClass) ?? 0) + count);
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const texts = [...counts]
    .filter(([, count]) => count > 0)
    .sort(([one], [other]) => one.localeCompare(other))
    .map(([name, count]) => `${name === 'none' ? 'no answer' : name} ${count} (${percent(count / all)})`);
  return texts.join(', ') || 'none yet';
}

function tallyText({ bytes, turns }: StatusTally): string {
  return `${formatBytes(bytes)} in ${turns} turns`;
}

function talliesText(tallies: Readonly<Partial<Record<string, StatusTally>>>): string {
  const texts = Object.entries(tallies).map(([name, tally]) => `${name} ${tally ? tallyText(tally) : ''}`);
  return texts.join(', ') || 'nothing';
}

function protocolsText(protocols: RecorderStatus['traffic']['protocols']): string {
  const texts = Object.entries(protocols).map(([name, count = { connections: 0, bytes: 0 }]) => {
    return `${name} ${countOf(count.connections, 'ended connection')} (${formatBytes(count.bytes)})`;
  });
  return texts.join(', ') || 'none ended';
}

function countsText(counts: Readonly<Record<string, number>>): string {
  const texts = Object.entries(counts).filter(([, count]) => count > 0);
  return texts.map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
}

/** An unknown size is shown as unknown, because 0 would be wrong. */
function sizeText(bytes: number | null): string {
  return bytes === null ? 'unknown' : formatBytes(bytes);
}
