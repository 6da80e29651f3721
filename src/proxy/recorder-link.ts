import type { Duplex } from 'node:stream';
import type { LossReason, OmissionCause } from '../core/accounting.ts';
import { LOSS_REASONS, OMISSION_CAUSES } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { NumberMap } from '../core/number-map.ts';
import { Roster } from '../core/roster.ts';
import { type ConnectionOrigin, UNKNOWN_ORIGIN } from './connection-origin.ts';
import { doubles, FRAME, type PipeSettlement, SettlementReader } from './frames.ts';
import type { Handed } from './hand-over.ts';
import type { Ledger, Tally } from './ledger.ts';
import { RecorderReports, type UnreportedLoss } from './recorder-reports.ts';
import { FrameQueue } from './tap/frame-queue.ts';
import { TapConnection } from './tap-connection.ts';

const EMPTY = new Uint8Array(0);

/**
 * A forwarder's end of the pipe. It copies, counts and never waits: whatever becomes of the recorder, the
 * sockets are not touched. When a recorder dies, all that it had not acknowledged is counted lost, and live
 * connections are taken up by the next one at their next turn.
 */
export class RecorderLink {
  readonly queue: FrameQueue;
  /** Told of an exception that cost one connection its recording. */
  readonly tapFailed: (error: unknown) => void;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #taps = new NumberMap<TapConnection>();
  /** Those that have shed something, apart: it is asked for four times a second, and they are few of many as a rule. */
  readonly #shedding = new Roster<TapConnection>();
  readonly #reports = new RecorderReports();
  #pipe: Duplex | null = null;
  /** What went into it; once it is gone or settled, that it did. */
  #handed: Handed = { pipe: 0, open: false, bytes: 0, turns: 0 };
  #nextConnection = 1;
  /** Flushes asked for so far; each has the number that its answer names. */
  #flushes = 0;
  #awaited = 0;
  #onFlushed: (() => void) | null = null;

  /** @param deps.onTapFailure told of an exception that cost one connection its recording */
  constructor(deps: {
    clock: Clock;
    ledger: Ledger;
    queue?: FrameQueue;
    onTapFailure?: (error: unknown) => void;
  }) {
    this.#clock = deps.clock;
    this.#ledger = deps.ledger;
    this.queue = deps.queue ?? new FrameQueue();
    this.tapFailed = deps.onTapFailure ?? (() => undefined);
  }

  get attached(): boolean {
    return this.#pipe !== null;
  }

  /** What of the traffic went into the last pipe. */
  get handed(): Handed {
    return { ...this.#handed };
  }

  /** Losses that the running recorder has noted. */
  get noted(): UnreportedLoss[] {
    return this.#reports.notedLosses;
  }

  /** So much more was put into the queue. */
  handOver(bytes: number, turns: number): void {
    this.#handed.bytes += bytes;
    this.#handed.turns += turns;
  }

  /**
   * A recorder listens at the other end. One that listened before is gone.
   * @param number what the supervisor calls this pipe
   */
  attach(pipe: Duplex, number = 0): void {
    this.#detach();
    this.#pipe = pipe;
    this.#handed = { pipe: number, open: true, bytes: 0, turns: 0 };
    this.queue.attach(pipe);
    const reader = new SettlementReader((settlement) => this.#settle(settlement));
    pipe.on('data', (chunk: Buffer) => reader.push(chunk));
    // The close that follows says all there is to know: the recorder is gone.
    pipe.on('error', () => undefined);
    pipe.on('close', () => {
      if (this.#pipe === pipe) this.#detach();
    });
    this.#report();
  }

  /**
   * A client connection begins, or an exchange that is fed as a connection of its own.
   * @param resumes whether it may be recorded again after a loss; not so for a single exchange
   */
  open(origin: ConnectionOrigin = UNKNOWN_ORIGIN, resumes = true): TapConnection {
    const connection = this.#nextConnection;
    const account = this.#ledger.open();
    const tap = new TapConnection({ connection, origin, account, resumes }, this, this.#clock);
    this.#taps.set(connection, tap);
    do {
      this.#nextConnection = this.#nextConnection === 0xffff_ffff ? 1 : this.#nextConnection + 1;
    } while (this.#taps.has(this.#nextConnection));
    return tap;
  }

  /** Losses that no recorder is known to have noted, those of stretches that are still being shed included. */
  untold(): UnreportedLoss[] {
    const losses = this.#reports.losses;
    this.#shedding.each((tap) => {
      const { shed } = tap;
      if (shed.length === 0) this.#shedding.remove(tap);
      for (const { reason, tally } of shed) losses.push(this.#lossOf(reason, tally));
    });
    return losses;
  }

  /** It sheds, until it is found to have nothing left that no recorder has noted. */
  sheds(tap: TapConnection): void {
    this.#shedding.add(tap);
  }

  /** Keeps the rest of a connection from every recorder. Nothing happens when it is gone. */
  quarantine(connection: number): void {
    this.#taps.get(connection)?.quarantine();
  }

  /** Tells the recorder of bytes that were left out where it could not see them. */
  noteOmission(cause: OmissionCause, tally: Readonly<Tally>): void {
    this.#reports.addOmission({ cause, ...tally });
    if (this.#pipe) this.#report();
  }

  /** Forgets a connection that is closed and settled. */
  retire(tap: TapConnection): void {
    this.#taps.delete(tap.connection);
    this.#shedding.remove(tap);
    this.#ledger.retire(tap.account);
  }

  /** Keeps a loss until a recorder can be told of it. */
  noteLoss(reason: LossReason, tally: Readonly<Tally>): void {
    this.#reports.addLoss(this.#lossOf(reason, tally));
  }

  /** The recorder noted a stretch that was shed, of which it was told in its place. */
  gapNoted(reason: LossReason, tally: Readonly<Tally>): void {
    this.#reports.addNoted(this.#lossOf(reason, tally));
  }

  /**
   * Waits until everything handed over is committed and settled, or the deadline or the recorder ends first;
   * what is pending then is lost (`shutdown_timeout`). Returns the losses that no recorder was told of.
   */
  async finish(deadlineMs: number): Promise<UnreportedLoss[]> {
    if (this.#pipe) {
      const timer = new AbortController();
      await Promise.race([this.#flushed(), delay(deadlineMs, timer.signal)]);
      timer.abort();
    }
    for (const tap of this.#taps.values()) {
      this.noteLoss('shutdown_timeout', tap.giveUp({ kind: 'lost', because: 'shutdown_timeout' }));
    }
    // Nothing is under way any more that has not been counted.
    this.#nothingUnderWay();
    return this.#reports.losses;
  }

  /** Lets the recorder go: it reads the end of the pipe. */
  end(): void {
    this.#pipe?.end();
  }

  #nothingUnderWay(): void {
    this.#handed = { pipe: this.#handed.pipe, open: false, bytes: 0, turns: 0 };
  }

  #lossOf(reason: LossReason, { bytes, turns }: Readonly<Tally>): UnreportedLoss {
    const nowNs = this.#clock.nowNs();
    return { reason, bytes, turns, fromNs: nowNs, toNs: nowNs };
  }

  #flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFlushed = resolve;
      this.#report();
      this.#awaited = this.#askFlush();
      this.queue.flush();
    });
  }

  #askFlush(): number {
    this.#flushes += 1;
    const atNs = this.#clock.nowNs();
    this.queue.appendControl({ type: FRAME.flush, flags: 0, connection: this.#flushes, atNs }, EMPTY);
    return this.#flushes;
  }

  #detach(): void {
    if (!this.#pipe) return;
    this.#pipe.destroy();
    this.#pipe = null;
    this.#nothingUnderWay();
    this.queue.attach(null);
    this.#reports.recorderGone();
    for (const tap of this.#taps.values()) tap.recorderGone();
    this.#onFlushed?.();
  }

  #settle(settlement: PipeSettlement): void {
    if (settlement.kind === 'recorded') this.#ledger.addExchanges(settlement.exchanges);
    if (settlement.kind === 'flushed') this.#onNoted(settlement.connection);
    else this.#taps.get(settlement.connection)?.settled(settlement);
  }

  #onNoted(flush: number): void {
    this.#reports.noted(flush);
    if (this.#awaited > 0 && flush >= this.#awaited) this.#onFlushed?.();
  }

  /** Tells the recorder what it saw nothing of, and asks to hear that it has noted it. */
  #report(): void {
    const told = this.#reports.tell(this.#flushes + 1);
    if (!told) return;
    for (const { reason, turns, bytes, fromNs, toNs } of told.losses) {
      const flags = LOSS_REASONS.indexOf(reason);
      const head = { type: FRAME.loss, flags, connection: 0, atNs: toNs };
      this.queue.appendControl(head, doubles(turns, bytes, fromNs, toNs));
    }
    for (const { cause, turns, bytes } of told.omissions) {
      const flags = OMISSION_CAUSES.indexOf(cause);
      const head = { type: FRAME.omission, flags, connection: 0, atNs: this.#clock.nowNs() };
      this.queue.appendControl(head, doubles(turns, bytes));
    }
    this.#askFlush();
  }
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
