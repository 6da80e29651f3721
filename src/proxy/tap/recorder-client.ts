import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Progress } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { ConnectionTap, type TapHost } from './connection-tap.ts';
import type { Counters } from './counters.ts';
import { FrameQueue } from './frame-queue.ts';
import {
  type ConnectionOrigin,
  encodeMessage,
  FRAME,
  type PipeSettlement,
  SettlementReader,
  UNKNOWN_ORIGIN,
} from './frames.ts';

/**
 * The proxy's end of the pipe. It copies, counts and never waits: whatever becomes of the recorder, the sockets
 * are not touched. When a recorder dies, all that it had not acknowledged is in doubt until the next one has read
 * the capture, and live connections are taken up by that at their next turn.
 */
export class RecorderClient implements TapHost {
  readonly queue: FrameQueue;
  /** Told of an exception that cost one connection its recording. */
  readonly tapFailed: (error: unknown) => void;
  readonly #counters: Counters;
  readonly #clock: Clock;
  readonly #taps = new Map<number, ConnectionTap>();
  /** All that passed is counted for good. */
  finished = false;
  #pipe: Duplex | null = null;
  /** The recorder at the other end has opened the capture: it may commit. */
  #mayCommit = false;
  #nextConnection = 1;
  /** Flushes asked for so far; each has the number that its answer names, and the last one is waited for. */
  #flushes = 0;
  #onFlushed: (() => void) | null = null;
  /** A flush took longer than it may. */
  #late = false;

  /** @param deps.onTapFailure told of an exception that cost one connection its recording */
  constructor(deps: {
    clock: Clock;
    counters: Counters;
    queue?: FrameQueue;
    onTapFailure?: (error: unknown) => void;
  }) {
    this.#clock = deps.clock;
    this.#counters = deps.counters;
    this.queue = deps.queue ?? new FrameQueue();
    this.tapFailed = deps.onTapFailure ?? (() => undefined);
  }

  get attached(): boolean {
    return this.#pipe !== null;
  }

  /** A recorder listens at the other end. One that listened before is gone. */
  attach(pipe: Duplex): void {
    this.#detach();
    this.#pipe = pipe;
    this.#mayCommit = false;
    this.queue.attach(pipe);
    const reader = new SettlementReader((settlement) => this.#settle(settlement));
    pipe.on('data', (chunk: Buffer) => reader.push(chunk));
    // The close that follows says all there is to know: the recorder is gone.
    pipe.on('error', () => undefined);
    pipe.on('close', () => {
      if (this.#pipe === pipe) this.#detach();
    });
  }

  /**
   * A client connection begins, or an exchange that is fed as a connection of its own.
   * @param resumes whether it may be recorded again after a loss; not so for a single exchange
   */
  open(origin: ConnectionOrigin = UNKNOWN_ORIGIN, resumes = true): ConnectionTap {
    const connection = this.#nextConnection;
    const account = this.#counters.open();
    const tap = new ConnectionTap({ connection, origin, account, resumes }, this, this.#clock);
    this.#taps.set(connection, tap);
    do {
      this.#nextConnection = this.#nextConnection === 0xffff_ffff ? 1 : this.#nextConnection + 1;
    } while (this.#taps.has(this.#nextConnection));
    return tap;
  }

  /**
   * The recorder has opened the capture, and read what recorders before it committed: that decides what is in doubt.
   * @param committed since the recording began
   */
  captureOpened(committed: Progress): void {
    this.#mayCommit = true;
    this.#counters.resolveDoubt(committed);
  }

  /** Keeps the rest of a connection from every recorder. Nothing happens when it is gone. */
  quarantine(connection: number): void {
    this.#taps.get(connection)?.quarantine();
  }

  /** Forgets a connection that is closed and settled. */
  retire(tap: ConnectionTap): void {
    this.#taps.delete(tap.connection);
    this.#counters.retire(tap.account);
  }

  /** Waits until everything handed over is committed and settled, or the deadline or the recorder ends first. */
  async flush(deadlineMs: number): Promise<void> {
    if (!this.#pipe) return;
    const timer = new AbortController();
    const flushed = this.#flushed().then(() => true);
    const late = sleep(deadlineMs, false, { signal: timer.signal }).catch(() => false);
    if (!(await Promise.race([flushed, late]))) this.#late = true;
    timer.abort();
  }

  /**
   * The last flush: what is pending after it is lost (`shutdown_timeout`). A recorder that may still commit has to be
   * gone by then, or what it commits is counted as lost as well.
   */
  async finish(deadlineMs: number): Promise<void> {
    await this.flush(deadlineMs);
    for (const tap of this.#taps.values()) tap.giveUp({ kind: 'lost', because: 'shutdown_timeout' });
    this.#counters.resolveDoubt(null, this.#late ? 'shutdown_timeout' : 'writer_down');
    this.finished = true;
  }

  /** Lets the recorder go: it reads the end of the pipe. */
  end(): void {
    this.#pipe?.end();
  }

  #flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFlushed = resolve;
      this.#flushes += 1;
      const atNs = this.#clock.nowNs();
      const head = { type: FRAME.message, turnStart: false, connection: 0, atNs };
      this.queue.appendControl(head, encodeMessage({ kind: 'flush', number: this.#flushes }));
      this.queue.flush();
    });
  }

  #detach(): void {
    if (!this.#pipe) return;
    this.#pipe.destroy();
    this.#pipe = null;
    this.queue.attach(null);
    for (const tap of this.#taps.values()) tap.recorderGone(this.#mayCommit);
    this.#onFlushed?.();
  }

  #settle(settlement: PipeSettlement): void {
    if (settlement.kind === 'recorded') this.#counters.addExchanges(settlement.exchanges);
    if (settlement.kind !== 'flushed') this.#taps.get(settlement.connection)?.settled(settlement);
    else if (settlement.connection === this.#flushes) this.#onFlushed?.();
  }
}
