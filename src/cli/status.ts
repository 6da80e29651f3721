import { once } from 'node:events';
import { Command } from 'commander';
import { value } from '../core/options.ts';
import type { RecorderStatus, StatusTally } from '../core/status.ts';
import { formatBytes, formatInstantUs } from '../core/units.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../proxy/endpoint.ts';
import { ask, CONTROL_OPTIONS } from './control.ts';
import { addOptions } from './flags.ts';
import { Interruption } from './interruption.ts';
import { optionsOf } from './options.ts';
import { StatusServer } from './status-server.ts';
import { terminal } from './terminal.ts';

const OPTIONS = {
  ...CONTROL_OPTIONS,
  serve: value(
    '--serve <address>',
    'show it as a live page, such as 127.0.0.1:9465, until stopped',
    (address, what) => parseEndpoint(address, what, { anyPort: true }),
  ),
};

/** `reprise status --dir DIR`: how a running recording fares. */
export function statusCommand(): Command {
  const command = new Command('status')
    .description('say how a running recording fares')
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
  return addOptions(command, OPTIONS);
}

/** Until SIGINT or SIGTERM; the recording need not be there yet, or all the time. */
async function serve(directory: string, address: Endpoint): Promise<void> {
  const server = new StatusServer(() => ask(directory, 'GET', '/status'));
  const bound = await server.listen(address);
  const interruption = new Interruption();
  terminal.note(`the live page is at http://${formatEndpoint(bound)}/; Ctrl-C ends it`);
  if (!interruption.signal.aborted) await once(interruption.signal, 'abort');
  server.close();
  interruption.end();
}

function statusLines(status: RecorderStatus): string[] {
  const { connections, restarts, disk } = status;
  const rows: [string, string][] = [
    ['state', `${status.state}${status.why === null ? '' : ` (${status.why})`}`],
    ['traffic', trafficText(status)],
    ['pairs', status.pairs.map(({ listen, target }) => `${listen} to ${target}`).join(', ')],
    // A recorder of before says none.
    ...(status.routes?.length > 0
      ? [
          ['routes', status.routes.map(({ path, target }) => `${path} to ${target}`).join(', ')] as [
            string,
            string,
          ],
        ]
      : []),
    ['since', formatInstantUs(status.startedUs)],
    [
      'connections',
      `${connections.open} open, ${connections.seen} seen, ${connections.turnedAway} turned away`,
    ],
    ['failed', countsText(connections.failed)],
    ['refused', countsText(connections.refused)],
    ['seen', tallyText(status.seen)],
    ['recorded', `${tallyText(status.recorded)}, ${status.exchanges} exchanges`],
    ['lost', talliesText(status.lost)],
    ['omitted', talliesText(status.omitted)],
    ['pending', tallyText(status.pending)],
    ['queue', formatBytes(status.queuedBytes)],
    ['bodies cut', String(status.bodiesCut)],
    ['bodies dropped', countsText(status.traffic.bodiesDropped)],
    ['protocols', protocolsText(status.traffic.protocols)],
    ['recorder', sizeText(status.recorderResidentBytes)],
    ['restarts', `recorder ${restarts.recorder}`],
    ['capture', disk.directory],
    ['on disk', `${sizeText(disk.bytes)} of ${sizeText(disk.maxBytes)}, ${sizeText(disk.freeBytes)} free`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

function trafficText({ ready, draining, mode }: RecorderStatus): string {
  const accepting = ready ? 'accepted' : 'not accepted';
  return `${draining ? 'draining' : accepting} (${mode})`;
}

function tallyText({ bytes, turns }: StatusTally): string {
  return `${formatBytes(bytes)} in ${turns} turns`;
}

function talliesText(tallies: Readonly<Partial<Record<string, StatusTally>>>): string {
  const texts = Object.entries(tallies).map(([name, tally]) => `${name} ${tally ? tallyText(tally) : ''}`);
  return texts.join(', ') || 'nothing';
}

/** A recorder of before says none. */
function protocolsText(protocols: RecorderStatus['traffic']['protocols'] | undefined): string {
  const texts = Object.entries(protocols ?? {}).map(([name, count = { connections: 0, bytes: 0 }]) => {
    return `${name} ${count.connections} (${formatBytes(count.bytes)})`;
  });
  return texts.join(', ') || 'none ended';
}

function countsText(counts: Readonly<Record<string, number>>): string {
  const texts = Object.entries(counts).filter(([, count]) => count > 0);
  return texts.map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
}

/** Where nobody knows it, that is said: 0 would be a claim. */
function sizeText(bytes: number | null): string {
  return bytes === null ? 'unknown' : formatBytes(bytes);
}
