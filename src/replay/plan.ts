import type { ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { AnswerForecast } from './answers/expected-answer.ts';
import type { AuditCounter } from './audit.ts';
import type { BodyChanges } from './body-changes.ts';
import type { PlayedAs } from './copy-identity.ts';
import { placeOf, type RecordedConnections } from './engine/connections.ts';
import type { PreparedRequest } from './engine/messages.ts';
import type { TargetFence } from './guards.ts';
import type { Shard } from './options/parsers.ts';
import type { ConnectionPolicy } from './options/replay-options.ts';
import type { RateCeiling } from './rate-ceiling.ts';
import type { BuildResult, RequestBuilder } from './request-builder.ts';
import { arrivalsIn, playedAs } from './scaling/arrivals.ts';
import type { Scaling } from './scaling/scaling.ts';
import type { ScalingTally } from './scaling/tally.ts';
import { isOfWindow, type PlannedSend, scheduleOf } from './schedule.ts';
import type { SessionChains } from './session-order.ts';
import type { OpenSessions } from './sessions.ts';
import { skipReasonOf } from './skip.ts';
import { Stripe } from './stripe.ts';
import type { TimeMover } from './time-shift.ts';

/** A planned send by what its report needs of the row; the request itself is with the engine. */
export interface PlannedRequest {
  readonly index: number;
  readonly intendedOffsetNs: number;
  readonly row: ExchangeRow;
  /** Of what precedes the window. */
  readonly warmup?: boolean;
  /** Whether its answer is expected piece by piece. */
  readonly streams: boolean;
  /** Sent otherwise than it was received, so that its answer may be another. */
  readonly changed?: boolean;
}

/** Told of every exchange of the window as it is planned, in order. */
export interface PlanListener {
  /** An exchange of the window, whether it will be replayed or not. */
  recorded(row: ExchangeRow): void;
  /** Planned and about to be handed out. */
  planned(request: PlannedRequest): void;
  /** Planned as well, and refused by our own ceiling on the rate. */
  refusedByCeiling(request: PlannedRequest): void;
  /** Of a shard: told of the plan of all of them. */
  readonly whole?: WholePlanListener | undefined;
}

/** Told of what all shards play together, in order, as far as one of them can know it. */
export interface WholePlanListener {
  recorded(row: ExchangeRow): void;
  /** A send of any shard. Whether another one can build its request is not known here. */
  planned(row: ExchangeRow, intendedOffsetNs: number): void;
}

type ReadyRequest = Extract<BuildResult, { kind: 'ready' }>;

export interface PlanParts {
  readonly source: CaptureSource;
  readonly range: TimeRange;
  readonly scaling: Scaling;
  readonly tally: ScalingTally;
  /** Sessions begun before the window; null where the capture knows no sessions. */
  readonly openSessions: OpenSessions | null;
  /** Which of several processes this is; without it the whole schedule is planned. */
  readonly shard?: Shard | null;
  /** Of the whole plan, whatever part of it is played here. So is the ceiling. */
  readonly maxRequests: number | null;
  /** The plan ends before this instant of the run; without it, with the window. */
  readonly durationNs?: number | null;
  readonly builder: RequestBuilder;
  readonly changes: BodyChanges;
  readonly answers: AnswerForecast;
  readonly fence: Pick<TargetFence, 'checkRecorded'>;
  readonly ceiling: RateCeiling;
  readonly audit: AuditCounter;
  /** Whether a request waits for the connection it was recorded on; without it, it does not. */
  readonly connections?: ConnectionPolicy;
  /** Told of what is planned. */
  readonly recordedConnections?: RecordedConnections;
  /** Where follow-ups wait for what they follow; without it every request goes at its planned instant. */
  readonly chains?: SessionChains | null;
  /** Moves times in bodies; without it they are sent as recorded. */
  readonly timeShift?: TimeMover;
}

/**
 * Rows → schedule → requests, one by one as the engine asks for them, at constant memory. A shard walks the same
 * schedule as the others, so that draws, places and ceilings are those of the whole, and builds what is its own.
 * @throws AppError TARGET_FORBIDDEN at a request recorded under the target's own name.
 */
export function* plannedRequests(parts: PlanParts, listener: PlanListener): Generator<PreparedRequest> {
  const { source, range, scaling, tally, audit, ceiling, shard = null } = parts;
  const stripe = new Stripe(shard, scaling.draws);
  let places = 0;
  let index = 0;
  for (const send of scheduleOf(arrivalsIn(source, range, scaling), scaling)) {
    if (places === parts.maxRequests) return;
    const { row, intendedOffsetNs } = send;
    if (intendedOffsetNs >= (parts.durationNs ?? Number.POSITIVE_INFINITY)) return;
    const own = stripe.holds(send);
    tellRecorded(send, own, parts, listener);
    if (!send.kept) {
      if (own) tally.leftOut(send);
      continue;
    }
    const skipped = skipReasonOf(row);
    if (skipped !== null) {
      if (own) audit.skip(skipped);
      continue;
    }
    // What cannot be built takes no place, except in shards: there nobody knows of the others' requests.
    const admittedUnbuilt = shard === null ? null : ceiling.admits(intendedOffsetNs);
    if (shard !== null) places += 1;
    if (!own) {
      const differs = send.copy > 0 && scaling.options.perturb.length > 0;
      listener.whole?.planned(differs ? playedRow(row, playedAs(send, scaling)) : row, intendedOffsetNs);
      continue;
    }
    const as = playedAs(send, scaling);
    const built = buildOwn(send, as, parts);
    if (built === null) continue;
    const request = parts.changes.apply(row, built.request);
    const answer = parts.answers.of(row, request.body);
    const playedAsRow = built.perturbed ? playedRow(row, as) : row;
    const { streams } = answer;
    if (shard === null) places += 1;
    // As every shard knows it: how large the bodies of the others are is not known here.
    listener.whole?.planned(playedAsRow, intendedOffsetNs);
    if (admittedUnbuilt ?? ceiling.admits(intendedOffsetNs)) {
      const moved = parts.timeShift?.move(request, send) ?? request;
      const changed = moved !== request || built.perturbed || isMasked(built);
      const sentRow = sizedRow(playedAsRow, moved.body);
      listener.planned({ index, intendedOffsetNs, row: sentRow, streams, changed });
      const { stripe, lane } = placeOf(send, parts.connections ?? 'pooled');
      const follows = parts.chains?.follow(send, index, intendedOffsetNs);
      const { method, path, headers, body, chunked } = moved;
      // Each by its name: to spread four objects into one takes longer than all else in here.
      yield { index, intendedOffsetNs, stripe, lane, follows, method, path, headers, body, chunked, answer };
    } else {
      const refusedRow = sizedRow(playedAsRow, request.body);
      listener.refusedByCeiling({ index, intendedOffsetNs, row: refusedRow, streams });
    }
    index += 1;
  }
}

function tellRecorded(send: PlannedSend, own: boolean, parts: PlanParts, listener: PlanListener): void {
  if (!isOfWindow(send)) return;
  listener.whole?.recorded(send.row);
  if (!own) return;
  listener.recorded(send.row);
  parts.openSessions?.see(send.row);
}

/** The request of a send; null for one that cannot be had, which is counted. */
function buildOwn(send: PlannedSend, as: PlayedAs | null, parts: PlanParts): ReadyRequest | null {
  const { source, builder, audit, tally, scaling } = parts;
  const built = builder.build(source.payload(send.row), as);
  if (built.kind === 'no_payload') {
    audit.skip('no_payload');
    return null;
  }
  if (built.kind === 'unreplayable') {
    audit.refuse(built.reason);
    return null;
  }
  parts.fence.checkRecorded(built.recordedHost);
  audit.mask(built.masked);
  tally.planned(send);
  parts.recordedConnections?.add(send);
  tally.built(send, built, scaling.options.perturb.length);
  return built;
}

/** Whether what it asks for is hidden; credentials are not part of that. */
function isMasked({ masked }: ReadyRequest): boolean {
  return masked.bodyValues.length + masked.queryKeys.length > 0;
}

/** What was made to differ is no repetition, whatever it was made of. */
function playedRow(row: ExchangeRow, as: PlayedAs | null): ExchangeRow {
  return as === null ? row : { ...row, requestHash: Buffer.from(as.tag, 'hex') };
}

/** A changed body may have another size than the recorded one: what is told of is what is sent. */
function sizedRow(row: ExchangeRow, body: Uint8Array | null): ExchangeRow {
  const requestBytes = body?.length ?? 0;
  return requestBytes === (row.requestBytes ?? 0) ? row : { ...row, requestBytes };
}
