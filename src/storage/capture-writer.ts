import type { LossReason } from '../core/accounting.ts';

/** Who records: one life of one recorder process. */
export interface RecorderIdentity {
  /** Eight hex digits, part of every segment's file name. */
  readonly id: string;
  readonly host: string;
  readonly startedUs: number;
}

/** Where a capture's exchanges come from. */
export type CaptureOrigin =
  | { readonly kind: 'recorded'; readonly target: string }
  | {
      readonly kind: 'imported';
      /** Base name of the trace. */
      readonly file: string;
      /** Whether request bodies were drawn from elsewhere and paired with the arrivals. */
      readonly paired: boolean;
      /** Free facts: payload source, seed, what is missing. */
      readonly details: Readonly<Record<string, unknown>>;
    };

export interface CaptureWriterOptions {
  /** A directory from `resolveCaptureDirectory(…, 'write')`. */
  readonly directory: string;
  readonly recorder: RecorderIdentity;
  readonly origin: CaptureOrigin;
  /** What is stored and masked (bodies, caps, redaction …), kept in `meta` as it is given. */
  readonly policy: Readonly<Record<string, unknown>>;
  readonly hashKeyFingerprint: string;
  /** How many recorders the fleet has; null when nobody said so. */
  readonly fleetSize: number | null;
  /** Bytes that all files of the directory together may take. */
  readonly maxDiskBytes: number;
  /** A segment is an hour of the writer's clock, or (imports) of the arrivals. */
  readonly segmentBy: 'clock' | 'arrival';
  /** `commit`: every commit is synced to disk. `seal`: only a sealed segment is, for imports that can be repeated. */
  readonly durability: 'commit' | 'seal';
  /** Takes the path of a finished segment, to have it sealed. */
  readonly onFinished: (file: string) => void;
}

/** What became of a batch. A lost batch is in the capture's `loss` table with the next commit that succeeds. */
export interface CommitResult {
  readonly committed: number;
  readonly lost: number;
  /** Why exchanges were lost; null when none were. */
  readonly reason: LossReason | null;
}
