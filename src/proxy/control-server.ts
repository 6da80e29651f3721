import { chmodSync, existsSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Logger } from '../core/ports.ts';
import type { RecorderStatus } from '../core/status.ts';
import { CONTROL_SOCKET, withSocketPath } from './control-path.ts';
import { type Answer, json, smallServer } from './small-http.ts';
import { isAnswered } from './unix-socket.ts';

/** What an operator can ask of a running recording. */
export interface Controls {
  status(): RecorderStatus;
  /** Begins what SIGTERM begins. */
  drain(): void;
  pause(): Promise<void>;
  resume(): Promise<void>;
}

/** One that is taken (by a predecessor that still ships its last segment, say) is asked for again after so long. */
const RETRY_MS = 5_000;

const ACTIONS = ['/drain', '/pause', '/resume'] as const;

/**
 * Answers on a unix socket in the capture directory, for whoever may enter that: `GET /status`, and
 * `POST /drain`, `/pause` and `/resume`, each answered with the status after it.
 */
export class ControlServer {
  readonly #controls: Controls;
  readonly #logger: Logger;
  readonly #retryMs: number;
  #server: Server | null = null;
  #directory: string | null = null;

  /** What was asked of us is done one after the other. */
  #last: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | null = null;
  #failing = false;

  constructor(controls: Controls, logger: Logger, retryMs = RETRY_MS) {
    this.#controls = controls;
    this.#logger = logger;
    this.#retryMs = retryMs;
  }

  /** Listens in a capture whose lock is held. What keeps it from doing so is one line in the log, and tried again. */
  open(directory: string): Promise<void> {
    this.#last = this.#last.then(() => this.#open(directory));
    return this.#last;
  }

  close(): Promise<void> {
    this.#last = this.#last.then(() => this.#close());
    return this.#last;
  }

  async #open(directory: string): Promise<void> {
    // A directory that was removed and made again has no socket, whatever we still listen on.
    if (this.#directory === directory && existsSync(join(directory, CONTROL_SOCKET))) return;
    await this.#close();
    this.#directory = directory;
    try {
      await this.#listen(directory);
      if (this.#failing) this.#logger.info({ directory }, 'the control socket is answered now');
      this.#failing = false;
    } catch (error) {
      this.#directory = null;
      if (!this.#failing) {
        const fields = { directory, reason: reasonOf(error) };
        this.#logger.error(fields, 'NO CONTROL SOCKET: status, drain, pause and resume are not answered');
      }
      this.#failing = true;
      this.#retry = setTimeout(() => void this.open(directory), this.#retryMs).unref();
    }
  }

  async #close(): Promise<void> {
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    const [server, directory] = [this.#server, this.#directory];
    this.#server = null;
    this.#directory = null;
    if (!server) return;
    // First, so that one at which nobody answers is that of a process which was killed.
    if (directory !== null) removeSocket(directory);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  async #listen(directory: string): Promise<void> {
    const server = smallServer(LIMITS.controlConnections, (method, path) => this.#answer(method, path));
    await withSocketPath(directory, async (path) => {
      if (await isAnswered(path)) throw new Error('another process answers there');
      rmSync(path, { force: true });
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(path, () => resolve());
      });
      chmodSync(path, 0o600);
    });
    // What goes wrong with one client's connection is that client's; it has its answer or asks again.
    server.on('error', () => undefined);
    this.#server = server;
  }

  async #answer(method: string, path: string): Promise<Answer> {
    if (path === '/status' && method === 'GET') return json(200, this.#controls.status());
    const action = ACTIONS.find((one) => one === path);
    if (!action && path !== '/status')
      return json(404, { error: 'there are /status, /drain, /pause and /resume' });
    if (!action || method !== 'POST')
      return json(405, { error: 'status is asked with GET, all else with POST' });
    if (action === '/drain') this.#controls.drain();
    else if (action === '/pause') await this.#controls.pause();
    else await this.#controls.resume();
    return json(200, this.#controls.status());
  }
}

/** Best effort: a disk that refuses changes by now must not keep the recording from its end. */
function removeSocket(directory: string): void {
  try {
    rmSync(join(directory, CONTROL_SOCKET), { force: true });
  } catch {
    // Nobody answers there, which whoever asks is told.
  }
}
