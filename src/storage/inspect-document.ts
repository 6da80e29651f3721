import type { LossReason, OmissionCause } from '../core/accounting.ts';
import type { KilledDocument } from './accounts.ts';
import type { CaptureOrigin } from './capture-origin.ts';
import type { ExpiredDocument } from './expired-segments.ts';
import type { RecorderDocument } from './recorder-life.ts';

/** What `inspect` says of a capture. Bytes of exchanges are those of bodies, after transfer decoding. */
export interface InspectDocument {
  readonly schemaVersion: 1;
  /** The first of `directories`. */
  readonly directory: string;
  readonly directories: readonly string[];
  readonly exchanges: number;
  /** ISO 8601, UTC; null for a capture without exchanges. */
  readonly firstArrival: string | null;
  readonly lastArrival: string | null;
  /** `disk` counts every file of the directory. */
  readonly bytes: { readonly request: number; readonly response: number; readonly disk: number };
  readonly outcomes: Readonly<Record<string, number>>;
  readonly truncated: { readonly requests: number; readonly responses: number };
  readonly losses: {
    readonly exchanges: number;
    /** Bytes of the wire where they were never parsed. */
    readonly bytes: number;
    readonly byReason: Readonly<Partial<Record<LossReason, { exchanges: number; bytes: number }>>>;
    /** False where a recording was killed: these are lower bounds. */
    readonly exact: boolean;
  };
  readonly omitted: {
    readonly exchanges: number;
    readonly bytes: number;
    readonly byCause: Readonly<Partial<Record<OmissionCause, { exchanges: number; bytes: number }>>>;
  };
  /**
   * recorded ÷ seen, in exchanges: seen is what was recorded (forgotten since or not), lost and sampled out, and where the fleet's size is
   * known what the recorders that are missing must have seen. Null where nothing passed, and where anything was imported:
   * its file keeps no account of what it left out.
   */
  readonly coverage: number | null;
  /**
   * A recording was killed: what passed between its last account and the next recording is in no term of coverage,
   * which may be less.
   */
  readonly coverageIsAtMost: boolean;
  /** In the order of their ends. */
  readonly killed: readonly KilledDocument[];
  /**
   * The share of what was seen that is missing: lost for whatever reason, or in front of recorders that are not here.
   * Sampling and forgetting account for what they took.
   */
  readonly unexplained: number | null;
  readonly protocols: Readonly<Record<string, { connections: number; bytes: number }>>;
  /** The time zone that `days` are those of. */
  readonly timeZone: string;
  readonly days: readonly { readonly day: string; readonly exchanges: number; readonly bytes: number }[];
  readonly segments: readonly {
    readonly file: string;
    readonly sealed: boolean;
    readonly exchanges: number;
    /** On disk, with the write-ahead log of an open one. */
    readonly bytes: number;
  }[];
  readonly expired: ExpiredDocument;
  /** What `forget` removed. It was seen and recorded, and is there no more. */
  readonly forgotten: { readonly exchanges: number; readonly bytes: number };
  /** Segments whose payloads need a key, and the fingerprints of the keys they need. */
  readonly encrypted: { readonly segments: number; readonly keys: readonly string[] };
  /** Segments that failed their check and were set aside. They are kept, and not read. */
  readonly damaged: readonly string[];
  /** Segments that lie in several of the directories, and are counted once. */
  readonly duplicates: readonly string[];
  readonly recorders: readonly RecorderDocument[];
  /** Recorders the fleet has, where somebody said so. */
  readonly fleetSize: number | null;
  /** The most that were there at one time: a member that paused, or was started again, has several lives. */
  readonly recordersAtOnce: number;
  readonly origins: readonly CaptureOrigin[];
  /** Where its recorders looked for the key of a session; empty where they knew none. */
  readonly sessionKeys: readonly string[];
  readonly clockAnchors: number;
}
