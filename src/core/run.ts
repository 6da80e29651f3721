import type { AnswerCheck } from './answer-check.ts';
import { FIRST_SERVER_ERROR } from './exchange.ts';

/**
 * The replay's noun. A run is one replay; a send is one planned request of it and what became of it.
 * Every `…OffsetNs` is nanoseconds after the run's start on the monotonic clock.
 */

/** Why a send has no complete answer. A closed list: reports group by it. */
export const SEND_ERRORS = [
  'connect_refused',
  'connect_timeout',
  'connect_failed',
  'reset_on_reuse',
  'reset',
  'closed_early',
  'first_byte_timeout',
  'idle_timeout',
  'total_timeout',
  'protocol',
  'broken_stream',
  'stopped',
  'other',
] as const;
export type SendError = (typeof SEND_ERRORS)[number];

/** Why a server stopped generating, in one set of words for all of them. A closed list: reports group by it. */
export const FINISH_REASONS = ['stop', 'length', 'tool_calls', 'content_filter', 'other'] as const;
export type FinishReason = (typeof FINISH_REASONS)[number];

/** What an answer said of its tokens, and when they came. An event is one with content, whatever it holds. */
export interface SendAnswer {
  readonly firstTokenOffsetNs: number | null;
  readonly lastTokenOffsetNs: number | null;
  /** Events with content; each but the first ends a gap. */
  readonly contentEvents: number;
  readonly gapMaxNs: number | null;
  /** All gaps as core's GapCounts writes them; null where there is none. */
  readonly gaps: Uint8Array | null;
  readonly promptTokens: number | null;
  readonly outputTokens: number | null;
  readonly finish: FinishReason | null;
  /** Why each of several choices ended, by their index; left out where there is one. Rows of a run do not keep it. */
  readonly finishes?: readonly (FinishReason | null)[] | null;
}

/** What became of one planned send. */
export interface Send {
  /** Position in the schedule, from 0. */
  readonly index: number;
  /** The recorded exchange: segment file and id. */
  readonly segment: string;
  readonly exchangeId: number;
  readonly route: string | null;
  readonly model: string | null;
  /** Of the body as it is sent, which may have been changed. */
  readonly requestBytes: number;
  /** The planned instant; of a follow-up in a partly open replay, the one its session came to. Never rewritten. */
  readonly intendedOffsetNs: number;
  /** When a connection was chosen or begun; null when refused by our own cap or never reached. */
  readonly actualOffsetNs: number | null;
  /** Before that: the wait for the recorded connection, ours and no lag; null where none was waited for. */
  readonly connectionWaitNs: number | null;
  /** When the request's first byte went out: the end of the connection wait. */
  readonly startOffsetNs: number | null;
  readonly firstByteOffsetNs: number | null;
  /** End of a complete answer; for an error the instant it was noticed; null when it was never sent. */
  readonly lastByteOffsetNs: number | null;
  readonly status: number | null;
  readonly responseBytes: number;
  /** Null for a complete answer of whatever status, and for one that was not waited for. */
  readonly error: SendError | null;
  /** Refused by the in-flight cap or a ceiling: due, and not sent. */
  readonly refused: boolean;
  /** Of the recording before the window: sent, kept, and no part of any figure. */
  readonly warmup: boolean;
  /** Ended by us where the recorded client had left: neither answered nor failed. */
  readonly cancelled: boolean;
  /** Whether the answer came piece by piece; where none came, whether the recorded one did. */
  readonly streamed: boolean;
  /** A stream was recorded, or asked for, and the answer came whole: it has no first token, nor did it fail. */
  readonly unstreamed: boolean;
  /** Null where the answer was not looked into. */
  readonly answer: SendAnswer | null;
  /** How the answer compares with the recorded one; null or left out where it was not, or is not yet, compared. */
  readonly check?: AnswerCheck | null;
}

/** The facts of a run that its rows do not repeat. */
export interface Run {
  readonly id: string;
  readonly version: string;
  readonly capture: string;
  readonly target: string;
  readonly startedAtUs: number;
  readonly endedAtUs: number;
  /** Everything that was asked for, resolved. */
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * Counts of a run; `planned` = `sent` + `refused` + what was not reached, `sent` = `completed` + `failed` +
 * `cancelled`.
 */
export interface RunTotals {
  readonly planned: number;
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly refused: number;
}

/** A stretch of a run, offsets from its start, `fromOffsetNs` ≤ t < `toOffsetNs`. */
export interface Stretch {
  readonly fromOffsetNs: number;
  readonly toOffsetNs: number;
}

/** When a send that left was ready to: its actual send, less the wait for its recorded connection. */
export function readyOffsetNs(send: {
  readonly actualOffsetNs: number;
  readonly connectionWaitNs: number | null;
}): number {
  return send.actualOffsetNs - (send.connectionWaitNs ?? 0);
}

/**
 * Whether an answer says that the request was not served: any but a 2xx and a server error. A redirect, a wrong path
 * or a body that is not understood is answered without any model at work.
 */
export function isTurnedAway(status: number): boolean {
  return (status < 200 || status > 299) && status < FIRST_SERVER_ERROR;
}

/**
 * Whether a send that left has failed: no complete answer, or a 5xx. Any other status is an answer, and one that
 * we did not wait for on purpose is nobody's failure.
 */
export function hasFailed(send: Pick<Send, 'error' | 'status' | 'cancelled'>): boolean {
  if (send.cancelled) return false;
  return send.error !== null || send.status === null || send.status >= FIRST_SERVER_ERROR;
}
