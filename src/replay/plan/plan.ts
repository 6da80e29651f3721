import { type ExchangePayload, type ExchangeRow, isHttp2 } from '../../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import type { AuditDocument, ScalingCounts } from '../../documents/replay.ts';
import { generatesText } from '../../inference/features.ts';
import { changesServer } from '../../inference/grpc.ts';
import type { AnswerForecast } from '../answers/expected-answer.ts';
import { placeOf, type RecordedConnections } from '../engine/connections.ts';
import type { PreparedRequest, TakenValue } from '../engine/messages.ts';
import type { RateCeiling, TargetFence } from '../guard.ts';
import type { Shard } from '../options/parsers.ts';
import type { ConnectionPolicy } from '../options/replay-flags.ts';
import type { BodyChanges } from '../request/body-changes.ts';
import type { BuildResult, MaskedParts, RequestBuilder } from '../request/build.ts';
import type { PlayedAs } from '../request/copy-identity.ts';
import { http2PartOf } from '../request/http2-part.ts';
import type { TimeShift } from '../request/shift-time.ts';
import { SKIP_REASONS, type SkipReason, skipReasonOf } from '../window/capture.ts';
import type { PlannedLinks } from './links.ts';
import type { Scaling } from './scaling.ts';
import { isOfWindow, type PlannedSend, Stripe, scheduleOf } from './schedule.ts';
import type { SessionChains } from './session-order.ts';
import type { OpenSessions } from './sessions.ts';
import { layeredArrivals, playedAs } from './superpose.ts';

/** The facts of a planned send that its report needs. The engine has the request itself. */
export interface PlannedRequest {
  readonly index: number;
  readonly intendedOffsetNs: number;
  readonly row: ExchangeRow;
  /** Whether it belongs to the warm-up before the window. */
  readonly warmup?: boolean;
  /** Whether a stream is expected as its answer. */
  readonly streams: boolean;
  /** Whether the sent request differs from the recorded one, so that its answer may differ. */
  readonly changed?: boolean;
}

/** Listens to every exchange of the window while it is planned, in order. */
export interface PlanListener {
  /** Called for each exchange of the window, replayed or not. */
  recorded(row: ExchangeRow): void;
  /** Called for a planned request before it is passed to the engine. */
  planned(request: PlannedRequest): void;
  /** Called for a planned request that our own rate limit refused. */
  refusedByCeiling(request: PlannedRequest): void;
  /** In a shard: listens to the plan of all shards. */
  readonly whole?: WholePlanListener | undefined;
}

/** Listens to a plan in order: that of a dry run, or that of all shards, as far as one shard knows it. */
export interface WholePlanListener {
  addRecorded(row: ExchangeRow): void;
  /** Called for each send. It is unknown whether another shard can build its request. */
  addPlanned(row: ExchangeRow, intendedOffsetNs: number): void;
}

/** Adds trace headers. @param headers flat: name, value, name … */
export type TracedHeaders = (index: number, headers: readonly string[]) => readonly string[];

type ReadyRequest = Extract<BuildResult, { kind: 'ready' }>;

interface OwnRequest extends ReadyRequest {
  readonly payload: ExchangePayload | null;
}

export interface PlanParts {
  readonly source: CaptureSource;
  readonly range: TimeRange;
  readonly scaling: Scaling;
  readonly tally: ScalingTally;
  /** Sessions that began before the window; null if the capture has no sessions. */
  readonly openSessions: OpenSessions | null;
  /** The shard of this process. Without it, the whole schedule is planned. */
  readonly shard?: Shard | null;
  /** Limit of the whole plan, for all shards. The same is true for the ceiling. */
  readonly maxRequests: number | null;
  /** Whether enough was planned, so that the plan may end before its time. */
  readonly isEnough?: (() => boolean) | undefined;
  /** The plan ends before this instant of the run. Without it, it ends with the window. */
  readonly durationNs?: number | null;
  /** For a closed loop: the present instant of the run, at which a pulled request is sent. */
  readonly nowNs?: (() => number) | undefined;
  readonly builder: RequestBuilder;
  readonly changes: BodyChanges;
  readonly answers: AnswerForecast;
  readonly fence: Pick<TargetFence, 'checkRecorded'>;
  readonly ceiling: RateCeiling;
  readonly audit: AuditCounter;
  /** Whether requests wait for their recorded connections. Without it, they do not. */
  readonly connections?: ConnectionPolicy;
  /** Counts planned requests by recorded connection. */
  readonly recordedConnections?: RecordedConnections;
  /** Finds the request that a follow-up waits for. Without it, every request is sent at its planned instant. */
  readonly chains?: SessionChains | null;
  /** Finds the live values that requests need. Without it, all values are sent as recorded. */
  readonly links?: PlannedLinks | null;
  /** Adds trace headers to traced requests. Without it, no request is traced. */
  readonly traced?: TracedHeaders | undefined;
  /** Moves times in bodies. Without it, they are sent as recorded. */
  readonly timeShift?: TimeShift;
  /** The earlier part of the same schedule: its number of requests and its length. */
  readonly before?: { readonly requests: number; readonly spanNs: number };
  /** Whether this plan is the warm-up before the window. */
  readonly warmup?: boolean;
}

/** A send of a kept session, before its request is built. */
interface WalkedSend {
  readonly send: PlannedSend;
  /** Whether it belongs to this shard. */
  readonly own: boolean;
  readonly skipped: SkipReason | null;
}

/**
 * Rows → schedule, one send at a time, at constant memory. Every shard walks the whole schedule, so draws, positions
 * and limits are the same for all. Left-out exchanges and requests that cannot be sent are counted here.
 * @param recorded called for every exchange of the window
 * @param isFull called before each send; true ends the plan
 */
export function* walkPlan(
  parts: Pick<
    PlanParts,
    'source' | 'range' | 'scaling' | 'shard' | 'durationNs' | 'nowNs' | 'openSessions' | 'tally' | 'audit'
  >,
  recorded: (row: ExchangeRow, own: boolean) => void,
  isFull: () => boolean,
): Generator<WalkedSend> {
  const { source, range, scaling, tally, audit, shard = null } = parts;
  const stripe = new Stripe(shard, scaling.draws);
  for (const send of scheduleOf(layeredArrivals(source, range, scaling.layers), scaling, parts.nowNs)) {
    if (send.intendedOffsetNs >= (parts.durationNs ?? Number.POSITIVE_INFINITY) || isFull()) return;
    const own = stripe.holds(send);
    if (isOfWindow(send)) recorded(send.row, own);
    if (isOfWindow(send) && own) parts.openSessions?.see(send.row);
    if (!send.kept) {
      if (own) tally.leftOut(send);
      continue;
    }
    const skipped = skipReasonOf(send.row);
    if (skipped !== null && own) audit.skip(skipped);
    yield { send, own, skipped };
  }
}

/**
 * Rows → schedule → requests. A shard builds only its own requests.
 * @throws AppError TARGET_FORBIDDEN if a request was recorded under the target's own name
 */
export function* plannedRequests(parts: PlanParts, listener: PlanListener): Generator<PreparedRequest> {
  const { scaling, ceiling, shard = null, warmup = false } = parts;
  const { requests, spanNs } = parts.before ?? { requests: 0, spanNs: 0 };
  let places = 0;
  let index = requests;
  const recorded = (row: ExchangeRow, own: boolean): void => {
    listener.whole?.addRecorded(row);
    if (own) listener.recorded(row);
  };
  const isFull = () => places === parts.maxRequests || parts.isEnough?.() === true;
  for (const { send, own, skipped } of walkPlan(parts, recorded, isFull)) {
    if (skipped !== null) continue;
    const { row, intendedOffsetNs: offsetNs } = send;
    const intendedOffsetNs = offsetNs + spanNs;
    // A request that cannot be built does not count, except in shards: a shard cannot know this for other shards.
    const admittedUnbuilt = shard === null ? null : ceiling.admits(offsetNs);
    if (shard !== null) places += 1;
    if (!own) {
      const { perturb, copyPrompts } = scaling.options;
      const isOwn = () => copyPrompts === 'own' && generatesText(row.route);
      const differs = send.copy > 0 && (perturb.length > 0 || isOwn());
      listener.whole?.addPlanned(differs ? playedRow(row, playedAs(send, scaling)) : row, offsetNs);
      continue;
    }
    const as = playedAs(send, scaling);
    const built = buildOwn(send, as, parts);
    if (built === null) continue;
    const request = parts.changes.apply(row, built.request);
    const answer = parts.answers.of(row, request.body);
    const differs = built.perturbed || built.ownPrompt === true;
    const playedAsRow = differs ? playedRow(row, as) : row;
    const { streams } = answer;
    if (shard === null) places += 1;
    // The row without the changed body size, because a shard does not know the body sizes of other shards.
    listener.whole?.addPlanned(playedAsRow, offsetNs);
    if (admittedUnbuilt ?? ceiling.admits(offsetNs)) {
      const moved = parts.timeShift?.move(request, { row, intendedOffsetNs }) ?? request;
      const takes = parts.links?.follow(send, index, intendedOffsetNs) ?? NO_VALUES;
      const changed = moved !== request || differs || isMasked(built) || takes.length > 0;
      const sizedAsSent = sizedRow(playedAsRow, moved.body);
      const sentRow = parts.changes.pinsLength ? { ...sizedAsSent, finish: null } : sizedAsSent;
      listener.planned({ index, intendedOffsetNs, row: sentRow, streams, changed, warmup });
      const { stripe, lane, shared } = placeOf(send, parts.connections ?? 'pooled');
      const follows = parts.chains?.follow(send, index, intendedOffsetNs);
      const { method, path, body, chunked } = moved;
      const headers = parts.traced?.(index, moved.headers) ?? moved.headers;
      // Members are listed one by one, because spreading four objects would take longer than the rest of this loop.
      const recordedNs = durationNsOf(row);
      const http2 = http2PartOf(row, built.payload, moved, shared);
      const live = parts.links?.liveOf(send, takes, moved, built.recorded) ?? null;
      yield {
        index,
        intendedOffsetNs,
        stripe,
        lane,
        follows,
        method,
        path,
        headers,
        body,
        chunked,
        http2,
        answer,
        live,
        recordedNs,
      };
    } else {
      const refusedRow = sizedRow(playedAsRow, request.body);
      listener.refusedByCeiling({ index, intendedOffsetNs, row: refusedRow, streams, warmup });
    }
    index += 1;
  }
}

const NO_VALUES: readonly TakenValue[] = [];

/** How long an exchange took; null if unknown. */
export function durationNsOf({ lastByteOffsetUs }: ExchangeRow): number | null {
  return lastByteOffsetUs === null ? null : lastByteOffsetUs * 1_000;
}

/** The request of a send; null (and counted) if it cannot be built. */
function buildOwn(send: PlannedSend, as: PlayedAs | null, parts: PlanParts): OwnRequest | null {
  const { source, builder, audit, tally, scaling } = parts;
  const { route } = send.row;
  if (isHttp2(send.row) && route !== null && changesServer(route)) {
    audit.refuse('changes_server');
    return null;
  }
  const payload = source.payload(send.row);
  const built = builder.build(payload, as, parts.links?.livePlaces(send));
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
  return { ...built, payload };
}

/** Whether parts of the request's content are masked. Masked credentials do not count. */
function isMasked({ masked }: ReadyRequest): boolean {
  return masked.bodyValues.length + masked.queryKeys.length > 0;
}

/** The row with another hash for a changed copy, because such a copy is no duplicate of its original. */
function playedRow(row: ExchangeRow, as: PlayedAs | null): ExchangeRow {
  return as === null ? row : { ...row, requestHash: Buffer.from(as.tag, 'hex') };
}

/** The row with the size of the sent body, which may differ from the recorded one. */
function sizedRow(row: ExchangeRow, body: Uint8Array | null): ExchangeRow {
  const requestBytes = body?.length ?? 0;
  return requestBytes === (row.requestBytes ?? 0) ? row : { ...row, requestBytes };
}

/** Counts the effects of a scaling, one planned send after the other. */
export class ScalingTally {
  readonly #counts = {
    ...{ thinned: 0, copies: 0, layered: 0, perturbed: 0, notPerturbed: 0, bodiesUnread: 0 },
    ...{ ownPrompts: 0, samePrompts: 0 },
  };

  /**
   * Counts an exchange of a left-out session. Those of other layers do not count, because they are not in the window.
   */
  leftOut({ layer }: PlannedSend): void {
    if (layer === 0) this.#counts.thinned += 1;
  }

  planned({ copy, layer }: PlannedSend): void {
    if (copy > 0) this.#counts.copies += 1;
    else if (layer > 0) this.#counts.layered += 1;
  }

  /** Counts a built request. @param places number of places where copies should differ */
  built(
    { copy }: PlannedSend,
    result: Pick<ReadyRequest, 'perturbed' | 'bodyUnread' | 'ownPrompt'>,
    places: number,
  ): void {
    if (result.bodyUnread) this.#counts.bodiesUnread += 1;
    if (result.ownPrompt !== null) this.#counts[result.ownPrompt ? 'ownPrompts' : 'samePrompts'] += 1;
    if (copy > 0 && places > 0) this.#counts[result.perturbed ? 'perturbed' : 'notPerturbed'] += 1;
  }

  counts(forgottenSessions: number, openedBefore: ScalingCounts['openedBefore']): ScalingCounts {
    return { ...this.#counts, forgottenSessions, openedBefore };
  }
}

/** Counts of requests that were not sent, or sent with changes, by reason. All changes are counted here. */
export interface ReplayAudit extends AuditDocument {
  readonly skipped: Readonly<Record<SkipReason, number>>;
  /** Requests that the HTTP client cannot send as recorded. */
  readonly unreplayable: number;
}

/** Most distinct names. The limit is needed because query keys are clients' text and must not fill the memory. */
const MAX_NAMES = 200;

export class AuditCounter {
  readonly #skipped: Record<SkipReason, number> = Object.fromEntries(
    SKIP_REASONS.map((reason) => [reason, 0]),
  ) as Record<SkipReason, number>;
  readonly #unreplayable = new Map<string, number>();
  readonly #maskedHeaders = new Map<string, number>();
  readonly #maskedQueryKeys = new Map<string, number>();
  #maskedRequests = 0;

  skip(reason: SkipReason): void {
    this.#skipped[reason] += 1;
  }

  refuse(reason: string): void {
    count(this.#unreplayable, reason);
  }

  mask(parts: MaskedParts): void {
    if (parts.headers.length + parts.queryKeys.length + parts.bodyValues.length === 0) return;
    this.#maskedRequests += 1;
    for (const name of parts.headers) count(this.#maskedHeaders, name);
    for (const key of parts.queryKeys) count(this.#maskedQueryKeys, key);
  }

  report(): ReplayAudit {
    return {
      skipped: { ...this.#skipped },
      unreplayable: [...this.#unreplayable.values()].reduce((sum, each) => sum + each, 0),
      unreplayableByReason: Object.fromEntries(this.#unreplayable),
      maskedHeaders: Object.fromEntries(this.#maskedHeaders),
      maskedQueryKeys: Object.fromEntries(this.#maskedQueryKeys),
      maskedRequests: this.#maskedRequests,
    };
  }
}

function count(counts: Map<string, number>, name: string): void {
  const key = counts.has(name) || counts.size < MAX_NAMES ? name : '(others)';
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
