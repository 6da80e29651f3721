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

/**
 * How the answer to a replayed request compares with the recorded one. Spoken by who compares, who keeps and who
 * counts; never holds anything of a payload but the place of a difference.
 */

/** How far answers are compared, each level with what the one before it compares. */
export const CHECK_LEVELS = ['status', 'shape', 'values'] as const;
export type CheckLevel = (typeof CHECK_LEVELS)[number];

/** In what two answers differ. A closed list: reports group by it. */
export const MISMATCH_KINDS = ['status', 'shape', 'values', 'length', 'finish'] as const;
export type MismatchKind = (typeof MISMATCH_KINDS)[number];

/** Why an answer could not be compared as far as was asked. A closed list: reports group by it. */
export const UNCHECKED_REASONS = [
  'no_answer',
  'no_recorded_answer',
  'recorded_incomplete',
  'no_recorded_body',
  'recorded_truncated',
  'redacted',
  'request_changed',
  'answer_too_large',
  'unreadable',
  'backlog',
  'recording_unreadable',
  'checker_failed',
  'not_asked',
] as const;
export type UncheckedReason = (typeof UNCHECKED_REASONS)[number];

export const UNCHECKED_TEXTS: Readonly<Record<UncheckedReason, string>> = {
  no_answer: 'no answer came',
  no_recorded_answer: 'none was recorded',
  recorded_incomplete: 'the recorded one was not complete',
  no_recorded_body: 'its body was not recorded (record with --bodies all)',
  recorded_truncated: 'the recorded one was cut by the cap on bodies',
  redacted: 'what was masked in the recorded one cannot be compared',
  request_changed: 'its request was not sent as it was received',
  answer_too_large: 'it is larger than what is compared',
  unreadable: 'its coding or form cannot be read',
  backlog: 'comparing fell behind',
  recording_unreadable: 'the capture could not be read',
  checker_failed: 'comparing it failed',
  not_asked: 'its shard did not compare',
};

/** What comparing one answer came to. */
export type AnswerCheck =
  | { readonly result: 'same' }
  | {
      readonly result: 'mismatch';
      readonly kind: MismatchKind;
      /** JSON pointer of the first difference, with names that are no plain words as `*`; null where there is none. */
      readonly pointer: string | null;
    }
  | { readonly result: 'unchecked'; readonly reason: UncheckedReason };

export const SAME: AnswerCheck = Object.freeze({ result: 'same' });

export function mismatch(kind: MismatchKind, pointer: string | null = null): AnswerCheck {
  return { result: 'mismatch', kind, pointer };
}

export function unchecked(reason: UncheckedReason): AnswerCheck {
  return { result: 'unchecked', reason };
}

/** The result as one word: `same`, `mismatch:values`, `unchecked:backlog`. */
export function checkWord(check: AnswerCheck): string {
  if (check.result === 'same') return 'same';
  return check.result === 'mismatch' ? `mismatch:${check.kind}` : `unchecked:${check.reason}`;
}

/** The way back; null for a word that is none of these. */
export function checkOfWord(word: string, pointer: string | null): AnswerCheck | null {
  if (word === 'same') return SAME;
  const [result, detail] = word.split(':');
  const kind = MISMATCH_KINDS.find((known) => known === detail);
  if (result === 'mismatch' && kind !== undefined) return mismatch(kind, pointer);
  const reason = UNCHECKED_REASONS.find((known) => known === detail);
  return result === 'unchecked' && reason !== undefined ? unchecked(reason) : null;
}

/** Which send was compared: its row in the run and the recorded exchange. */
export interface CheckedSend {
  readonly index: number;
  readonly segment: string;
  readonly exchangeId: number;
  readonly check: AnswerCheck;
}
