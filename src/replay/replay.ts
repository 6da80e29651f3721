import { AppError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { hasFailed, type Send } from '../core/run.ts';
import { AbortRule } from './abort-rule.ts';
import { AnswerForecast } from './answers/expected-answer.ts';
import { AuditCounter } from './audit.ts';
import { BodyChanges } from './body-changes.ts';
import { arrivalsAlone, probeCapture } from './capture-probe.ts';
import { AnswerChecks } from './check/answer-checks.ts';
import { RecordedConnections } from './engine/connections.ts';
import type { Engine, PreparedRequest, SendResult } from './engine/engine.ts';
import { Outstanding, refusedSend } from './engine/outstanding.ts';
import { engineOptionsOf } from './engine-options.ts';
import { describeFilters } from './filters.ts';
import { assertReachable, TargetFence } from './guards.ts';
import { type PlanListener, type PlannedRequest, plannedRequests } from './plan.ts';
import { RateCeiling } from './rate-ceiling.ts';
import type { ReplayEnd, ReplayOutcome, ReplayPosition } from './replay-outcome.ts';
import type { ReplayListener, ReplayParts } from './replay-parts.ts';
import { RequestBuilder } from './request-builder.ts';
import { copyIdentityOf } from './scaling/arrivals.ts';
import { ScalingTally } from './scaling/tally.ts';
import { SessionChains } from './session-order.ts';
import { OpenSessions } from './sessions.ts';
import { TimeShift } from './time-shift.ts';
import { type WarmedUpParts, warmedUp } from './warmup.ts';

export type { ReplayEnd, ReplayOutcome, ReplayPosition } from './replay-outcome.ts';
export type { ReplayListener, ReplayParts } from './replay-parts.ts';

/** Sends refused while planning that are told of at once. */
const REFUSED_BATCH = 256;

/** Between two looks at what the target's name means. */
const WATCH_TARGET_MS = 5_000;

/** While no batch comes for longer than this, nothing ends. */
const REPORT_FRESH_NS = 500_000_000;

/** One replay: reading → planning → engine → listener. Used once: `check`, then `run`. */
export class Replay {
  readonly #parts: ReplayParts;
  readonly #fence: TargetFence;
  readonly #audit = new AuditCounter();
  readonly #tally = new ScalingTally();
  readonly #changes: BodyChanges;
  readonly #answers: AnswerForecast;
  readonly #recordedConnections = new RecordedConnections();
  readonly #outstanding = new Outstanding();
  readonly #abortRule = new AbortRule();
  readonly #stop = new AbortController();
  /** Refused while planning, and told of together with the next results. */
  readonly #refused: Send[] = [];
  /** When ends were reported last: they come in batches, and of what is outstanding between two some has ended. */
  #reportedAtNs = Number.NEGATIVE_INFINITY;
  readonly #timeShift: TimeShift;
  readonly #chains: SessionChains | null;
  #startUs: number | null = null;
  #engine: Engine | null = null;
  #abortError: AppError | null = null;
  /** Null where answers are not compared. */
  #checks: AnswerChecks | null = null;

  constructor(parts: ReplayParts) {
    this.#parts = parts;
    this.#changes = new BodyChanges(parts.options);
    this.#answers = new AnswerForecast(parts.options.cancels);
    this.#timeShift = new TimeShift(parts.options.shiftTime, () => this.#runStartUs());
    this.#chains = parts.options.sessionOrder === 'open' ? null : new SessionChains();
    this.#fence = new TargetFence({
      target: parts.target,
      productionHosts: parts.options.productionHosts,
      allowed: parts.options.allowedProductionHosts,
    });
  }

  /**
   * Everything that must hold before the first byte is sent; leaves no trace.
   * @throws AppError CAPTURE_EMPTY, TARGET_FORBIDDEN, TARGET_UNREACHABLE
   */
  async check(): Promise<void> {
    const { source, window, overview, target, options } = this.#parts;
    if (overview.arrivalsOnly) throw arrivalsAlone(overview.name);
    const recorded = probeCapture(source, window, describeFilters(options.filters));
    await this.#fence.check([...overview.targets, ...recorded], this.#parts.resolveHost);
    await assertReachable(target, options, this.#fence.fenced);
  }

  /**
   * Plays the window to its end, or until `signal` or a guard stops it.
   * @param sentBefore requests of another phase, that those of this one may not go beyond the ceiling with
   * @throws AppError INTERNAL when the engine itself fails
   */
  async run(listener: ReplayListener, signal: AbortSignal, sentBefore = 0): Promise<ReplayOutcome> {
    const { options, forecast, target, scaling, overview, source, window } = this.#parts;
    const checks = this.#beginChecks(listener);
    const engine = this.#parts.createEngine({
      ...engineOptionsOf(options, target, forecast, scaling.growth, this.#parts.warmup?.spanNs ?? 0),
      fenced: this.#fence.fenced,
      ...(checks === null ? {} : { keeping: checks.keeping }),
    });
    const openSessions = OpenSessions.before(overview, source, window);
    this.#engine = engine;
    const requests = this.#requests(listener, openSessions, sentBefore);
    let health: ReplayOutcome['health'];
    const watching = this.#watchTarget();
    try {
      health = await engine.run(
        requests,
        (results) => this.#take(results, listener),
        AbortSignal.any([signal, this.#stop.signal]),
      );
      listener.ended([...this.#refused.splice(0), ...this.#outstanding.takeUnreached()]);
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
      health,
      audit: this.#audit.report(),
      scaling: counts,
      changes: this.#changes.counts(),
      untimedCancels: this.#answers.untimedCancels,
      recordedConnections: this.#recordedConnections.figures(),
      timeShift: this.#timeShift.counts(),
      sessionOrder: this.#chains?.counts() ?? null,
      ignored: checks?.ignored() ?? null,
    };
  }

  /** A name may come to mean production while a run lasts: then the run ends. */
  #watchTarget(): NodeJS.Timeout | undefined {
    if (!this.#fence.isWatched) return undefined;
    return setInterval(() => {
      this.#fence.checkAgain(this.#parts.resolveHost).catch((thrown: unknown) => {
        if (!(thrown instanceof AppError)) throw thrown;
        if (!this.#stop.signal.aborted) this.#abort(thrown);
      });
    }, this.#parts.watchTargetMs ?? WATCH_TARGET_MS).unref();
  }

  position(): ReplayPosition {
    const elapsedNs = this.#elapsedNs();
    const isFresh = elapsedNs - this.#reportedAtNs < REPORT_FRESH_NS;
    return {
      elapsedNs,
      outstanding: this.#outstanding.dueAt(isFresh ? this.#reportedAtNs : elapsedNs),
      inFlight: this.#engine?.underWay.atTarget ?? 0,
      waiting: this.#engine?.underWay.waiting ?? 0,
      skipped: this.#audit.total(),
    };
  }

  #beginChecks(listener: ReplayListener): AnswerChecks | null {
    const { options, createChecker, logger } = this.#parts;
    if (options.check === null || createChecker === undefined) return null;
    this.#checks = new AnswerChecks({
      options: options.check,
      createChecker,
      logger,
      onChecked: (sends) => listener.checked?.(sends),
    });
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
    const plan: WarmedUpParts = {
      source,
      range: window,
      scaling,
      tally: this.#tally,
      openSessions,
      shard: options.shard,
      maxRequests: options.maxRequests === null ? null : Math.max(0, options.maxRequests - sentBefore),
      durationNs: window.durationNs,
      builder: new RequestBuilder({
        basePath: target.basePath,
        host: options.host,
        addedHeaders: options.addedHeaders,
        removedHeaders: options.removedHeaders,
        pathMappings: options.pathMappings,
        runId,
        identity: copyIdentityOf(overview, scaling),
      }),
      changes: this.#changes,
      answers: this.#answers,
      fence: this.#fence,
      ceiling: RateCeiling.over(forecast.plannedPeakPerSecond, options.maxRatePerSecond),
      audit: this.#audit,
      connections: options.connections,
      recordedConnections: this.#recordedConnections,
      timeShift: this.#timeShift,
      chains: this.#chains,
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
        if (this.#refused.length >= REFUSED_BATCH) listener.ended(this.#refused.splice(0));
      },
    };
    try {
      yield* warmup === null
        ? plannedRequests(plan, told)
        : warmedUp(warmup, plan, told, options.maxRatePerSecond);
    } catch (thrown) {
      // What was sent stays a run that can be read: it is sealed with the reason it ended for.
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
    // What we ended ourselves says nothing of the target, and what a stop ended must not turn into another end.
    const ended = sends.filter((send) => send.actualOffsetNs !== null && !isEndedByUs(send));
    this.#abortRule.add(offsetNs, ended.length, ended.filter(hasFailed).length);
    const failedShare = this.#abortRule.tripped(offsetNs);
    if (failedShare === null || this.#stop.signal.aborted) return;
    const percent = (failedShare * 100).toFixed(0);
    this.#abort(
      new AppError(
        'RUN_ABORTED',
        `Stopped: ${percent} % of what ended in the last ${LIMITS.abortWindowS} s had failed`,
        { hint: 'The target is down or cannot take any of this; see the errors of the run.' },
      ),
    );
  }

  /** The run's zero on the wall clock; what is asked of it before that is known gets the present. */
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

/** Because its recorded client had left, or the run was over. */
function isEndedByUs({ cancelled, error }: Send): boolean {
  return cancelled || error === 'stopped';
}
