import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { ExchangeRow } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import { picked } from '../core/picked.ts';
import type { CaptureSource, Logger } from '../core/ports.ts';
import {
  type CheckedSend,
  type FaultWindow,
  faultsOf,
  hasFailed,
  type RunPosition,
  type Send,
} from '../core/run.ts';
import type { ConnectionsDocument } from '../documents/connections.ts';
import type {
  BodyChangeCounts,
  CheckDocument,
  ScalingCounts,
  SessionOrderDocument,
  TimeShiftCounts,
} from '../documents/replay.ts';
import { AnswerForecast } from './answers/expected-answer.ts';
import { AnswerChecks, type CreateChecker } from './check/answer-checks.ts';
import { RecordedConnections } from './engine/connections.ts';
import type { Engine, EngineOptions } from './engine/engine.ts';
import type { EngineHealth } from './engine/health.ts';
import type { LiveOptions, PreparedRequest, SendResult } from './engine/messages.ts';
import { Outstanding, refusedSend } from './engine/outstanding.ts';
import {
  AbortRule,
  assertReachable,
  RateCeiling,
  type ResolveHost,
  TargetFence,
  WrongServerRule,
} from './guard.ts';
import type { ReplayOptions } from './options/replay-options.ts';
import type { Forecast } from './plan/forecast.ts';
import { affinityHeaders, type LinkCounts, linksOfPlan, type PlannedLinks } from './plan/links.ts';
import {
  AuditCounter,
  type PlanListener,
  type PlannedRequest,
  type PlanParts,
  plannedRequests,
  type ReplayAudit,
  ScalingTally,
  type TracedHeaders,
} from './plan/plan.ts';
import type { Scaling } from './plan/scaling.ts';
import { SessionChains } from './plan/session-order.ts';
import { OpenSessions } from './plan/sessions.ts';
import { copyIdentityOf } from './plan/superpose.ts';
import { type Warmup, warmedUp } from './plan/warmup.ts';
import { BodyChanges } from './request/body-changes.ts';
import { RequestBuilder } from './request/build.ts';
import { TimeShift } from './request/shift-time.ts';
import type { Target } from './target.ts';
import { arrivalsAlone, type CaptureOverview } from './window/capture.ts';
import { probeCapture } from './window/probe.ts';
import type { ReplayWindow } from './window/window.ts';

/** Sends refused during planning are reported in batches of this size. */
const REFUSED_BATCH = 256;
/** A server refuses requests within this time. A request that is open for longer may still be served. */
const REFUSES_WITHIN_NS = 1e9;

/** Pause between two checks of the addresses of the target's name. */
const WATCH_TARGET_MS = 5_000;

/** If no batch of results comes for longer than this, no request is ending. */
const REPORT_FRESH_NS = 500_000_000;

/** One replay: reading → planning → engine → listener. Use it once: `check`, then `run`. */
export class Replay {
  readonly #parts: ReplayParts;
  readonly #fence: TargetFence;
  /** Null if gRPC calls go to the same target. */
  readonly #grpcFence: TargetFence | null;
  readonly #audit = new AuditCounter();
  readonly #tally = new ScalingTally();
  readonly #changes: BodyChanges;
  readonly #answers: AnswerForecast;
  readonly #recordedConnections = new RecordedConnections();
  readonly #outstanding = new Outstanding();
  readonly #abortRule = new AbortRule();
  readonly #wrongServer = new WrongServerRule();
  readonly #stop = new AbortController();
  /** Most planned requests in a second of the judged part, and how many were refused beyond that. */
  readonly #ceiling: { maxPerSecond: number | null; refused: number } = { maxPerSecond: null, refused: 0 };
  /** Sends refused during planning, which are reported with the next results. */
  readonly #refused: Send[] = [];
  /** When results were last reported. They come in batches, so more requests may have ended since. */
  #reportedAtNs = Number.NEGATIVE_INFINITY;
  readonly #timeShift: TimeShift;
  readonly #chains: SessionChains | null;
  /** Null before the check, and if all values are sent as recorded. */
  #links: PlannedLinks | null = null;
  #startUs: number | null = null;
  #engine: Engine | null = null;
  /** Absent before the check. */
  #expected: EngineOptions['expected'] = undefined;
  #abortError: AppError | null = null;
  #isEnough = false;
  #endedEarly = false;
  /** Whether the plan was read to its end. */
  #isPlanRead = false;
  /** Null if answers are not compared. */
  #checks: AnswerChecks | null = null;

  constructor(parts: ReplayParts) {
    this.#parts = parts;
    this.#changes = new BodyChanges(parts.options);
    this.#answers = new AnswerForecast(parts.options.cancels);
    this.#timeShift = new TimeShift(parts.options.shiftTime, () => this.#runStartUs());
    this.#chains = parts.options.sessionOrder === 'open' ? null : new SessionChains();
    this.#fence = new TargetFence({ ...parts.options, target: parts.target });
    const { grpcTarget } = parts.options;
    this.#grpcFence = grpcTarget === null ? null : new TargetFence({ ...parts.options, target: grpcTarget });
  }

  /**
   * Checks the conditions for sending. It changes nothing.
   * @throws AppError CAPTURE_EMPTY, TARGET_FORBIDDEN, TARGET_UNREACHABLE
   */
  async check(): Promise<void> {
    const { source, window, overview, target, options } = this.#parts;
    if (overview.arrivalsOnly) throw arrivalsAlone(overview.name);
    this.#links = await linksOfPlan(source, this.#parts);
    if (this.waitsForValues && options.connections === 'recorded' && options.threads > 1)
      throw new AppError(
        'OPTION_INVALID',
        '--connections recorded cannot be combined with --threads where requests need values of answers: a session with several connections would be spread over several senders',
        { hint: 'Use --threads 1, --connections pooled, or --session-order values=recorded.' },
      );
    const { authorities, protocols } = probeCapture(source, window, options.filters);
    this.#expected = protocols;
    const names = [...overview.targets, ...authorities];
    const { grpcTarget } = options;
    await this.#fence.check(names, this.#parts.resolveHost);
    await this.#grpcFence?.check(names, this.#parts.resolveHost);
    const isHttp2 = protocols.http2 || (protocols.grpc && grpcTarget === null);
    await assertReachable(target, options, this.#fence.fenced, undefined, isHttp2 ? 'http2' : 'http1');
    if (grpcTarget !== null && this.#grpcFence !== null)
      await assertReachable(grpcTarget, options, this.#grpcFence.fenced, undefined, 'http2');
  }

  /**
   * Replays the window to its end, or until `signal` or a guard stops it.
   * @param sentBefore requests of earlier phases; they also count for --max-requests
   * @throws AppError INTERNAL if the engine itself fails
   */
  async run(listener: ReplayListener, signal: AbortSignal, sentBefore = 0): Promise<SentReplay> {
    const { options, forecast, target, scaling, overview, source, window } = this.#parts;
    const checks = this.#beginChecks(listener);
    const engine = this.#parts.createEngine({
      ...engineOptionsOf(options, target, forecast, scaling.growth, this.#parts.warmup?.spanNs ?? 0),
      ...closedLoopOf(options, window),
      live: this.#liveOptions(),
      fenced: this.#fence.fenced,
      ...(this.#expected === undefined ? {} : { expected: this.#expected }),
      grpcTarget: this.#grpcEnd(),
      ...(checks === null ? {} : { keeping: checks.keeping }),
    });
    const openSessions = OpenSessions.before(overview, source, window);
    this.#engine = engine;
    const requests = this.#requests(listener, openSessions, sentBefore);
    let health: SentReplay['health'];
    const watching = this.#watchTarget();
    try {
      health = await engine.run(
        requests,
        (results) => this.#take(results, listener),
        AbortSignal.any([signal, this.#stop.signal]),
      );
      // Requests that a closed loop read ahead but did not send do not count as planned.
      const unreached = this.#outstanding.takeUnreached();
      listener.ended([...this.#refused.splice(0), ...(options.concurrency === null ? unreached : [])]);
      await checks?.finish();
    } finally {
      requests.return(undefined);
      clearInterval(watching);
      await checks?.close();
    }
    const end = this.#endOf(signal);
    const counts = this.#tally.counts(scaling.forgottenSessions, openSessions?.figures() ?? null);
    return {
      end,
      endedEarly: this.#endedEarly,
      health,
      audit: this.#audit.report(),
      scaling: counts,
      changes: this.#changes.counts(),
      untimedCancels: this.#answers.untimedCancels,
      recordedConnections: this.#recordedConnections.figures(),
      timeShift: this.#timeShift.counts(),
      sessionOrder: this.#chains?.counts() ?? null,
      links: this.#links?.waits === true ? this.#links.counts() : null,
      ignored: checks?.ignored() ?? null,
      ceiling: this.#ceiling,
    };
  }

  /** Both fences look at each recorded name, whichever target its requests go to. */
  readonly #fences: PlanParts['fence'] = {
    checkRecorded: (authority) => {
      this.#fence.checkRecorded(authority);
      this.#grpcFence?.checkRecorded(authority);
    },
  };

  #liveOptions(): LiveOptions | null {
    const { liveValues } = this.#parts.options;
    if (this.#links === null || liveValues === null) return null;
    return { onDivergence: liveValues.onDivergence, affinity: affinityHeaders(liveValues.affinity) };
  }

  /** Whether requests wait for values of answers. Known after the check. */
  get waitsForValues(): boolean {
    return this.#links?.waits ?? false;
  }

  #grpcEnd(): NonNullable<EngineOptions['grpcTarget']> | null {
    const { grpcTarget } = this.#parts.options;
    if (grpcTarget === null || this.#grpcFence === null) return null;
    return { ...picked(grpcTarget, 'origin', 'socketPath'), fenced: this.#grpcFence.fenced };
  }

  /** Ends the run if the target's name begins to resolve to production. */
  #watchTarget(): NodeJS.Timeout | undefined {
    const watched = [this.#fence, this.#grpcFence].filter((fence) => fence?.isWatched === true);
    if (watched.length === 0) return undefined;
    const look = async (): Promise<void> => {
      for (const fence of watched) await fence?.checkAgain(this.#parts.resolveHost);
    };
    return setInterval(() => {
      look().catch((thrown: unknown) => {
        if (!(thrown instanceof AppError)) throw thrown;
        if (!this.#stop.signal.aborted) this.#abort(thrown);
      });
    }, this.#parts.watchTargetMs ?? WATCH_TARGET_MS).unref();
  }

  /** The run's zero on the monotonic clock; null before it is known. */
  get startNs(): number | null {
    return this.#engine?.startNs ?? null;
  }

  /** Ends planning. Requests that were read ahead are still sent, so that all planned requests are sent. */
  endPlan(): void {
    this.#isEnough = true;
  }

  position(): RunPosition {
    const elapsedNs = this.#elapsedNs();
    const isFresh = elapsedNs - this.#reportedAtNs < REPORT_FRESH_NS;
    const inFlightCounts = this.#engine?.inFlightCounts ?? { inFlight: 0, waiting: 0 };
    const isClosed = this.#parts.options.concurrency !== null;
    const due = isClosed
      ? inFlightCounts.inFlight
      : this.#outstanding.dueAt(isFresh ? this.#reportedAtNs : elapsedNs);
    return { elapsedNs, outstanding: due, ...inFlightCounts };
  }

  #beginChecks(listener: ReplayListener): AnswerChecks | null {
    const { options, createChecker, logger } = this.#parts;
    if (options.check === null || createChecker === undefined) return null;
    const onChecked: ReplayListener['checked'] = (sends) => listener.checked?.(sends);
    this.#checks = new AnswerChecks({ options: options.check, createChecker, logger, onChecked });
    return this.#checks;
  }

  *#requests(
    listener: ReplayListener,
    openSessions: OpenSessions | null,
    sentBefore: number,
  ): Generator<PreparedRequest> {
    const { options, forecast, target, runId, source, window, scaling, overview } = this.#parts;
    const { warmup = null } = this.#parts;
    const planned = (request: PlannedRequest) => {
      if (request.warmup !== true) listener.planned(request.row, request.intendedOffsetNs);
    };
    const isClosed = options.concurrency !== null;
    // A closed loop needs no ceiling, because the target limits it.
    const peak = isClosed ? Number.POSITIVE_INFINITY : forecast.plannedPeakPerSecond;
    const ceiling = RateCeiling.over(peak, options.maxRatePerSecond);
    this.#ceiling.maxPerSecond = isClosed ? null : ceiling.maxPerSecond;
    const plan: PlanParts = {
      source,
      range: window,
      scaling,
      tally: this.#tally,
      openSessions,
      shard: options.shard,
      maxRequests: options.maxRequests === null ? null : Math.max(0, options.maxRequests - sentBefore),
      durationNs: window.durationNs,
      isEnough: () => {
        this.#endedEarly ||= this.#isEnough;
        return this.#isEnough;
      },
      nowNs: isClosed ? () => this.#elapsedNs() : undefined,
      builder: new RequestBuilder({
        ...options,
        target,
        http2: true,
        runId,
        identity: copyIdentityOf(overview, scaling),
      }),
      changes: this.#changes,
      answers: this.#answers,
      fence: this.#fences,
      ceiling,
      audit: this.#audit,
      connections: options.connections,
      recordedConnections: this.#recordedConnections,
      timeShift: this.#timeShift,
      traced: this.#parts.traced,
      chains: this.#chains,
      links: this.#links,
    };
    const told: PlanListener = {
      whole: listener.whole,
      recorded: (row) => listener.recorded(row),
      planned: (request) => {
        planned(request);
        this.#outstanding.add(request);
        this.#checks?.planned(request);
      },
      refusedByCeiling: (request) => {
        planned(request);
        this.#refused.push(refusedSend(request));
        if (request.warmup !== true) this.#ceiling.refused += 1;
        if (this.#refused.length >= REFUSED_BATCH) listener.ended(this.#refused.splice(0));
      },
    };
    try {
      yield* warmup === null
        ? plannedRequests(plan, told)
        : warmedUp(warmup, plan, told, options.maxRatePerSecond);
      this.#isPlanRead = true;
    } catch (thrown) {
      // The run is aborted, not lost: it is sealed with the reason, and its sends can be read.
      if (!(thrown instanceof AppError)) throw thrown;
      this.#abort(thrown);
    }
  }

  #take(results: readonly SendResult[], listener: ReplayListener): void {
    const taken = results.map((result) => this.#outstanding.take(result));
    const sends = this.#checks?.take(results, taken) ?? taken;
    listener.ended([...this.#refused.splice(0), ...sends]);
    const offsetNs = this.#elapsedNs();
    this.#reportedAtNs = offsetNs;
    // Requests that we ended tell nothing about the target, and those ended by a stop must not cause another end.
    // Failures during a planned fault have their own objectives, and are no sign that the target is gone.
    const { faults = [] } = this.#parts;
    const ended = sends.filter(
      (send) => send.actualOffsetNs !== null && !isEndedByUs(send) && faultsOf(faults, send).isOutside,
    );
    this.#abortRule.add(offsetNs, ended.length, ended.filter(hasFailed).length);
    this.#wrongServer.add(ended);
    if (!this.#stop.signal.aborted) this.#judgeTarget(offsetNs);
  }

  #judgeTarget(offsetNs: number): void {
    const instead = this.#mayServe(offsetNs) ? null : this.#wrongServer.instead;
    const failedShare = this.#abortRule.tripped(offsetNs);
    if (instead !== null) {
      const text = `Stopped: nothing was answered as recorded (${instead})`;
      const hint = `Is ${this.#parts.target.url} the right server, and does it serve these paths and accept these credentials?`;
      this.#abort(new AppError('RUN_ABORTED', text, { hint }));
    } else if (failedShare !== null) {
      const percent = (failedShare * 100).toFixed(0);
      const text = `Stopped: ${percent} % of the requests that ended in the last ${LIMITS.abortWindowS} s failed`;
      const hint = 'The target is down or overloaded; see the errors of the run.';
      this.#abort(new AppError('RUN_ABORTED', text, { hint }));
    }
  }

  /**
   * Whether the target may still serve. True if all requests are sent, and in a closed loop: these run to their end.
   */
  #mayServe(offsetNs: number): boolean {
    const { concurrency } = this.#parts.options;
    if (this.#wrongServer.instead === null || concurrency !== null || this.#engine?.hasServed !== false)
      return true;
    const isDraining = this.#isPlanRead && this.#outstanding.dueAt(offsetNs) === this.#outstanding.size;
    return isDraining || this.#outstanding.dueAt(offsetNs - REFUSES_WITHIN_NS) > 0;
  }

  /** The run's zero on the wall clock; the present before it is known. */
  #runStartUs(): number {
    if (this.#startUs !== null) return this.#startUs;
    const { clock } = this.#parts;
    const startNs = this.#engine?.startNs ?? null;
    if (startNs === null) return clock.epochUs();
    const anchor = clock.anchor();
    this.#startUs = anchor.epochUs + (startNs - anchor.monotonicNs) / 1e3;
    return this.#startUs;
  }

  #elapsedNs(): number {
    const startNs = this.#engine?.startNs ?? null;
    return startNs === null ? 0 : Math.max(0, this.#parts.clock.nowNs() - startNs);
  }

  #abort(error: AppError): void {
    this.#abortError = error;
    this.#parts.logger.error({ reason: error.code }, error.message);
    this.#stop.abort();
  }

  #endOf(signal: AbortSignal): ReplayEnd {
    if (this.#abortError !== null) return { kind: 'aborted', error: this.#abortError };
    return { kind: signal.aborted ? 'interrupted' : 'complete' };
  }
}

/** Whether we ended the request: its recorded client left, or the run was over. */
function isEndedByUs({ cancelled, error }: Send): boolean {
  return cancelled || error === 'stopped';
}

/** Listens to all events of a replay, on the calling thread. */
export interface ReplayListener extends Pick<PlanListener, 'recorded' | 'whole'> {
  /** Called for each planned send, in the order of the schedule, without the warm-up. */
  planned(row: ExchangeRow, intendedOffsetNs: number): void;
  /** Called with the results of planned sends, in batches, in any order, each once. */
  ended(sends: readonly Send[]): void;
  /** Called with comparison results of sends reported earlier; only with `check` in the options. */
  checked?(sends: readonly CheckedSend[]): void;
}

interface ReplayParts {
  readonly runId: string;
  readonly options: ReplayOptions;
  readonly target: Target;
  readonly overview: CaptureOverview;
  readonly window: ReplayWindow;
  readonly forecast: Forecast;
  readonly scaling: Scaling;
  /** Planned failures of the target's dependencies; absent for none. */
  readonly faults?: readonly FaultWindow[];
  /** The warm-up before the window; null or absent for none. */
  readonly warmup?: Warmup | null;
  readonly source: CaptureSource;
  readonly createEngine: (options: EngineOptions) => Engine;
  /** Starts the checker; called only if answers are compared. */
  readonly createChecker?: CreateChecker;
  readonly resolveHost: ResolveHost;
  /** Adds trace headers to sampled requests; absent for no traces. */
  readonly traced?: TracedHeaders | undefined;
  /** Pause between two checks of the addresses of the target's name; 5 s by default. */
  readonly watchTargetMs?: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How a run ended. */
export type ReplayEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'interrupted' }
  | { readonly kind: 'aborted'; readonly error: AppError };

export interface SentReplay {
  readonly end: ReplayEnd;
  /** Whether planning was ended early. */
  readonly endedEarly: boolean;
  readonly health: EngineHealth;
  readonly audit: ReplayAudit;
  readonly scaling: ScalingCounts;
  readonly changes: BodyChangeCounts;
  /** Recorded cancels whose answers were awaited, because their time was not recorded. */
  readonly untimedCancels: number;
  readonly recordedConnections: ConnectionsDocument['recorded'];
  /** Null if every request was sent at its planned instant. */
  readonly sessionOrder: SessionOrderDocument['counts'];
  /** Null if no request needs a live value. */
  readonly links: LinkCounts | null;
  /** Null if no times are moved. */
  readonly timeShift: TimeShiftCounts | null;
  /** The parts of answers that were not compared; null if no answers were compared. */
  readonly ignored: CheckDocument['ignored'] | null;
  readonly ceiling: { readonly maxPerSecond: number | null; readonly refused: number };
}

/** Read-ahead of a closed loop: enough for the sender between two checks, but few, because leftovers are not sent. */
const CLOSED_READ_AHEAD = 64;

function closedLoopOf(
  { concurrency }: ReplayOptions,
  { durationNs }: ReplayWindow,
): Pick<EngineOptions, 'closed'> & Partial<EngineOptions> {
  if (concurrency === null) return { closed: null };
  const untilNs = durationNs ?? Number.POSITIVE_INFINITY;
  return {
    closed: { concurrency, untilNs },
    readAheadRequests: Math.max(CLOSED_READ_AHEAD, concurrency),
    warmConnections: mostWarm(concurrency),
  };
}

const mostWarm = (connections: number): number => Math.min(MAX_WARM_CONNECTIONS, Math.max(1, connections));

/** Most connections opened before the start, where the plan does not tell how many it needs. */
const MAX_WARM_CONNECTIONS = 32;

/**
 * Options of the engine, from the user's options and the forecast of the window.
 * @param growth the largest factor by which the load of a recorded second grows
 * @param judgedFromNs start of the judged part
 */
function engineOptionsOf(
  options: ReplayOptions,
  target: Target,
  forecast: Forecast,
  growth: number,
  judgedFromNs: number,
): EngineOptions {
  return {
    ...picked(target, 'origin', 'socketPath'),
    ...picked(options, 'startAtUs', 'maxInFlight', 'maxInFlightBytes', 'maxConnectionAgeMs'),
    ...picked(options, 'connectTimeoutMs', 'firstByteTimeoutMs', 'idleTimeoutMs', 'drainDeadlineMs'),
    ...picked(options, 'caPem', 'acceptAnyCertificate', 'clientCertificate'),
    senders: options.threads,
    totalTimeoutMs: options.timeoutMs,
    judgedFromNs,
    // The recorded peak is the minimum, because a replay below 1x may still have bursts of the recorded rate.
    peakRatePerSecond: Math.max(1, forecast.recordedPeakPerSecond * Math.max(1, growth)),
    readAheadBytes: LIMITS.readAheadBytes,
    readAheadRequests: LIMITS.readAheadRequests,
    held:
      options.sessionOrder === 'open'
        ? null
        : { maxRequests: LIMITS.heldFollowUps, maxBodyBytes: LIMITS.heldFollowUpBytes },
    // One shows that an address answers. Senders open the others shortly before requests need them.
    warmConnections: options.connections === 'pooled' ? 1 : mostWarm(forecast.plannedPeakPerSecond),
    startBeforeReading: options.shiftTime.length > 0,
  };
}
