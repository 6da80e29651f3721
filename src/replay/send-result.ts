import type { SendAnswer, SendError } from '../core/run.ts';
import type { HeldAnswer } from './check/answer-to-check.ts';

/**
 * What became of one prepared request; the part of core's Send that the engine knows. Every offset is
 * nanoseconds after the start of the run on the monotonic clock.
 */
export interface SendResult {
  readonly index: number;
  readonly intendedOffsetNs: number;
  /** When a connection was chosen or begun; null when a cap refused the request or a stop came before. */
  readonly actualOffsetNs: number | null;
  /** Before that: the wait for its recorded connection, ours and no lag; null where none was waited for. */
  readonly connectionWaitNs: number | null;
  /** When the request was written: the end of the connection wait. */
  readonly startOffsetNs: number | null;
  /** First byte of the final response (an interim 1xx is not it). */
  readonly firstByteOffsetNs: number | null;
  /** End of a complete response; for an error the instant it was noticed, null when refused. */
  readonly lastByteOffsetNs: number | null;
  readonly status: number | null;
  /** Body bytes received, transfer coding removed, content coding left. */
  readonly responseBytes: number;
  /** Null for a complete answer of whatever status, and for a refused request. */
  readonly error: SendError | null;
  readonly refused: boolean;
  /** Ended by us where the recorded client had left. */
  readonly cancelled: boolean;
  /** Whether the answer came piece by piece; null where none came. */
  readonly streamed: boolean | null;
  /** Null where the answer was not looked into. */
  readonly answer: SendAnswer | null;
  /** The connection had answered a request before this one. */
  readonly reusedConnection: boolean;
  /** A copy of a complete answer; null or left out where none was asked for, or its facts are enough. */
  readonly kept?: HeldAnswer | null;
}

/** Of a request that was due and that our own cap did not send. */
export function refusedResult(index: number, intendedOffsetNs: number): SendResult {
  return { ...NOT_SENT, index, intendedOffsetNs, error: null, refused: true };
}

/** Of a request that was still waiting for its recorded connection when sending ended. */
export function neverSentResult(index: number, intendedOffsetNs: number): SendResult {
  return { ...NOT_SENT, index, intendedOffsetNs, error: 'stopped', refused: false };
}

const NOT_SENT = {
  actualOffsetNs: null,
  connectionWaitNs: null,
  startOffsetNs: null,
  firstByteOffsetNs: null,
  lastByteOffsetNs: null,
  status: null,
  responseBytes: 0,
  cancelled: false,
  streamed: null,
  answer: null,
  reusedConnection: false,
} as const;
