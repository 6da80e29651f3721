import type { ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { AuditCounter } from './audit.ts';
import type { BodyChanges } from './body-changes.ts';
import type { AnswerForecast } from './expected-answer.ts';
import type { TargetFence } from './guards.ts';
import type { PreparedRequest } from './prepared-request.ts';
import type { RateCeiling } from './rate-ceiling.ts';
import type { RequestBuilder } from './request-builder.ts';
import { arrivalsIn, playedAs } from './scaling/arrivals.ts';
import type { Scaling } from './scaling/scaling.ts';
import type { ScalingTally } from './scaling/tally.ts';
import { isOfWindow, scheduleOf } from './schedule.ts';
import type { OpenSessions } from './sessions.ts';
import { skipReasonOf } from './skip.ts';

/** A planned send by what its report needs of the row; the request itself is with the engine. */
export interface PlannedRequest {
  readonly index: number;
  readonly intendedOffsetNs: number;
  readonly row: ExchangeRow;
  /** Whether its answer is expected piece by piece. */
  readonly streams: boolean;
}

/** Told of every exchange of the window as it is planned, in order. */
export interface PlanListener {
  /** An exchange of the window, whether it will be replayed or not. */
  recorded(row: ExchangeRow): void;
  /** Planned and about to be handed out. */
  planned(request: PlannedRequest): void;
  /** Planned as well, and refused by our own ceiling on the rate. */
  refusedByCeiling(request: PlannedRequest): void;
}

export interface PlanParts {
  readonly source: CaptureSource;
  readonly range: TimeRange;
  readonly scaling: Scaling;
  readonly tally: ScalingTally;
  /** Sessions begun before the window; null where the capture knows no sessions. */
  readonly openSessions: OpenSessions | null;
  readonly maxRequests: number | null;
  /** The plan ends before this instant of the run; without it, with the window. */
  readonly durationNs?: number | null;
  readonly builder: RequestBuilder;
  readonly changes: BodyChanges;
  readonly answers: AnswerForecast;
  readonly fence: TargetFence;
  readonly ceiling: RateCeiling;
  readonly audit: AuditCounter;
}

/**
 * Rows → schedule → requests, one by one as the engine asks for them, at constant memory.
 * @throws AppError TARGET_FORBIDDEN at a request recorded under the target's own name.
 */
export function* plannedRequests(parts: PlanParts, listener: PlanListener): Generator<PreparedRequest> {
  const { source, range, scaling, tally, builder, audit } = parts;
  const places = scaling.options.perturb.length;
  let index = 0;
  for (const send of scheduleOf(arrivalsIn(source, range, scaling), scaling)) {
    if (index === parts.maxRequests) return;
    const { row, intendedOffsetNs } = send;
    if (intendedOffsetNs >= (parts.durationNs ?? Number.POSITIVE_INFINITY)) return;
    if (isOfWindow(send)) {
      listener.recorded(row);
      parts.openSessions?.see(row);
    }
    if (!send.kept) {
      tally.leftOut(send);
      continue;
    }
    const skipped = skipReasonOf(row);
    if (skipped !== null) {
      audit.skip(skipped);
      continue;
    }
    const as = playedAs(send, scaling);
    const built = builder.build(source.payload(row), as);
    if (built.kind === 'no_payload') {
      audit.skip('no_payload');
      continue;
    }
    if (built.kind === 'unreplayable') {
      audit.refuse(built.reason);
      continue;
    }
    parts.fence.checkRecorded(built.recordedHost);
    audit.mask(built.masked);
    tally.planned(send);
    tally.built(send, built, places);
    // What was made to differ is no repetition, whatever it was made of.
    const own = built.perturbed && as !== null ? { ...row, requestHash: Buffer.from(as.tag, 'hex') } : row;
    const request = parts.changes.apply(row, built.request);
    const answer = parts.answers.of(row, request.body);
    const planned = { index, intendedOffsetNs, row: own, streams: answer.streams };
    index += 1;
    if (parts.ceiling.admits(intendedOffsetNs)) {
      listener.planned(planned);
      yield { index: planned.index, intendedOffsetNs, ...request, answer };
    } else {
      listener.refusedByCeiling(planned);
    }
  }
}
