import { FIRST_SERVER_ERROR, type FinishReason } from './exchange.ts';

/**
 * A run is one replay. A send is one planned request and its result. Every `…OffsetNs` is nanoseconds after
 * the run's start on the monotonic clock.
 */

/** Why a send has no complete answer. A closed list: reports group by it. */
export const SEND_ERRORS = [
  'connect_refused',
  'connect_timeout',
  'connect_failed',
  'no_socket',
  'reset_on_reuse',
  'reset',
  'closed_early',
  'first_byte_timeout',
  'idle_timeout',
  'total_timeout',
  'protocol',
  'broken_stream',
  'deadline',
  'no_status',
  'no_message',
  'refused_stream',
  'goaway',
  'stopped',
  'other',
] as const;
export type SendError = (typeof SEND_ERRORS)[number];

/** Token counts and times of an answer. A content event is any event with content. */
export interface SendAnswer {
  readonly firstTokenOffsetNs: number | null;
  readonly lastTokenOffsetNs: number | null;
  /** Events with content. Each one after the first ends a gap. */
  readonly contentEvents: number;
  readonly gapMaxNs: number | null;
  /** All gaps in the format of core's GapCounts; null if there are none. */
  readonly gaps: Uint8Array | null;
  /** `pausedNs` of the send, for its first and last token; 0 if omitted. */
  readonly firstTokenPausedNs?: number | null;
  readonly lastTokenPausedNs?: number | null;
  /** The gaps less the pauses of the sender; null or omitted if none was in a gap. */
  readonly unpausedGaps?: Uint8Array | null;
  readonly promptTokens: number | null;
  /** Those of the prompt that the server had in its cache; null or omitted if it does not report them. */
  readonly cachedTokens?: number | null;
  readonly outputTokens: number | null;
  readonly finish: FinishReason | null;
  /** Finish reason of each choice by index; omitted for a single choice. Not stored in a run's rows. */
  readonly finishes?: readonly (FinishReason | null)[] | null;
}

/** What was recorded of a complete answer. */
export interface RecordedAnswer {
  readonly status: number;
  readonly bytes: number | null;
  readonly streamed: boolean | null;
  /** From the request's first byte to the answer's last; null if unknown. */
  readonly tookNs: number | null;
  /** Whether it reported an error despite a 2xx status; null if unknown. */
  readonly tellsError: boolean | null;
  readonly promptTokens?: number | null;
  readonly cachedTokens?: number | null | undefined;
  readonly outputTokens?: number | null;
  readonly finish?: FinishReason | null;
  /** Number of its body within the segment. Equal bodies have the same number. Null or omitted if unknown. */
  readonly body?: number | null;
}

/** One planned send and its result. */
export interface Send {
  /** Position in the schedule, from 0. */
  readonly index: number;
  /** The recorded exchange: segment file and id. */
  readonly segment: string;
  readonly exchangeId: number;
  readonly route: string | null;
  readonly model: string | null;
  /** Keyed hash of the recorded client, 16 hex digits. A copy has the client of its original. */
  readonly client: string | null;
  /** Size of the body as sent, which may have been changed. */
  readonly requestBytes: number;
  /**
   * The planned instant. For a follow-up in a partly open replay, when its session reached it. Never changed.
   */
  readonly intendedOffsetNs: number;
  /** When a connection was chosen or opened; null when refused by the in-flight cap or never reached. */
  readonly actualOffsetNs: number | null;
  /** How long it waited for its recorded connection before that. This is not lag. Null if it did not wait. */
  readonly connectionWaitNs: number | null;
  /** When the request's first byte was sent: the end of the connection wait. */
  readonly startOffsetNs: number | null;
  /**
   * From the call on an open connection until its first write returned. The request left the sender meanwhile. Null if
   * it was not written, or unknown.
   */
  readonly writeNs: number | null;
  /**
   * How long the complete answer may have waited, because the sender could not read: it was stopped, or had no
   * processor. Includes pauses while it connected. Null if unknown, as in runs before format 10.
   */
  readonly pausedNs: number | null;
  readonly firstByteOffsetNs: number | null;
  /** End of a complete answer; for an error, when it was detected; null when not sent. */
  readonly lastByteOffsetNs: number | null;
  readonly status: number | null;
  /** `grpc-status` of a gRPC call, whose HTTP status `status` is; null or omitted for none. */
  readonly grpcStatus?: number | null;
  readonly responseBytes: number;
  /**
   * Null for a complete answer of any status, and for an answer that was not awaited. A refused send has null or
   * `no_socket`.
   */
  readonly error: SendError | null;
  /** Due but not sent because of the in-flight cap or a ceiling, or because this host had no socket for it. */
  readonly refused: boolean;
  /** Recorded before the window: sent and stored, but not measured. */
  readonly warmup: boolean;
  /** Cancelled by the replay at the point where the recorded client left. It counts as neither answered nor failed. */
  readonly cancelled: boolean;
  /** Whether the answer was streamed. Without an answer, whether the recorded one was. */
  readonly streamed: boolean;
  /** A stream was recorded or requested but the answer came whole. It has no first token and did not fail. */
  readonly unstreamed: boolean;
  /** Null if the answer was not examined. */
  readonly answer: SendAnswer | null;
  /** Comparison with the recorded answer; null or omitted if not (yet) compared. */
  readonly check?: AnswerCheck | null;
  /** Whether a 2xx reports an error in its body; null or omitted if its body was not read. */
  readonly tellsError?: boolean | null;
  /** CRC-32 of the body of a complete 2xx; null or omitted for none. */
  readonly bodyCrc?: number | null;
  /** The recorded answer to this request; null or omitted if none was complete. */
  readonly recorded?: RecordedAnswer | null;
}

/** The current position of a run, for progress reports. */
export interface RunPosition {
  readonly elapsedNs: number;
  /** Sends that were due and had not ended when ends were last reported. */
  readonly outstanding: number;
  /** Sends in flight at the target, and sends that wait on our side for their recorded connection. */
  readonly inFlight: number;
  readonly waiting: number;
}

/** Facts of a run besides its rows. */
export interface Run {
  readonly id: string;
  readonly version: string;
  readonly capture: string;
  readonly target: string;
  readonly startedAtUs: number;
  readonly endedAtUs: number;
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * Counts of a run. `planned` = `sent` + `refused` + not reached; `sent` = `completed` + `failed` +
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

/** A part of a run: offsets from its start, `fromOffsetNs` ≤ t < `toOffsetNs`. */
export interface Stretch {
  readonly fromOffsetNs: number;
  readonly toOffsetNs: number;
}

/**
 * The lag of a sent request, up to the write that left, and without the wait for its recorded connection or the opening
 * of a new one. A timestamp before the intended instant counts as no lag.
 */
export function lagNsOf(
  send: Parameters<typeof readyOffsetNs>[0] & Pick<Send, 'intendedOffsetNs' | 'writeNs'>,
): number {
  return Math.max(0, readyOffsetNs(send) - send.intendedOffsetNs) + (send.writeNs ?? 0);
}

/** When a sent request was ready: its actual send, less the wait for its recorded connection. */
export function readyOffsetNs(send: {
  readonly actualOffsetNs: number;
  readonly connectionWaitNs: number | null;
}): number {
  return send.actualOffsetNs - (send.connectionWaitNs ?? 0);
}

/**
 * Whether a status means that the request was not served: neither 2xx nor a server error. No model works on a
 * redirect, a wrong path or an invalid body.
 */
export function isTurnedAway(status: number): boolean {
  return (status < 200 || status > 299) && status < FIRST_SERVER_ERROR;
}

/**
 * Whether a sent request failed: no complete answer, or a 5xx. Any other status is an answer. An answer that
 * was deliberately not awaited is no failure.
 */
export function hasFailed(send: Pick<Send, 'error' | 'status' | 'cancelled'>): boolean {
  if (send.cancelled) return false;
  return send.error !== null || send.status === null || send.status >= FIRST_SERVER_ERROR;
}

/** Client errors that pass with time or with less load: a timeout, a conflict, a lock, a rate limit. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 423, 425, 429]);

/**
 * Whether an answer looks like one of a wrong server: it refuses the path, the method or the credentials. False if
 * production's answer was of the same class, or is unknown.
 */
export function isOfWrongServer({ error, cancelled, status, recorded }: Send): boolean {
  if (error !== null || cancelled || status === null || !recorded) return false;
  const isRefusal = status === 501 || (status >= 400 && status < 500 && !PASSING.has(status));
  return isRefusal && Math.floor(status / 100) !== Math.floor(recorded.status / 100);
}

/**
 * How the answer to a replayed request compares with the recorded one. It contains no payload, only the place of a
 * difference.
 */

/** Levels of comparison. Each includes the ones before it. */
export const CHECK_LEVELS = ['status', 'shape', 'values'] as const;
export type CheckLevel = (typeof CHECK_LEVELS)[number];

/** How two answers differ. A closed list: reports group by it. */
export const MISMATCH_KINDS = ['status', 'shape', 'values', 'length', 'finish'] as const;
export type MismatchKind = (typeof MISMATCH_KINDS)[number];

/** Why an answer could not be compared as requested. A closed list: reports group by it. */
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
  no_recorded_answer: 'no answer was recorded',
  recorded_incomplete: 'the recorded answer is incomplete',
  no_recorded_body: 'the body of the recorded answer was not stored (record with --bodies all)',
  recorded_truncated: 'the recorded answer was truncated at the cap on bodies',
  redacted: 'masked parts of the recorded answer cannot be compared',
  request_changed: 'its request was changed before it was sent',
  answer_too_large: 'the answer is larger than the limit',
  unreadable: 'its coding or format cannot be read',
  backlog: 'the comparison fell behind',
  recording_unreadable: 'the capture could not be read',
  checker_failed: 'the comparison failed',
  not_asked: 'its shard did not compare answers',
};

/** The result of comparing one answer. */
export type AnswerCheck =
  | { readonly result: 'same' }
  | {
      readonly result: 'mismatch';
      readonly kind: MismatchKind;
      /** JSON pointer of the first difference, with unusual names as `*`; null if there is none. */
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

/** The inverse of `checkWord`; null for an unknown word. */
export function checkOfWord(word: string, pointer: string | null): AnswerCheck | null {
  if (word === 'same') return SAME;
  const [result, detail] = word.split(':');
  const kind = MISMATCH_KINDS.find((known) => known === detail);
  if (result === 'mismatch' && kind !== undefined) return mismatch(kind, pointer);
  const reason = UNCHECKED_REASONS.find((known) => known === detail);
  return result === 'unchecked' && reason !== undefined ? unchecked(reason) : null;
}

/** A comparison, its row in the run and the recorded exchange. */
export interface CheckedSend {
  readonly index: number;
  readonly segment: string;
  readonly exchangeId: number;
  readonly check: AnswerCheck;
}

/**
 * What happened within one second of a run. `inFlight` is the value at its end, `lagMaxNs` the maximum so
 * far.
 */
export interface RunSecond {
  readonly second: number;
  readonly offered: number;
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly refused: number;
  readonly inFlight: number;
  readonly lagMaxNs: number | null;
}

/** When a planned fault of a dependency is on. Offsets are nanoseconds after the run's start. */
export interface FaultWindow {
  readonly name: string;
  readonly fromNs: number;
  readonly toNs: number;
  /** End of the time that the target has to recover; `toNs` if no limit is stated. */
  readonly recoveredNs: number;
  /** Whether the window has its own objectives. If so, the run's do not apply in it. */
  readonly isJudgedApart: boolean;
}

/** A request planned at most this long before a fault belongs to it if it is open when the fault begins. */
const IN_FLIGHT_NS = 1e9;

type Timed = Pick<Send, 'intendedOffsetNs' | 'lastByteOffsetNs'>;

/** Whether a request met a fault: it was planned while the fault was on, or in flight when the fault began. */
export function isDuring(
  { fromNs, toNs }: FaultWindow,
  { intendedOffsetNs, lastByteOffsetNs }: Timed,
): boolean {
  if (intendedOffsetNs >= fromNs) return intendedOffsetNs < toNs;
  return fromNs - intendedOffsetNs <= IN_FLIGHT_NS && lastByteOffsetNs !== null && lastByteOffsetNs > fromNs;
}

/** The faults that a request met, by name, and whether the run's own objectives apply to it. */
export function faultsOf(
  windows: readonly FaultWindow[],
  send: Timed,
): { readonly faults: readonly string[]; readonly isOutside: boolean } {
  const met = windows.filter((window) => isDuring(window, send));
  const isRecovering = windows.some(
    ({ toNs, recoveredNs }) => send.intendedOffsetNs >= toNs && send.intendedOffsetNs < recoveredNs,
  );
  return {
    faults: met.map(({ name }) => name),
    isOutside: !isRecovering && !met.some(({ isJudgedApart }) => isJudgedApart),
  };
}
