import type { ExpectedAnswer } from './expected-answer.ts';
import type { FollowUp } from './session-order.ts';

/**
 * One request ready to be sent: everything that had to be read, decompressed or decided is behind it. The
 * sender adds nothing but what the connection needs (`host` first when absent, `connection`, framing).
 */
export interface PreparedRequest {
  /** Position in the schedule, from 0; strictly increasing from request to request. */
  readonly index: number;
  /** Nanoseconds after the start of the run, whole; never decreasing. */
  readonly intendedOffsetNs: number;
  /** What has the same number goes to the same sender; without one, a request stands alone. */
  readonly stripe?: number | undefined;
  /** Number of the recorded connection it waits for and goes over; without one, any connection will do. */
  readonly lane?: number | null;
  /**
   * What it waits for in place of its instant, which is then what was planned; null for the first of a session that
   * others follow. Without it, it stands alone.
   */
  readonly follows?: FollowUp | null | undefined;
  readonly method: string;
  /** The request target as to be sent: origin form, query included, latin1. */
  readonly path: string;
  /**
   * Flat name, value, name, value … in the order and case to be sent, the run's marker included; latin1. No
   * framing and no hop-by-hop names. A `Host` pair is used in place of the target's own authority.
   */
  readonly headers: readonly string[];
  /** Null for a request without a body. */
  readonly body: Uint8Array | null;
  /** Sent with `transfer-encoding: chunked` rather than a content-length. */
  readonly chunked: boolean;
  readonly answer: ExpectedAnswer;
}
