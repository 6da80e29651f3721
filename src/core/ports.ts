import type { LifeAccount, LossReason, Progress, ProtocolUse } from './accounting.ts';
import type { ClockAnchor } from './clock.ts';
import type { Exchange, ExchangePayload, ExchangeRow } from './exchange.ts';
import type { Run, RunTotals, Send } from './run.ts';

/** Where a data plane puts what it saw. One writer, synchronous, group commit inside. */
interface ExchangeSink {
  /**
   * Takes an exchange; durable only after the commit that follows. Never throws for a full disk.
   * @returns false when it cannot be stored at all (`encode_failed`)
   */
  append(exchange: Exchange): boolean;
  addProtocolUse(use: ProtocolUse): void;
  addAnchor(anchor: ClockAnchor): void;
}

/** What became of a batch. A failed commit is a loss for whoever counts, never an exception. */
export interface CommitResult {
  readonly committed: number;
  readonly lost: number;
  /** Why exchanges were lost; null when none were. */
  readonly reason: LossReason | null;
}

/** A sink whose owner decides when to commit, because acknowledgements follow the commit. */
export interface CommittingSink extends ExchangeSink {
  /** Whether a commit is due: a block is full, or the oldest append has waited long enough. */
  due(nowNs: number): boolean;
  /** @param progress what its owner will have committed when this succeeds; kept with the exchanges */
  commit(progress?: Progress): CommitResult;
  /** The account of the recording so far, which the next commit writes. */
  setAccount(account: LifeAccount): void;
  /** Commits and leaves the segment to be sealed. */
  close(): void;
}

/** A slice of time, epoch microseconds: `fromUs` ≤ arrival < `toUs`. */
export interface TimeRange {
  readonly fromUs: number;
  readonly toUs: number;
}

/** What everything else reads. */
export interface CaptureSource {
  /** Exchanges in the order (arrival, recorder, id) at constant memory. */
  rows(range?: TimeRange): IterableIterator<ExchangeRow>;
  /**
   * Head, bodies and chunk times of a row; null when the capture holds none for it. The response may be read when it
   * is asked for, so before the source is closed.
   */
  payload(row: ExchangeRow): ExchangePayload | null;
  close(): void;
}

/** Where one replay keeps what it did. Immutable once sealed. */
export interface RunStore {
  append(sends: readonly Send[]): void;
  seal(run: Run, totals: RunTotals, summary: object): void;
  close(): void;
}

/** One line per change of state, never one per request. */
export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
