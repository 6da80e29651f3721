import { randomBytes } from 'node:crypto';
import { type BigIntStats, chmodSync, lstatSync, renameSync, rmSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import type { Server } from 'node:http';
import { dirname, join } from 'node:path';
import { reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { Logger } from '../../core/ports.ts';
import type { RecorderStatus } from '../../core/status.ts';
import { isAnswered } from '../unix-socket.ts';
import { CONTROL_SOCKET, withSocketPath } from './control-path.ts';
import { type Answer, json, smallServer } from './small-http.ts';

/** What an operator can ask of a running recording. */
export interface Controls {
  status(): RecorderStatus;
  /** Begins what SIGTERM begins. */
  drain(): void;
  pause(): Promise<void>;
  resume(): Promise<void>;
}

/**
 * So often it is seen to that the socket is ours: one that is taken (by a predecessor that still ships its last
 * segment, say) is asked for again, and one that somebody removed is made again.
 */
const LOOK_MS = 5_000;

const ACTIONS = ['/drain', '/pause', '/resume'] as const;

const ENDING = 'it drains and is about to end, and neither pauses nor resumes any more';

/** Which file of a file system it is, whatever lies at its path by now. */
type FileIdentity = Pick<BigIntStats, 'dev' | 'ino'>;

/**
 * Answers on a unix socket in the capture directory, for whoever may enter that: `GET /status`, and
 * `POST /drain`, `/pause` and `/resume`, each answered with the status after it.
 */
export class ControlServer {
  readonly #controls: Controls;
  readonly #logger: Logger;
  readonly #lookMs: number;
  #server: Server | null = null;
  /** The socket that we made. */
  #socket: FileIdentity | null = null;
  /** Where the socket is to be; null before the first capture and after the end. */
  #directory: string | null = null;

  /** What was asked of us is done one after the other. */
  #last: Promise<void> = Promise.resolve();
  #look: NodeJS.Timeout | null = null;
  #failing = false;

  constructor(controls: Controls, logger: Logger, lookMs = LOOK_MS) {
    this.#controls = controls;
    this.#logger = logger;
    this.#lookMs = lookMs;
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
    // A directory that was removed and made again has no socket, or another's, whatever we still listen on.
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
    // First, so that one at which nobody answers is that of a process which was killed.
    if (directory !== null && (await this.#isOurs(directory))) removeSocket(directory);
    this.#socket = null;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  /**
   * Whether what lies at the path is the socket that we made: it may have been removed, and be a successor's by now.
   * A disk that hangs does not hold up the thread that answers probes.
   */
  async #isOurs(directory: string): Promise<boolean> {
    const ours = this.#socket;
    if (!ours) return false;
    const there = await lstat(join(directory, CONTROL_SOCKET), { bigint: true }).catch(() => null);
    return there?.dev === ours.dev && there.ino === ours.ino;
  }

  async #listen(directory: string): Promise<void> {
    const server = smallServer(LIMITS.controlConnections, (method, path) => this.#answer(method, path));
    await withSocketPath(directory, async (path) => {
      if (await isAnswered(path)) throw new Error('another process answers there');
      // A server that closes removes the path that it was bound to, even where that is another's socket by then: it is
      // bound to one of its own, which is no longer than the other.
      const bound = join(dirname(path), `.sock-${randomBytes(3).toString('hex')}`);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(bound, () => resolve());
      });
      try {
        chmodSync(bound, 0o600);
        const made = lstatSync(bound, { bigint: true });
        renameSync(bound, path);
        this.#socket = made;
      } catch (error) {
        server.close();
        throw error;
      }
    });
    // What goes wrong with one client's connection is that client's; it has its answer or asks again.
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

  /** The status after it; null where the recording ends, and so neither pauses nor resumes. */
  async #switched(pausing: boolean): Promise<Answer | null> {
    if (this.#controls.status().draining) return null;
    await (pausing ? this.#controls.pause() : this.#controls.resume());
    const status = this.#controls.status();
    // Its end may have begun while this waited for its turn.
    return status.draining && status.paused !== pausing ? null : json(200, status);
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
