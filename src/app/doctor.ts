import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { connect, isIP, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import type { RecorderStatus } from '../core/accounting.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { type ResolvedOptions, text, value } from '../core/options.ts';
import { formatBytes, MIB, parseCount } from '../core/units.ts';
import { type HostLimits, readHostLimits, shareGroupOf } from '../monitors/host.ts';
import { serversOf } from '../monitors/process-tree.ts';
import { type Endpoint, formatEndpoint, isLoopback, parseEndpoint } from '../proxy/net/endpoint.ts';
import { mustBeFree } from '../proxy/net/listen.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { latestMetas } from '../storage/capture/keys.ts';
import { ask } from './recorder-control.ts';
import { leastMemoryBytes } from './recording/memory-budget.ts';
import { connectionRoom, PROBE_LISTEN, probeAddressOf } from './recording/record-options.ts';

export const DOCTOR_OPTIONS = {
  dir: text('--dir <directory>', 'directory to check for a capture', { default: '.' }),
  listen: value('--listen <address>', 'listen address to check', (address, what) =>
    parseEndpoint(address, what, { anyPort: true }),
  ),
  probeListen: value('--probe-listen <address>', 'with --listen: probe address to check', probeAddressOf, {
    default: PROBE_LISTEN,
  }),
  target: value('--target <url>', 'the model server', (address, what) => parseEndpoint(address, what)),
  maxConnections: value('--max-connections <n>', 'value to check for record --max-connections', parseCount, {
    default: String(LIMITS.connections),
  }),
};
type DoctorOptions = ResolvedOptions<typeof DOCTOR_OPTIONS>;

/** Checks what a recording or a replay needs of this host. Changes nothing. */
export async function examine(options: DoctorOptions): Promise<Finding[]> {
  const { dir, listen, probeListen, target } = options;
  const limits = readHostLimits();
  const running = await runningIn(dir);
  const served = listen === null ? [] : (running?.pairs ?? []).map((pair) => pair.listen);
  return [
    nodeFinding(process.versions.node),
    cpuFinding(limits),
    memoryFinding(limits, options),
    openFilesFinding(limits, options),
    coreFinding(limits),
    diskFinding(dir),
    ...encryptionFindings(dir),
    timerFinding(),
    ...(listen === null ? [] : [await listenFinding(listen, served)]),
    ...(listen === null || probeListen === null
      ? []
      : [await probeFinding({ kind: 'tcp', tls: false, ...probeListen }, listen, served)]),
    ...(target === null ? [] : [await targetFinding(target)]),
    ...(target === null ? [] : shareFindings(target, running?.pids.recorder ?? process.pid)),
  ];
}

/** The status of the recording in this directory. In its own container, this recording holds the port. */
async function runningIn(directory: string): Promise<RecorderStatus | null> {
  try {
    return await ask(directory, 'GET', '/status');
  } catch {
    // No recording runs here, or it belongs to another user. Then the process that holds the port is unknown.
    return null;
  }
}

/** The result of one check. */
export interface Finding {
  readonly check: string;
  /** `warn`: it works, but something will be worse than necessary. `fail`: it will not work. */
  readonly result: 'ok' | 'warn' | 'fail';
  readonly found: string;
  /** What to do about it; null if nothing needs to be done. */
  readonly advice: string | null;
}

const SYNCS = 20;
const SLOW_SYNC_MS = 50;
const WAITS = 200;
const LATE_WAIT_US = 1_000;
const CONNECT_MS = 3_000;
/** Error codes for no space: of the file system, of the user's quota, of the process limit. */
const NO_ROOM: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

function nodeFinding(version: string): Finding {
  return finding('node', 'ok', `Node ${version}`);
}

function cpuFinding(limits: HostLimits): Finding {
  const { cpus, cpuQuota } = limits;
  const found = `${Number(cpus.toFixed(2))} ${cpuQuota ? 'by quota' : 'available'}`;
  if (cpus >= 1) return finding('processors', 'ok', found);
  return finding('processors', 'warn', found, 'Below one processor traffic itself waits; allow at least 1.');
}

/** The maximum size of a recording. */
type RecordingSize = Pick<DoctorOptions, 'maxConnections'>;

/** Checks memory for the connections that are possible. Connections beyond the limit of open files are refused. */
export function memoryFinding(limits: HostLimits, { maxConnections }: RecordingSize): Finding {
  const { memoryBytes, memoryLimited } = limits;
  const found = `${formatBytes(memoryBytes)}${memoryLimited ? ' by limit' : ''}`;
  const room = connectionRoom(limits, null) ?? maxConnections;
  const connections = Math.min(maxConnections, room);
  const leastBytes = leastMemoryBytes(connections);
  if (memoryBytes >= leastBytes) return finding('memory', 'ok', found);
  const advice =
    `A recording with ${connections} connections needs ${Math.ceil(leastBytes / MIB)} MiB, a gateway more: ` +
    'raise the limit, or lower --max-connections.';
  const result = memoryBytes >= leastMemoryBytes(0) ? 'warn' : 'fail';
  return finding('memory', result, found, advice);
}

export function openFilesFinding(limits: HostLimits, { maxConnections }: RecordingSize): Finding {
  const connections = connectionRoom(limits, null);
  if (connections === null) return finding('open files', 'ok', 'no limit known');
  const found = `${limits.openFiles} open files, room for ${connections} connections`;
  if (connections >= maxConnections) return finding('open files', 'ok', found);
  const advice = `Each connection takes two: raise the limit, or lower --max-connections (${maxConnections}).`;
  return finding('open files', connections >= 100 ? 'warn' : 'fail', found, advice);
}

function coreFinding(limits: HostLimits): Finding {
  if (limits.coreBytes === null || limits.coreBytes === 0) return finding('core dumps', 'ok', 'off');
  return finding('core dumps', 'warn', 'on', 'A core dump of ours would hold payloads: ulimit -c 0.');
}

/** Writes and syncs where the capture would be, as commits do. Removes the files afterwards. */
export function diskFinding(directory: string, clock: Clock = systemClock): Finding {
  try {
    const home = nearestExisting(directory);
    const probe = mkdtempSync(join(home, '.reprise-doctor-'));
    try {
      const syncMs = medianSyncMs(join(probe, 'probe'), clock);
      const { bavail, bsize } = statfsSync(home);
      const free = bavail * bsize;
      const found = `${formatBytes(free)} free at ${home}, a sync takes ${syncMs.toFixed(1)} ms`;
      if (free < 256 * MIB) return finding('disk', 'fail', found, 'Free some space, or name another --dir.');
      if (syncMs <= SLOW_SYNC_MS) return finding('disk', 'ok', found);
      return finding(
        'disk',
        'warn',
        found,
        'Each commit waits for a sync: a local disk would shed less under load.',
      );
    } finally {
      rmSync(probe, { recursive: true, force: true });
    }
  } catch (error) {
    const isFull = NO_ROOM.has((error as NodeJS.ErrnoException).code ?? '');
    const advice = isFull
      ? 'Make room there, or name another --dir.'
      : 'Name a directory that this user may write to.';
    return finding('disk', 'fail', reasonOf(error), advice);
  }
}

/** How late a wait of one millisecond ends. The pacing of a replay depends on it. */
function timerFinding(clock: Clock = systemClock): Finding {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const lateUs: number[] = [];
  for (let round = 0; round < WAITS; round += 1) {
    const dueNs = clock.nowNs() + 1e6;
    Atomics.wait(cell, 0, 0, 1);
    lateUs.push((clock.nowNs() - dueNs) / 1_000);
  }
  lateUs.sort((a, b) => a - b);
  const p50 = lateUs[WAITS / 2] ?? 0;
  const p99 = lateUs[Math.floor(WAITS * 0.99)] ?? 0;
  const found = `a wait ends ${p50.toFixed(0)} µs late at the median, ${p99.toFixed(0)} µs at p99`;
  if (p99 <= LATE_WAIT_US) return finding('timers', 'ok', found);
  return finding(
    'timers',
    'warn',
    found,
    'Something else keeps the processors busy; a replay from here would lag.',
  );
}

/**
 * Whether an address can be listened on, checked in the same way as by a recording.
 * @param served addresses of the recording that runs here
 */
export async function listenFinding(endpoint: Endpoint, served: readonly string[] = []): Promise<Finding> {
  const where = formatEndpoint(endpoint);
  try {
    await mustBeFree(endpoint);
    return finding('listen', 'ok', `${where} is free`);
  } catch (error) {
    if (served.some((listen) => isSamePlace(parseEndpoint(listen, 'listen', { anyPort: true }), endpoint)))
      return finding('listen', 'ok', `${where} is served by the recording that runs here`);
    const advice = (error instanceof AppError ? error.hint : null) ?? 'Take another address.';
    return finding('listen', 'fail', reasonOf(error), advice);
  }
}

/** Compares only ports: errors about a used port may concern different addresses, but the same process. */
function isSamePlace(one: Endpoint, other: Endpoint): boolean {
  if (one.kind === 'unix' || other.kind === 'unix')
    return one.kind === 'unix' && other.kind === 'unix' && one.path === other.path;
  return one.port === other.port;
}

/**
 * Whether probes and metrics can be served at an address. A recording also runs without them.
 * @param listen where clients would connect; a recording binds this address first
 * @param served where the recording on this host listens; its status lacks the address of its probes
 */
export async function probeFinding(
  endpoint: Endpoint,
  listen: Endpoint | null = null,
  served: readonly string[] = [],
): Promise<Finding> {
  const where = formatEndpoint(endpoint);
  // A check of each address alone would find it free. Different addresses of one port may work, so this is a warning.
  const isAnyPort = endpoint.kind === 'tcp' && endpoint.port === 0;
  if (listen !== null && !isAnyPort && isSamePlace(listen, endpoint)) {
    const advice = 'A recording would be without probes and metrics: name another port as --probe-listen.';
    return finding('probes', 'warn', `${where} has the port of --listen`, advice);
  }
  try {
    await mustBeFree(endpoint);
    return finding('probes', 'ok', `${where} is free`);
  } catch (error) {
    if (served.length > 0) return finding('probes', 'ok', `${where} is taken, and a recording runs here`);
    const advice =
      'A recording would be without probes and metrics: free it, or name another --probe-listen.';
    return finding('probes', 'warn', reasonOf(error), advice);
  }
}

/**
 * Whether the model server accepts connections now, with TLS if the endpoint asks for it. Never a failure, because the
 * server may start after the recorder. Certificates are not verified: recording and replay do that.
 */
export function targetFinding(
  endpoint: Endpoint,
  clock: Clock = systemClock,
  patienceMs: number = CONNECT_MS,
): Promise<Finding> {
  const where = formatEndpoint(endpoint);
  return new Promise((resolve) => {
    const sinceNs = clock.nowNs();
    const { socket, ready } = connectionTo(endpoint);
    const end = (one: Finding) => {
      socket.destroy();
      resolve(one);
    };
    const plain = ready === 'connect' ? '' : ' One without TLS is named with http://.';
    const unreachable = (reason: string) =>
      end(finding('target', 'warn', `${where}: ${reason}`, `Start it, or name another --target.${plain}`));
    socket.setTimeout(patienceMs, () => unreachable(`no answer within ${patienceMs / 1000} s`));
    socket.on('error', (error) => unreachable(reasonOf(error)));
    socket.on(ready, () => {
      const ms = (clock.nowNs() - sinceNs) / 1e6;
      const what = ready === 'connect' ? 'a connection' : 'a TLS connection';
      end(finding('target', 'ok', `${where} took ${what} in ${ms.toFixed(1)} ms`));
    });
  });
}

/**
 * Whether the recorder and the model server share processor time. No finding if no process of the server is visible.
 * Then it runs on another host or in another container, with its own share.
 */
export function shareFindings(target: Endpoint, recorder: number): Finding[] {
  const servers = target.kind === 'tcp' && isLoopback(target.host) ? serversOf(target.port) : [];
  const [server] = servers;
  if (server === undefined) return [];
  const check = 'share of processors';
  const group = shareGroupOf(recorder);
  const beside = servers.find((pid) => shareGroupOf(pid) === group);
  if (group === null || beside === undefined)
    return [finding(check, 'ok', `the model server (pid ${server}) has a separate control group`)];
  const found = `the model server (pid ${beside}) is in the control group of the recorder`;
  const advice =
    'When the server takes every processor, the recorder and the traffic through it wait: ' +
    'run the recorder as a separate container or unit.';
  return [finding(check, 'warn', found, advice)];
}

/** A new connection, and the event that reports it as established. */
function connectionTo(endpoint: Endpoint): { socket: Socket; ready: 'connect' | 'secureConnect' } {
  if (endpoint.kind === 'unix') return { socket: connect({ path: endpoint.path }), ready: 'connect' };
  const { host, port, tls } = endpoint;
  if (!tls) return { socket: connect({ host, port }), ready: 'connect' };
  const named = isIP(host) === 0 ? { servername: host } : {};
  const socket = connectTls({ host, port, rejectUnauthorized: false, ...named });
  return { socket, ready: 'secureConnect' };
}

function medianSyncMs(path: string, clock: Clock): number {
  const file = openSync(path, 'wx', 0o600);
  const page = Buffer.alloc(4_096);
  try {
    const times = Array.from({ length: SYNCS }, () => {
      const sinceNs = clock.nowNs();
      writeSync(file, page);
      fsyncSync(file);
      return (clock.nowNs() - sinceNs) / 1e6;
    });
    return times.sort((a, b) => a - b)[SYNCS / 2] ?? 0;
  } finally {
    closeSync(file);
  }
}

function nearestExisting(path: string): string {
  const parent = dirname(path);
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined || parent === path
    ? path
    : nearestExisting(parent);
}

function finding(
  check: string,
  result: Finding['result'],
  found: string,
  advice: string | null = null,
): Finding {
  return { check, result, found, advice };
}

/** Whether a capture that was encrypted still is. No finding without a capture or if it was never encrypted. */
function encryptionFindings(directory: string): Finding[] {
  const check = 'encryption';
  try {
    const metas = latestMetas(resolveCaptureDirectory(directory, 'read'));
    const encryption = metas.map((meta) => meta.encryption);
    const clear = encryption.filter((each) => each === null).length;
    if (clear === encryption.length) return [];
    const found = `${encryption.length - clear} of the latest ${encryption.length} segments are encrypted`;
    if (clear === 0) return [{ check, result: 'ok', found, advice: null }];
    const advice =
      encryption[0] === null
        ? 'The capture goes on in clear: start it with the --encryption-key-file that it had.'
        : 'It is encrypted again; what was recorded in clear stays readable until it expires or is forgotten.';
    return [{ check, result: 'warn', found, advice }];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'CAPTURE_NOT_FOUND') return [];
    return [{ check, result: 'warn', found: reasonOf(error), advice: error.hint }];
  }
}
