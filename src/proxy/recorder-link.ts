import type { Duplex } from 'node:stream';
import type { LossReason, OmissionCause } from '../core/accounting.ts';
import { LOSS_REASONS, OMISSION_CAUSES } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { type ConnectionOrigin, UNKNOWN_ORIGIN } from './connection-origin.ts';
import { doubles, FRAME, type PipeSettlement, SettlementReader } from './frames.ts';
import type { Ledger, Tally } from './ledger.ts';
import { SlabQueue } from './slab-queue.ts';
import { TapConnection } from './tap-connection.ts';

const EMPTY = new Uint8Array(0);

/** Traffic lost where the recorder could not hear of it; times are monotonic. */
export interface UnreportedLoss extends Readonly<Tally> {
  readonly reason: LossReason;
  readonly fromNs: number;
  readonly toNs: number;
}

/**
 * A forwarder's end of the pipe. It copies, counts and never waits: whatever becomes of the recorder, the
 * sockets are not touched. When a recorder dies, all that it had not acknowledged is counted lost, and live
 * connections are taken up by the next one at their next turn.
 */
export class RecorderLink {
  readonly queue: SlabQueue;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #taps = new Map<number, TapConnection>();
  readonly #unreported = new Map<
    LossReason,
    { turns: number; bytes: number; fromNs: number; toNs: number }
  >();
  readonly #omissions = new Map<OmissionCause, Readonly<Tally>>();
  #pipe: Duplex | null = null;
  #nextConnection = 1;
  #onFlushed: (() => void) | null = null;

  constructor(deps: { clock: Clock; ledger: Ledger; queue?: SlabQueue }) {
    this.#clock = deps.clock;
    this.#ledger = deps.ledger;
    this.queue = deps.queue ?? new SlabQueue();
  }

  get attached(): boolean {
    return this.#pipe !== null;
  }

  /** A recorder listens at the other end. One that listened before is gone. */
  attach(pipe: Duplex): void {
    this.#detach();
    this.#pipe = pipe;
    this.queue.attach(pipe);
    const reader = new SettlementReader((settlement) => this.#settle(settlement));
    pipe.on('data', (chunk: Buffer) => reader.push(chunk));
    // The close that follows says all there is to know: the recorder is gone.
    pipe.on('error', () => undefined);
    pipe.on('close', () => {
      if (this.#pipe === pipe) this.#detach();
    });
    this.#reportLosses();
  }

  /** A client connection begins. */
  open(origin: ConnectionOrigin = UNKNOWN_ORIGIN): TapConnection {
    const account = this.#ledger.open();
    const tap = new TapConnection(this.#nextConnection, origin, account, this, this.#clock);
    this.#taps.set(this.#nextConnection, tap);
    do {
      this.#nextConnection = this.#nextConnection === 0xffff_ffff ? 1 : this.#nextConnection + 1;
    } while (this.#taps.has(this.#nextConnection));
    return tap;
  }

  /** Losses that no recorder was told of yet, those of stretches that are still being shed included. */
  untold(): UnreportedLoss[] {
    const nowNs = this.#clock.nowNs();
    const losses = [...this.#unreported].map(([reason, loss]) => ({ reason, ...loss }));
    for (const tap of this.#taps.values()) {
      const shed = tap.shedding;
      if (shed) losses.push({ ...shed, fromNs: nowNs, toNs: nowNs });
    }
    return losses;
  }

  /** Keeps the rest of a connection from every recorder. Nothing happens when it is gone. */
  quarantine(connection: number): void {
    this.#taps.get(connection)?.quarantine();
  }

  /** Tells the recorder of bytes that were left out where it could not see them. */
  noteOmission(cause: OmissionCause, tally: Readonly<Tally>): void {
    if (tally.bytes === 0 && tally.turns === 0) return;
    const known = this.#omissions.get(cause) ?? { bytes: 0, turns: 0 };
    this.#omissions.set(cause, { bytes: known.bytes + tally.bytes, turns: known.turns + tally.turns });
    if (this.#pipe) this.#reportOmissions();
  }

  /** Forgets a connection that is closed and settled. */
  retire(tap: TapConnection): void {
    this.#taps.delete(tap.connection);
    this.#ledger.retire(tap.account);
  }

  /** Keeps a loss until a recorder can be told of it. */
  noteLoss(reason: LossReason, tally: Readonly<Tally>): void {
    if (tally.bytes === 0 && tally.turns === 0) return;
    const nowNs = this.#clock.nowNs();
    const loss = this.#unreported.get(reason) ?? { turns: 0, bytes: 0, fromNs: nowNs, toNs: nowNs };
    loss.turns += tally.turns;
    loss.bytes += tally.bytes;
    loss.toNs = nowNs;
    this.#unreported.set(reason, loss);
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
    for (const tap of [...this.#taps.values()]) {
      this.noteLoss('shutdown_timeout', tap.account.settleAll({ kind: 'lost', because: 'shutdown_timeout' }));
    }
    return [...this.#unreported].map(([reason, loss]) => ({ reason, ...loss }));
  }

  /** Lets the recorder go: it reads the end of the pipe. */
  end(): void {
    this.#pipe?.end();
  }

  #flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFlushed = resolve;
      this.#reportLosses();
      this.queue.appendControl(
        { type: FRAME.flush, flags: 0, connection: 0, atNs: this.#clock.nowNs() },
        EMPTY,
      );
      this.queue.flush();
    });
  }

  #detach(): void {
    if (!this.#pipe) return;
    this.#pipe.destroy();
    this.#pipe = null;
    this.queue.attach(null);
    for (const tap of [...this.#taps.values()]) tap.recorderGone();
    this.#onFlushed?.();
  }

  #settle(settlement: PipeSettlement): void {
    if (settlement.kind === 'recorded') this.#ledger.addExchanges(settlement.exchanges);
    if (settlement.kind === 'flushed') this.#onFlushed?.();
    else this.#taps.get(settlement.connection)?.settled(settlement);
  }

  #reportLosses(): void {
    for (const [reason, loss] of this.#unreported) {
      this.queue.appendControl(
        { type: FRAME.loss, flags: LOSS_REASONS.indexOf(reason), connection: 0, atNs: loss.toNs },
        doubles(loss.turns, loss.bytes, loss.fromNs, loss.toNs),
      );
    }
    this.#unreported.clear();
    this.#reportOmissions();
  }

  #reportOmissions(): void {
    for (const [cause, tally] of this.#omissions) {
      this.queue.appendControl(
        {
          type: FRAME.omission,
          flags: OMISSION_CAUSES.indexOf(cause),
          connection: 0,
          atNs: this.#clock.nowNs(),
        },
        doubles(tally.turns, tally.bytes),
      );
    }
    this.#omissions.clear();
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
