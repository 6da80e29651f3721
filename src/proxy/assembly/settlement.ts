import type { LossReason, OmissionCause } from '../../core/accounting.ts';
import type { Exchange } from '../../core/exchange.ts';
import type { CloseCause } from '../frames.ts';

/**
 * How a stretch of a connection left the state "pending". Settlements of one connection are contiguous and in
 * order: each covers, in both directions, the bytes between the offsets of the settlement before it and its
 * own, so that every byte fed is settled exactly once.
 */
interface SettledRange {
  /** Client bytes settled so far, counted from the start of the connection. */
  readonly clientEndOffset: number;
  /** Server bytes settled so far, counted from the start of the connection. */
  readonly serverEndOffset: number;
  /** Turns whose first client byte lies in this range. */
  readonly turns: number;
}

export interface RecordedRange extends SettledRange {
  readonly kind: 'recorded';
  readonly exchange: Exchange;
}

export interface LostRange extends SettledRange {
  readonly kind: 'lost';
  readonly reason: LossReason;
  /** Requests whose head was read; a lower bound, since what was never parsed counts for none. */
  readonly exchanges: number;
}

export interface OmittedRange extends SettledRange {
  readonly kind: 'omitted';
  readonly cause: OmissionCause;
  /** As for `LostRange`. */
  readonly exchanges: number;
}

export type Settlement = RecordedRange | LostRange | OmittedRange;

/**
 * What a data plane tells of one connection, in the order it happened. `atNs` is monotonic nanoseconds and
 * never goes back. Bytes are read during the call only: whatever is kept of them is copied.
 */
export interface ConnectionFeed {
  /** Client bytes; `turnStart` when they are the first after server bytes (or the first of all). */
  clientBytes(atNs: number, bytes: Uint8Array, turnStart: boolean): void;
  serverBytes(atNs: number, bytes: Uint8Array): void;
  /** That many bytes (and turns begun in them) passed and were shed before they came here. */
  gap(reason: LossReason, clientBytes: number, serverBytes: number, turns?: number): void;
  /** The client half-closed. */
  clientEnd(atNs: number): void;
  /** The upstream half-closed. */
  serverEnd(atNs: number): void;
  /** Nothing more will come from either side; everything pending is settled. */
  close(atNs: number, how: CloseCause): void;
}
