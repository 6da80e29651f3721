import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { SocketAddress } from 'node:net';
import { LIMITS } from '../core/limits.ts';
import { type Look, type MonitorSource, type Reading, readingOf } from './source.ts';

const LISTENING = '0A';

/**
 * The visible processes of this host that listen on a TCP port. Those of another user or container are hidden. Empty
 * without /proc.
 */
export function serversOf(port: number): number[] {
  const sockets = new Set(
    listeningSockets()
      .filter((socket) => socket.port === port)
      .map(({ link }) => link),
  );
  if (sockets.size === 0) return [];
  return attempt(() => readdirSync('/proc'))
    .filter((name) => /^\d+$/.test(name) && descriptorsOf(name).some((link) => sockets.has(link)))
    .map(Number);
}

/** A TCP address that is listened on; `0.0.0.0` or `::` for every address of the host. */
export interface Listener {
  readonly host: string;
  readonly port: number;
}

/** Where a process and its descendants listen, one address for each port. Empty without /proc. */
export async function listenersBelow(pid: number): Promise<readonly Listener[]> {
  const sockets = new Map(listeningSockets().map((socket) => [socket.link, socket]));
  const tree = treeOf([pid], await allProcesses());
  const found = tree
    .flatMap((each) => descriptorsOf(String(each.pid)))
    .map((link) => sockets.get(link))
    .filter((socket) => socket !== undefined);
  const byPort = new Map(found.toReversed().map(({ host, port }) => [port, { host, port }]));
  return [...byPort.values()].sort((one, other) => one.port - other.port);
}

/** What the descriptors of a process refer to. */
function descriptorsOf(pid: string): string[] {
  return attempt(() => readdirSync(`/proc/${pid}/fd`)).flatMap((fd) =>
    attempt(() => [readlinkSync(`/proc/${pid}/fd/${fd}`)]),
  );
}

/** Listening sockets, with the link by which descriptors refer to each: `socket:[123]`. */
function listeningSockets(): (Listener & { readonly link: string })[] {
  const lines = ['tcp', 'tcp6'].flatMap((table) =>
    attempt(() => readFileSync(`/proc/net/${table}`, 'latin1').split('\n').slice(1)),
  );
  return lines.flatMap((line) => {
    const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state !== LISTENING) return [];
    const [address = '', port = ''] = local.split(':');
    return [{ host: hostOf(address), port: Number.parseInt(port, 16), link: `socket:[${inode}]` }];
  });
}

/** An address in /proc/net/tcp: words of four bytes, each with its last byte first. */
function hostOf(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => [...Buffer.from(word, 'hex').reverse()]);
  if (bytes.length === 4) return bytes.join('.');
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff;
  if (isMapped) return bytes.slice(12).join('.');
  const words = Buffer.from(bytes).toString('hex').match(/.{4}/g) ?? [];
  const { address } = new SocketAddress({ address: words.join(':'), family: 'ipv6' });
  return address;
}

/** The result of reading; empty if the process has ended or belongs to another user. */
function attempt(read: () => string[]): string[] {
  try {
    return read();
  } catch {
    return [];
  }
}

/** Ticks a second of the times in /proc: 100 on every architecture that Linux has servers on. */
const TICKS_PER_S = 100;

/** Facts about a process in /proc/PID/stat. */
interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  /** CPU time of the process and its ended children, seconds. */
  readonly cpuS: number;
  readonly threads: number;
}

/**
 * CPU time, memory, threads and open files of processes and all their descendants. The CPU time of an ended child is
 * added to its parent's, so the sum only grows. `memory` counts a shared page once for each process that has it.
 * `memory_pss` counts it once; it exists only for several processes.
 */
export class ProcessSource implements MonitorSource {
  readonly kind = 'process';
  readonly name: string;
  readonly address: string;
  readonly intervalMs: number;
  readonly #roots: () => readonly number[];

  /** @param of the number of a process, or a port on which it listens */
  constructor(name: string, of: { readonly pid: number } | { readonly port: number }, intervalMs: number) {
    this.name = name;
    this.intervalMs = intervalMs;
    this.address = 'pid' in of ? `pid ${of.pid}` : `port ${of.port}`;
    // The listening processes are searched at every look, because a restarted server has another pid.
    this.#roots = 'pid' in of ? () => [of.pid] : () => serversOf(of.port);
  }

  async look(): Promise<Look> {
    const roots = this.#roots();
    if (roots.length === 0) throw new Error(`no process that we may see listens on ${this.address}`);
    const all = await allProcesses();
    const tree = treeOf(roots, all).slice(0, LIMITS.monitoredProcesses);
    if (tree.length === 0) throw new Error(`${this.address} is no process that runs`);
    return { readings: await readingsOf(tree), ageMs: 0, unknown: 0 };
  }
}

async function readingsOf(tree: readonly ProcessFacts[]): Promise<Reading[]> {
  const sum = (of: (each: ProcessFacts) => number) => tree.reduce((total, each) => total + of(each), 0);
  const resident = await total(tree, residentOf);
  const files = await total(tree, async ({ pid }) => (await readdir(`/proc/${pid}/fd`)).length);
  // Reading the PSS of a process delays it. For a single process it tells no more than its resident memory.
  const shared = tree.length === 1 ? null : await total(tree, pssOf);
  const gauge = (name: string, unit: Reading['unit'], value: number | null): Reading[] =>
    value === null ? [] : [readingOf({ name, metric: '/proc', kind: 'gauge', unit, value })];
  return [
    readingOf({ name: 'cpu', metric: '/proc', kind: 'counter', unit: 's', value: sum(({ cpuS }) => cpuS) }),
    ...gauge('memory', 'bytes', resident),
    ...gauge('memory_pss', 'bytes', shared),
    ...gauge(
      'threads',
      'count',
      sum(({ threads }) => threads),
    ),
    ...gauge('open_files', 'count', files),
  ];
}

async function residentOf({ pid }: ProcessFacts): Promise<number> {
  return residentBytesIn(await readFile(`/proc/${pid}/status`, 'latin1'));
}

/** The resident memory in /proc/PID/status; 0 for a zombie. /proc/PID/stat has pages, whose size differs by host. */
export function residentBytesIn(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1_024;
}

async function pssOf({ pid }: ProcessFacts): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1');
  return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? Number.NaN) * 1_024;
}

/** The sum over a tree; null if a process belongs to another user. A process that ended meanwhile counts 0. */
async function total(
  tree: readonly ProcessFacts[],
  of: (each: ProcessFacts) => Promise<number>,
): Promise<number | null> {
  const each = await Promise.all(tree.map((one) => of(one).catch(endedOrHidden)));
  return each.some((value) => value === null || Number.isNaN(value))
    ? null
    : each.reduce<number>((sum, value) => sum + (value ?? 0), 0);
}

function endedOrHidden(thrown: unknown): 0 | null {
  const { code } = thrown as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ESRCH' ? 0 : null;
}

async function allProcesses(): Promise<readonly ProcessFacts[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const facts = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/stat`, 'latin1').then(processFactsOf, () => null)),
  );
  return facts.filter((each) => each !== null);
}

/** Parses /proc/PID/stat. The program's name is in parentheses and may contain any character. */
export function processFactsOf(stat: string): ProcessFacts | null {
  const pid = Number.parseInt(stat, 10);
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .trim()
    .split(' ')
    .map(Number);
  // `fields` begins at field 3. Field 4 is the parent, 14 to 17 the times, 20 the threads.
  const field = (number: number) => fields[number - 3] ?? Number.NaN;
  const ticks = field(14) + field(15) + field(16) + field(17);
  if (Number.isNaN(pid + ticks + field(20))) return null;
  return {
    pid,
    parent: field(4),
    cpuS: ticks / TICKS_PER_S,
    threads: field(20),
  };
}

function treeOf(roots: readonly number[], all: readonly ProcessFacts[]): ProcessFacts[] {
  const children = Map.groupBy(all, ({ parent }) => parent);
  const byPid = new Map(all.map((each) => [each.pid, each]));
  const tree = new Map<number, ProcessFacts>();
  const open = roots.map((pid) => byPid.get(pid));
  for (let next = open.pop(); open.length > 0 || next !== undefined; next = open.pop()) {
    if (next === undefined || tree.has(next.pid)) continue;
    tree.set(next.pid, next);
    open.push(...(children.get(next.pid) ?? []));
  }
  return [...tree.values()];
}
