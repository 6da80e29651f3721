import { Socket } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { SUPERVISION } from '../core/limits.ts';
import { Ledger } from './ledger.ts';
import { PIPE_FD } from './managed-process.ts';
import type { FromForwarder, ToForwarder } from './messages.ts';
import { RecorderLink } from './recorder-link.ts';
import { Forwarder } from './wire/forwarder.ts';

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
  #forwarder: Forwarder | null = null;
  #beat: NodeJS.Timeout | null = null;
  #draining = false;

  constructor(deps: { clock: Clock; say: (message: FromForwarder) => void; onEnd: () => void }) {
    this.#clock = deps.clock;
    this.#say = deps.say;
    this.#onEnd = deps.onEnd;
    this.#link = new RecorderLink({ clock: deps.clock, ledger: this.#ledger });
  }

  async hear(message: ToForwarder, socket: Socket | undefined): Promise<void> {
    if (message.type === 'recorder') this.#link.attach(socket ?? new Socket({ fd: PIPE_FD }));
    else if (message.type === 'listen') await this.#listen(message);
    else if (message.type === 'drain') await this.drain(message.deadlineMs);
    else this.#forwarder?.cut();
  }

  async drain(deadlineMs: number): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const cut = (await this.#forwarder?.drain(deadlineMs)) ?? 0;
    const unreported = await this.#link.finish(SUPERVISION.flushMs);
    if (this.#beat) clearInterval(this.#beat);
    const anchor = this.#clock.anchor();
    const epochUsOf = (ns: number) => Math.round(anchor.epochUs + (ns - anchor.monotonicNs) / 1000);
    this.#say({
      type: 'drained',
      ledger: this.#ledger.read(),
      cut,
      turnedAway: this.#forwarder?.connections.turnedAway ?? 0,
      losses: unreported.map(({ reason, turns, bytes, fromNs, toNs }) => ({
        reason,
        exchanges: turns,
        bytes,
        fromUs: epochUsOf(fromNs),
        toUs: epochUsOf(toNs),
      })),
    });
    this.#link.end();
    this.#onEnd();
  }

  async #listen(message: Extract<ToForwarder, { type: 'listen' }>): Promise<void> {
    const forwarder = new Forwarder(message.options, this.#link);
    try {
      const addresses = await forwarder.listen();
      this.#forwarder = forwarder;
      this.#say({ type: 'listening', addresses });
      this.#beat = setInterval(() => {
        this.#say({ type: 'beat', ledger: this.#ledger.read() });
      }, SUPERVISION.heartbeatMs);
    } catch (error) {
      const hint = error instanceof AppError ? error.hint : null;
      this.#say({ type: 'listen-failed', message: reasonOf(error), hint });
      this.#onEnd();
    }
  }
}
