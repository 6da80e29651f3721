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
      /** Base name of the trace. */
      readonly file: string;
      /** Whether request bodies were drawn from elsewhere and paired with the arrivals. */
      readonly paired: boolean;
      /** Free facts: payload source, seed, what is missing. */
      readonly details: Readonly<Record<string, unknown>>;
    };
