import { Socket } from 'node:net';
import type { Loss } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { SUPERVISION } from '../core/limits.ts';
import type { DataPlane } from './data-plane.ts';
import { Ledger } from './ledger.ts';
import { PIPE_FD } from './managed-process.ts';
import type { ForwarderOptions, ForwarderReading, FromForwarder, ToForwarder } from './messages.ts';
import { planeOf } from './planes.ts';
import { RecorderLink } from './recorder-link.ts';
import type { UnreportedLoss } from './recorder-reports.ts';

/** Failed recordings are reported at most once in this time, ns. */
const TAP_FAILURE_SPACING_NS = 10e9;

/**
 * A forwarder as the supervisor talks to it. It lives until it is drained, or until its supervisor is gone: then
 * it drains by itself, because nobody could stop it any more.
 */
export class ForwarderProcess {
  readonly #ledger = new Ledger();
  readonly #link: RecorderLink;
  readonly #clock: Clock;
  readonly #say: (message: FromForwarder) => void;
  readonly #onEnd: () => void;
  #plane: DataPlane | null = null;
  #beat: NodeJS.Timeout | null = null;
  #draining = false;
  /** When a failed recording was last reported. */
  #tapFailureNs = Number.NEGATIVE_INFINITY;

  constructor(deps: { clock: Clock; say: (message: FromForwarder) => void; onEnd: () => void }) {
    this.#clock = deps.clock;
    this.#say = deps.say;
    this.#onEnd = deps.onEnd;
    this.#link = new RecorderLink({
      clock: deps.clock,
      ledger: this.#ledger,
      onTapFailure: (error) => this.#noteTapFailure(error),
    });
  }

  async hear(message: ToForwarder, socket: Socket | undefined): Promise<void> {
    if (message.type === 'recorder') {
      this.#link.attach(socket ?? new Socket({ fd: PIPE_FD }), message.pipe);
    } else if (message.type === 'listen') await this.#listen(message.options);
    else if (message.type === 'quarantine') this.#link.quarantine(message.connection);
    else if (message.type === 'drain') await this.drain(message.deadlineMs);
    else this.#plane?.cut();
  }

  async drain(deadlineMs: number): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const cut = (await this.#plane?.drain(deadlineMs)) ?? 0;
    const untold = await this.#link.finish(SUPERVISION.flushMs);
    if (this.#beat) clearInterval(this.#beat);
    this.#say({ type: 'drained', reading: this.#read(untold), cut });
    this.#link.end();
    this.#onEnd();
  }

  #noteTapFailure(error: unknown): void {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#tapFailureNs < TAP_FAILURE_SPACING_NS) return;
    this.#tapFailureNs = nowNs;
    const fields = { reason: reasonOf(error), stack: error instanceof Error ? error.stack : undefined };
    const message = 'a connection is not recorded any more: recording it failed; its traffic goes on';
    this.#say({ type: 'notice', notice: { level: 'error', message, fields } });
  }

  async #listen(options: ForwarderOptions): Promise<void> {
    try {
      const plane = await planeOf(options, this.#link, (notice) => this.#say({ type: 'notice', notice }));
      const addresses = await plane.listen();
      this.#plane = plane;
      this.#say({ type: 'listening', addresses });
      this.#beat = setInterval(() => {
        this.#say({ type: 'beat', reading: this.#read(this.#link.untold()) });
      }, SUPERVISION.readingMs);
    } catch (error) {
      const hint = error instanceof AppError ? error.hint : null;
      this.#say({ type: 'listen-failed', message: reasonOf(error), hint });
      this.#onEnd();
    }
  }

  #read(untold: readonly UnreportedLoss[]): ForwarderReading {
    const counts = this.#plane?.connections ?? { open: 0, turnedAway: 0 };
    const { open, turnedAway, failed = {}, refused = {} } = counts;
    return {
      atUs: this.#clock.epochUs(),
      ledger: this.#ledger.read(),
      open,
      turnedAway,
      failed,
      refused,
      queuedBytes: this.#link.queue.heldBytes,
      untold: untold.map((loss) => this.#dated(loss)),
      noted: this.#link.noted.map((loss) => this.#dated(loss)),
      handed: this.#link.handed,
    };
  }

  /** To the millisecond, which is enough for a span; pairing the clocks better would hold traffic up. */
  #dated({ reason, turns, bytes, fromNs, toNs }: UnreportedLoss): Loss {
    const originUs = this.#clock.epochUs() - this.#clock.nowNs() / 1000;
    const epochUsOf = (ns: number) => Math.round(originUs + ns / 1000);
    return { reason, exchanges: turns, bytes, fromUs: epochUsOf(fromNs), toUs: epochUsOf(toNs) };
  }
}
