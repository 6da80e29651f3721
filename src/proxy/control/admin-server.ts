import { type BigIntStats, closeSync, constants, lstatSync, openSync, rmSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import type { IncomingMessage, Server } from 'node:http';
import { join } from 'node:path';
import type { RecorderStatus } from '../../core/accounting.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { Logger } from '../../core/ports.ts';
import { type Endpoint, UNIX_PATH_BYTES } from '../net/endpoint.ts';
import { listenOn } from '../net/listen.ts';
import { type Answer, json, smallServer, text } from '../net/small-server.ts';
import { METRICS_TYPE, MetricsPage } from './metrics.ts';

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?')[0] ?? '/';
}

const CONTROL_SOCKET = 'control.sock';
/** For the owner alone: everyone who may connect can end the recording. */
const CONTROL_MODE = 0o600;

/**
 * Calls back with a path of the control socket that fits a socket address. If the capture's own path is too long, the
 * path goes through an open descriptor of the directory. Then it is valid only during the call.
 * @throws AppError OPTION_INVALID if the system has no `/proc`; Error of the file system
 */
export async function withSocketPath<Result>(
  directory: string,
  act: (path: string) => Promise<Result>,
): Promise<Result> {
  const path = join(directory, CONTROL_SOCKET);
  if (Buffer.byteLength(path) <= UNIX_PATH_BYTES) return await act(path);
  if (process.platform !== 'linux') {
    throw new AppError('OPTION_INVALID', `${path} is too long for a socket`, {
      hint: `Use a capture directory with a path of at most ${UNIX_PATH_BYTES - CONTROL_SOCKET.length - 1} bytes.`,
    });
  }
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await act(`/proc/self/fd/${fd}/${CONTROL_SOCKET}`);
  } finally {
    closeSync(fd);
  }
}

/** What an operator can ask of a running recording. */
export interface Controls {
  status(): RecorderStatus;
  /** Starts the same shutdown as SIGTERM. */
  drain(): void;
  pause(): Promise<void>;
  resume(): Promise<void>;
}

/**
 * How often the socket is checked. If a predecessor still holds it, we try again. If it was removed, we create it
 * again.
 */
const LOOK_MS = 5_000;

const ACTIONS = ['/drain', '/pause', '/resume'] as const;

const ENDING = 'it drains and is about to end, and neither pauses nor resumes any more';

/** Identifies a file, even if another file is at its path now. */
type FileIdentity = Pick<BigIntStats, 'dev' | 'ino'>;

/**
 * Answers on a unix socket in the capture directory, to users who may enter that. It serves `GET /status`, and `POST
 * /drain`, `/pause` and `/resume`, each answered with the status afterwards.
 */
export class ControlServer {
  readonly #controls: Controls;
  readonly #logger: Logger;
  readonly #lookMs: number;
  #server: Server | null = null;
  #socket: FileIdentity | null = null;
  /** The directory for the socket; null before the first capture and after the end. */
  #directory: string | null = null;

  /** The last open or close. They run one after the other. */
  #last: Promise<void> = Promise.resolve();
  #look: NodeJS.Timeout | null = null;
  #failing = false;

  constructor(controls: Controls, logger: Logger, lookMs = LOOK_MS) {
    this.#controls = controls;
    this.#logger = logger;
    this.#lookMs = lookMs;
  }

  /** Listens in a capture whose lock we hold. A failure is one line in the log, and is tried again. */
  open(directory: string): Promise<void> {
    this.#last = this.#last.then(() => this.#open(directory));
    return this.#last;
  }

  close(): Promise<void> {
    this.#last = this.#last.then(() => this.#close());
    return this.#last;
  }

  async #open(directory: string): Promise<void> {
    // If the directory was removed and made again, our socket is gone though we still listen.
    if (this.#directory !== directory || !(await this.#isOurs(directory))) {
      await this.#close();
      this.#directory = directory;
      await this.#listen(directory).catch((error: unknown) => this.#complain(directory, error));
    }
    this.#lookAgain();
  }

  #lookAgain(): void {
    if (this.#look) clearTimeout(this.#look);
    this.#look = setTimeout(() => {
      this.#last = this.#last.then(() =>
        this.#directory === null ? undefined : this.#open(this.#directory),
      );
    }, this.#lookMs).unref();
  }

  #complain(directory: string, error: unknown): void {
    if (!this.#failing) {
      const fields = { directory, reason: reasonOf(error) };
      this.#logger.error(fields, 'NO CONTROL SOCKET: status, drain, pause and resume are not answered');
    }
    this.#failing = true;
  }

  async #close(): Promise<void> {
    if (this.#look) clearTimeout(this.#look);
    this.#look = null;
    const [server, directory] = [this.#server, this.#directory];
    this.#server = null;
    this.#directory = null;
    if (!server) return;
    // Remove the file first: a socket file that nobody answers then means that its process was killed.
    if (directory !== null && (await this.#isOurs(directory))) removeSocket(directory);
    this.#socket = null;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  /**
   * Whether the file at the path is the socket that we made; a successor may have replaced it. Asynchronous, because
   * the thread that answers probes must not wait for a disk that hangs.
   */
  async #isOurs(directory: string): Promise<boolean> {
    const ours = this.#socket;
    if (!ours) return false;
    const there = await lstat(join(directory, CONTROL_SOCKET), { bigint: true }).catch(() => null);
    return there?.dev === ours.dev && there.ino === ours.ino;
  }

  async #listen(directory: string): Promise<void> {
    const server = smallServer({
      connections: LIMITS.controlConnections,
      callers: 'anyone',
      answer: (request) => this.#answer(request.method ?? 'GET', pathOf(request)),
    });
    await withSocketPath(directory, async (path) => {
      await listenOn(server, { kind: 'unix', path }, CONTROL_MODE);
      this.#socket = lstatSync(path, { bigint: true });
    });
    // An error of one client's connection concerns that client only.
    server.on('error', () => undefined);
    this.#server = server;
    if (this.#failing) this.#logger.info({ directory }, 'the control socket is answered now');
    this.#failing = false;
  }

  async #answer(method: string, path: string): Promise<Answer> {
    if (path === '/status' && method === 'GET') return json(200, this.#controls.status());
    const action = ACTIONS.find((one) => one === path);
    if (!action && path !== '/status')
      return json(404, { error: 'there are /status, /drain, /pause and /resume' });
    if (!action || method !== 'POST')
      return json(405, { error: 'status is asked with GET, all else with POST' });
    if (action === '/drain') {
      this.#controls.drain();
      return json(200, this.#controls.status());
    }
    return (await this.#switched(action === '/pause')) ?? json(409, { error: ENDING });
  }

  /** The status afterwards; null if the recording is ending and can neither pause nor resume. */
  async #switched(pausing: boolean): Promise<Answer | null> {
    if (this.#controls.status().draining) return null;
    await (pausing ? this.#controls.pause() : this.#controls.resume());
    const status = this.#controls.status();
    // The end may have begun while this waited.
    return status.draining && status.paused !== pausing ? null : json(200, status);
  }
}

/** Best effort: a disk that refuses changes must not keep the recording from ending. */
function removeSocket(directory: string): void {
  try {
    rmSync(join(directory, CONTROL_SOCKET), { force: true });
  } catch {
    // Nobody answers there, and clients get an error.
  }
}

export interface ProbeAddress {
  readonly host: string;
  readonly port: number;
}

/** Delay before a port is tried again that another process holds, such as a draining predecessor. */
const RETRY_MS = 5_000;

/**
 * Answers the orchestrator and the scraper: `/livez`, `/readyz`, `/metrics`. It changes nothing and shows no payload.
 * Traffic matters more: a port that cannot be bound is only logged.
 */
export class ProbeServer {
  readonly #isReady: () => boolean;
  readonly #statusOf: () => RecorderStatus;
  readonly #metrics: MetricsPage;
  readonly #logger: Logger;
  readonly #retryMs: number;
  readonly #server: Server;
  #retry: NodeJS.Timeout | null = null;
  #failing = false;
  #closed = false;
  /** Connections that were dropped for a new one. */
  dropped = 0;

  /** @param deps.isReady asked apart from the status, which may fail with the recording */
  constructor(deps: {
    readonly isReady: () => boolean;
    readonly statusOf: () => RecorderStatus;
    readonly logger: Logger;
    readonly retryMs?: number;
    readonly clock?: Clock;
  }) {
    this.#isReady = deps.isReady;
    this.#statusOf = deps.statusOf;
    this.#metrics = new MetricsPage(deps.statusOf, deps.clock ?? systemClock);
    this.#logger = deps.logger;
    this.#retryMs = deps.retryMs ?? RETRY_MS;
    this.#server = smallServer({
      connections: LIMITS.probeConnections,
      callers: 'anyone',
      answer: (request) => this.#answer(request.method ?? 'GET', pathOf(request)),
      dropped: () => {
        this.dropped += 1;
      },
    });
  }

  /** @returns the bound address; null if it could not be bound, and will be tried again */
  async listen(address: ProbeAddress): Promise<ProbeAddress | null> {
    try {
      const { endpoint } = await listenOn(this.#server, { kind: 'tcp', tls: false, ...address });
      const { host, port } = endpoint as Extract<Endpoint, { kind: 'tcp' }>;
      // An error of one client's connection concerns that client only.
      this.#server.on('error', () => undefined);
      if (this.#failing) this.#logger.info({ port }, 'probes and metrics are answered now');
      return { host, port };
    } catch (error) {
      if (!this.#failing) {
        const fields = { probeListen: `${address.host}:${address.port}`, reason: reasonOf(error) };
        this.#logger.warn(
          fields,
          'NO PROBES OR METRICS: cannot listen; free the address or name another: --probe-listen 127.0.0.1:9465 (or off). Trying again',
        );
      }
      this.#failing = true;
      if (!this.#closed) this.#retry = setTimeout(() => void this.listen(address), this.#retryMs);
      return null;
    }
  }

  close(): void {
    this.#closed = true;
    if (this.#retry) clearTimeout(this.#retry);
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(method: string, path: string): Promise<Answer> {
    if (path !== '/livez' && path !== '/readyz' && path !== '/metrics') {
      return text(404, 'there are /livez, /readyz and /metrics');
    }
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'ask with GET', { Allow: 'GET, HEAD' });
    if (path === '/livez') return text(200, 'live');
    if (path === '/metrics') return { status: 200, type: METRICS_TYPE, body: await this.#metrics.text() };
    if (this.#isReady()) return text(200, 'ready');
    return text(503, this.#statusOf().draining ? 'draining' : 'not accepting connections');
  }
}
