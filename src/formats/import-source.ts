import type { Exchange } from '../core/exchange.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import type { Redaction } from '../core/redaction.ts';
import type { ArrivalTally } from './arrival-counter.ts';

/** Which bodies an import keeps. */
export const IMPORT_BODIES = ['requests', 'all'] as const;
export type ImportBodies = (typeof IMPORT_BODIES)[number];

export interface ImportSourceDeps {
  readonly hash: KeyedHash;
  readonly redaction: Redaction;
  readonly bodies: ImportBodies;
}

/** A file of another tool as exchanges, read once, at constant memory. */
export interface ImportSource {
  /** Whether its exchanges have requests, so that they can be replayed. */
  readonly requests: boolean;
  readonly tally: ArrivalTally;
  /** What the format never says; marks of the capture. */
  readonly missing: readonly string[];
  /** What single exchanges lack, or had to be made up for; known once all is read. */
  readonly lacking: Readonly<Record<string, number>>;
  /** Other facts on how it was read. */
  readonly details: Readonly<Record<string, unknown>>;
  /**
   * The exchanges in the order of the file, some at a time. Call once.
   * @throws AppError INPUT_INVALID naming file, place, reason and way out; the signal's reason when it aborts
   */
  batches(signal: AbortSignal): AsyncGenerator<Exchange[]>;
}

/** One way of reading. */
export type OpenImport = (deps: ImportSourceDeps, signal: AbortSignal) => Promise<ImportSource>;
