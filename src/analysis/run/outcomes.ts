import { type ExchangeRow, FIRST_SERVER_ERROR, isClientError } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import { picked } from '../../core/picked.ts';
import {
  type CheckedSend,
  hasFailed,
  isTurnedAway,
  MISMATCH_KINDS,
  type MismatchKind,
  SEND_ERRORS,
  type Send,
  type SendError,
  UNCHECKED_REASONS,
  type UncheckedReason,
} from '../../core/run.ts';
import type {
  CheckFigures,
  MismatchExample,
  RecordedFailures,
  ReplayDocument,
  SendId,
  WarmupFigures,
} from '../../documents/replay.ts';
import { grpcStatusName, httpStatusOfGrpcName } from '../../inference/grpc.ts';
import { among, FirstExamples, shareDistance, Tally } from '../stats/tally.ts';

export type SendCategory = 'completed' | 'failed' | 'cancelled' | 'refused' | 'unreached';

/**
 * The outcome of a finished send:
 * - `refused`: refused by our own limits
 * - `unreached`: the run ended before it was due
 * - `cancelled`: cancelled by the replay because the recorded client left
 * - `failed`: no complete answer, or a 5xx
 * - `completed`: any other status, which is an answer
 */
export function outcomeOf(send: Send): SendCategory {
  if (send.refused) return 'refused';
  if (send.actualOffsetNs === null) return 'unreached';
  if (send.cancelled) return 'cancelled';
  return hasFailed(send) ? 'failed' : 'completed';
}

/** How a request failed, or was turned away: `reset`, `status_503`, or `UNAVAILABLE` of a gRPC call. */
export function failureKindOf({
  error,
  status,
  grpcStatus,
}: Pick<Send, 'error' | 'status' | 'grpcStatus'>): string {
  if (error !== null) return error;
  return grpcStatus == null ? `status_${status ?? 'none'}` : grpcStatusName(grpcStatus);
}

/** The answers by kind, as `failureKindOf` names them, each with its HTTP status. */
export function answerKinds({
  statuses,
  grpcStatuses = {},
}: Pick<ReplayDocument, 'statuses' | 'grpcStatuses'>): { kind: string; status: number; answers: number }[] {
  const others = new Tally(Object.entries(statuses).map(([status, answers]) => [Number(status), answers]));
  const calls = Object.entries(grpcStatuses).map(([kind, answers]) => {
    const status = httpStatusOfGrpcName(kind);
    others.count(status, -answers);
    return { kind, status, answers };
  });
  const plain = [...others].filter(([, answers]) => answers > 0);
  return [...plain.map(([status, answers]) => ({ kind: `status_${status}`, status, answers })), ...calls];
}

export interface OutcomeFigures
  extends Pick<
    ReplayDocument,
    | ('sent' | 'completed' | 'failed' | 'cancelled' | 'refused' | 'unreached')
    | ('statuses' | 'grpcStatuses' | 'errors' | 'errorExamples')
  > {
  /** Failed requests that the replay ended itself when the run was stopped. */
  readonly stopped: number;
  /** Cancelled requests without a status. They might have failed. */
  readonly leftUnanswered: number;
}

export class OutcomeCounts {
  readonly #counts: Record<SendCategory, number> = {
    completed: 0,
    failed: 0,
    cancelled: 0,
    refused: 0,
    unreached: 0,
  };
  readonly #statuses = new Tally<number>();
  readonly #grpcStatuses = new Tally<string>();
  readonly #errors = new Tally<SendError>();
  #leftUnanswered = 0;
  /** The first failed sends of each kind, so that a reader can inspect them. */
  readonly #examples = new FirstExamples<string, SendId>();

  add(send: Send): SendCategory {
    const outcome = outcomeOf(send);
    this.#counts[outcome] += 1;
    if (outcome === 'cancelled' && send.status === null) this.#leftUnanswered += 1;
    if (outcome === 'refused' && send.error !== null) this.#errors.count(send.error);
    if (outcome !== 'completed' && outcome !== 'failed') return outcome;
    if (send.error !== null) this.#errors.count(send.error);
    else if (send.status !== null) {
      this.#statuses.count(send.status);
      if (send.grpcStatus != null) this.#grpcStatuses.count(grpcStatusName(send.grpcStatus));
    }
    const { index, segment, exchangeId } = send;
    if (outcome === 'failed') this.#examples.add(failureKindOf(send), { index, segment, exchangeId });
    return outcome;
  }

  figures(): OutcomeFigures {
    const { completed, failed, cancelled } = this.#counts;
    return {
      sent: completed + failed + cancelled,
      ...this.#counts,
      stopped: this.#errors.get('stopped') ?? 0,
      leftUnanswered: this.#leftUnanswered,
      statuses: Object.fromEntries(this.#statuses),
      ...(this.#grpcStatuses.size > 0 && { grpcStatuses: Object.fromEntries(this.#grpcStatuses) }),
      errors: among(SEND_ERRORS, this.#errors),
      errorExamples: Object.fromEntries([...this.#examples.byKind].sort(([a], [b]) => (a < b ? -1 : 1))),
    };
  }
}

/** Statuses of an overloaded server, after which clients often retry. */
const REJECTED: ReadonlySet<number> = new Set([429, 503]);

/** A refusal that counts as an answer. A 503 counts as a failure instead. */
const TOO_MANY_REQUESTS = 429;

export function isRefusal(status: number): boolean {
  return status === TOO_MANY_REQUESTS;
}

/** The number of answers that refuse a request because of load. */
export function refusalsIn(statuses: Readonly<Record<string, number>>): number {
  return statuses[TOO_MANY_REQUESTS] ?? 0;
}

/** Whether a request was served: its answer neither failed nor turned it away. */
export function isServed({ status }: Pick<Send, 'status'>, outcome: SendCategory): boolean {
  return outcome === 'completed' && (status === null || !isTurnedAway(status));
}

/** Whether a request counts as infinitely slow in objectives on latency. */
export function isUnanswered(outcome: SendCategory): boolean {
  return outcome === 'failed' || outcome === 'refused' || outcome === 'unreached';
}

export interface StatusMixFigures {
  /** Recorded answers below 500 for the planned requests; 0 if the recording has no statuses. */
  readonly recordedAnswers: number;
  readonly sentAnswers: number;
  /** Share of the answers without a 2xx status; null if there are no answers. */
  readonly recordedTurnedAway: number | null;
  readonly sentTurnedAway: number | null;
  /** Share of the current answers without a 2xx status, beyond the share that the recording explains. */
  readonly turnedAwayExcess: number;
  /**
   * Planned requests with a known recorded outcome. Of these, requests with a 5xx, without an answer, or with a partial
   * answer.
   */
  readonly recordedKnown: number;
  readonly recordedFailed: number;
  /** Share of 429 and 503 in all recorded statuses. Later arrivals may be retries of clients. */
  readonly recordedRejected: number | null;
  /** Share of 429 in all recorded statuses. */
  readonly recordedRefused: number | null;
  /** Share of 4xx other than 429 in all recorded statuses. */
  readonly recordedClientErrors: number | null;
  /** Recorded latency of the planned requests with a complete answer below 500. */
  readonly recordedTook: Histogram;
  /** Total variation between the two mixes of statuses, 0 to 1; null if one side has none. */
  readonly distance: number | null;
}

/** Compares the statuses of the target with the recorded ones of the same requests. */
export class StatusMix {
  readonly #recorded = new Tally<number>();
  readonly #sent = new Tally<number>();
  readonly #failures = { unanswered: 0, broken: 0 };
  readonly #recordedTook = new Histogram();

  /** Adds a planned request with its recorded outcome. */
  addPlanned({
    status,
    outcome,
    lastByteOffsetUs,
  }: Pick<ExchangeRow, 'status' | 'outcome' | 'lastByteOffsetUs'>): void {
    if (status !== null) this.#recorded.count(status);
    const isServed = outcome === 'completed' && status !== null && isAnswer(status) && !isTurnedAway(status);
    if (isServed && lastByteOffsetUs !== null) this.#recordedTook.record(lastByteOffsetUs * 1e3);
    if (outcome !== 'upstream_failed' && outcome !== 'timed_out') return;
    if (status === null) this.#failures.unanswered += 1;
    else if (isAnswer(status)) this.#failures.broken += 1;
  }

  /** Adds many planned requests by their recorded status. Broken answers are in both arguments. */
  addRecorded(statuses: Readonly<Record<string, number>>, { unanswered, broken }: RecordedFailures): void {
    for (const [status, times] of Object.entries(statuses)) this.#recorded.count(Number(status), times);
    this.#failures.unanswered += unanswered;
    this.#failures.broken += broken;
  }

  /** Only answers count here. Failures are judged by `errors`. */
  addSent(status: number | null): void {
    if (status !== null && isAnswer(status)) this.#sent.count(status);
  }

  /** Requests by recorded status. Requests without a status are left out. */
  recordedStatuses(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#recorded);
  }

  recordedFailures(): RecordedFailures {
    return { ...this.#failures };
  }

  figures(): StatusMixFigures {
    const recordedStatuses = this.#recorded.total();
    const recordedAnswers = this.#recorded.total(isAnswer);
    const sentAnswers = this.#sent.total();
    const recordedAway = this.#recorded.total(isTurnedAway);
    const sentAway = this.#sent.total(isTurnedAway);
    const { unanswered, broken } = this.#failures;
    // If only some recorded statuses are known, they do not represent the others. Each explains only one current
    // answer.
    const explained = recordedAway / Math.max(1, recordedAnswers, sentAnswers);
    const clientErrors = this.#recorded.total(isClientError);
    const rejections = this.#recorded.total((status) => REJECTED.has(status));
    // The number of refusals has its own limit. To serve a request that production refused is no difference.
    const comparable = (statuses: Tally<number>) =>
      new Tally([...statuses].filter(([status]) => isAnswer(status) && !isRefusal(status)));
    return {
      recordedAnswers,
      sentAnswers,
      recordedTurnedAway: recordedAnswers === 0 ? null : recordedAway / recordedAnswers,
      sentTurnedAway: sentAnswers === 0 ? null : sentAway / sentAnswers,
      turnedAwayExcess: sentAnswers === 0 ? 0 : Math.max(0, sentAway / sentAnswers - explained),
      recordedKnown: recordedStatuses + unanswered,
      // Every known status below 500 is an answer, even if the answer is incomplete.
      recordedFailed: recordedStatuses - recordedAnswers + unanswered + broken,
      recordedRejected: recordedStatuses === 0 ? null : rejections / recordedStatuses,
      recordedRefused: recordedStatuses === 0 ? null : this.#recorded.total(isRefusal) / recordedStatuses,
      recordedClientErrors: recordedStatuses === 0 ? null : clientErrors / recordedStatuses,
      recordedTook: this.#recordedTook,
      distance: shareDistance(comparable(this.#recorded), comparable(this.#sent)),
    };
  }
}

function isAnswer(status: number): boolean {
  return status < FIRST_SERVER_ERROR;
}

/** Counts the requests of the warm-up. */
export class WarmupStatistics {
  readonly #originNs: number;
  readonly #outcomes = new OutcomeCounts();
  #planned = 0;
  #endedLate = 0;

  /** @param originNs start of the judged part */
  constructor(originNs: number) {
    this.#originNs = originNs;
  }

  add(send: Send): void {
    this.#planned += 1;
    this.#outcomes.add(send);
    if (send.actualOffsetNs !== null && (send.lastByteOffsetNs ?? 0) >= this.#originNs) this.#endedLate += 1;
  }

  figures(): WarmupFigures {
    const ended = picked(this.#outcomes.figures(), 'sent', 'completed', 'failed', 'cancelled', 'refused');
    return { planned: this.#planned, ...ended, endedLate: this.#endedLate };
  }
}

/** Counts the results of answer comparisons. Keeps the first few examples of each kind of difference. */
export class CheckStatistics {
  readonly #byKind = new Tally<MismatchKind>(MISMATCH_KINDS.map((kind) => [kind, 0]));
  readonly #unchecked = new Tally<UncheckedReason>();
  readonly #examples = new FirstExamples<MismatchKind, MismatchExample>();
  #same = 0;

  add({ index, segment, exchangeId, check }: CheckedSend): void {
    if (check.result === 'same') this.#same += 1;
    else if (check.result === 'unchecked') this.#unchecked.count(check.reason);
    else {
      this.#byKind.count(check.kind);
      this.#examples.add(check.kind, { index, segment, exchangeId, pointer: check.pointer });
    }
  }

  figures(): CheckFigures {
    const mismatched = this.#byKind.total();
    const checked = this.#same + mismatched;
    return {
      answers: checked + this.#unchecked.total(),
      checked,
      mismatched,
      byKind: Object.fromEntries(this.#byKind) as CheckFigures['byKind'],
      unchecked: among(UNCHECKED_REASONS, this.#unchecked),
      examples: among(MISMATCH_KINDS, this.#examples.byKind),
    };
  }
}

/** Number of answers that could not be compared. */
export function uncheckedOf({ answers, checked }: CheckFigures): number {
  return answers - checked;
}
