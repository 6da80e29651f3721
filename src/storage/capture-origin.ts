/** Who records: one life of one recorder process. */
export interface RecorderIdentity {
  /** Eight hex digits, part of every segment's file name. */
  readonly id: string;
  readonly host: string;
  readonly startedUs: number;
}

/** Where a capture's exchanges come from. */
export type CaptureOrigin =
  | {
      readonly kind: 'recorded';
      readonly target: string;
      /** All of them, where the recorder stood in front of several. */
      readonly targets?: readonly string[];
    }
  | {
      readonly kind: 'imported';
      /** Base name of the file. */
      readonly file: string;
      /** Whether its exchanges have requests: the file's own, or drawn from elsewhere and paired with its arrivals. */
      readonly paired: boolean;
      /** Free facts: format, payload source, seed; what the format never says, and what single exchanges lacked. */
      readonly details: Readonly<Record<string, unknown>>;
    };
