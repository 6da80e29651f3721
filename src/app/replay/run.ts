import { join } from 'node:path';
import { monitoredPartOf } from '../../analysis/metrics/monitored.ts';
import { planLines, planTitle } from '../../analysis/plan/view.ts';
import { runView } from '../../analysis/report/view.ts';
import { FaultStatistics } from '../../analysis/run/fault-statistics.ts';
import { type RunFigures, RunStatistics, totalsOf } from '../../analysis/run/run-statistics.ts';
import { ciReportOfRun, testNameOf } from '../../analysis/verdict/ci-report.ts';
import { objectivesSoFar } from '../../analysis/verdict/evaluate.ts';
import { stallFigures } from '../../analysis/verdict/run-context.ts';
import { objectiveState, summariseReplay } from '../../analysis/verdict/summary.ts';
import { systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import { picked } from '../../core/picked.ts';
import type { CaptureSource, Logger } from '../../core/ports.ts';
import type { Run } from '../../core/run.ts';
import { formatInstantUs } from '../../core/units.ts';
import type { AutoscalingDocument } from '../../documents/autoscaling.ts';
import { EVENTS_SCHEMA_VERSION, type StartEvent } from '../../documents/events.ts';
import type { FaultsDocument } from '../../documents/faults.ts';
import type { MonitorsDocument } from '../../documents/monitors.ts';
import type { CalibrationDocument, ReplayDocument, ShardDocument } from '../../documents/replay.ts';
import { CpuThrottle } from '../../monitors/host.ts';
import { describeMonitors } from '../../monitors/options.ts';
import { ReplayEngine } from '../../replay/engine/engine.ts';
import { resolveHost } from '../../replay/guard.ts';
import { describeReplayOptions } from '../../replay/options/replay-options.ts';
import type { TracedHeaders } from '../../replay/plan/plan.ts';
import { stageEndsOf } from '../../replay/plan/stages.ts';
import type { Warmup } from '../../replay/plan/warmup.ts';
import { Replay, type ReplayEnd, type ReplayListener, type SentReplay } from '../../replay/run.ts';
import type { Target } from '../../replay/target.ts';
import { removeOlderRuns } from '../../storage/runs/retention.ts';
import { RUN_SUMMARY } from '../../storage/runs/schema.ts';
import { SqliteRunStore } from '../../storage/runs/store.ts';
import type { RunTelemetry } from '../../telemetry/exporter.ts';
import { describeTelemetry } from '../../telemetry/options.ts';
import { exceptionsOf } from '../history.ts';
import { VERSION } from '../package.ts';
import { newRunId } from '../run-files.ts';
import { deliverVerdict } from '../verdict/delivery.ts';
import { playCalibration, readyCalibration } from './calibration.ts';
import { checkDocument, connectionsDocument, sessionOrderDocument, waitsForOf } from './document.ts';
import { FaultPlayer } from './fault-player.ts';
import { RunMonitors } from './monitors.ts';
import {
  askedMultiplier,
  expectedRequests,
  type ReplayPlan,
  reckoningOf,
  scalingDocument,
  windowsDocument,
} from './plan.ts';
import { askedPlan, type PlannedReplay } from './planned-replay.ts';
import { ReplayProgress, type ReplayReporter } from './progress.ts';
import { ShardWatch, waitToPrepare } from './shard.ts';
import { askTestedServer, serverNotes, testedServer } from './tested-server.ts';
import { boundsOfRun, lookingOn, looksNotes, spanNsOf } from './until-sure.ts';

/** A planned replay with its target, its stop signal and its observers. */
export interface ReplayRunParts extends PlannedReplay {
  readonly target: Target;
  /** Starts listening for stops. Before that nothing is written, so there is nothing to clean up. */
  readonly listen: () => StopSource;
  readonly reporter: ReplayReporter;
  readonly logger: Logger;
  /** The time at the start of the judged part that monitors ignore: the settling time of a step in a search. */
  readonly settlingNs?: number;
  /** Gets the judged rows during the run; absent if there is no such observer. */
  readonly rows?: RunRows | undefined;
}

/** An observer of the rows of a run, without its calibration and warm-up. */
export type RunRows = Pick<ReplayListener, 'planned' | 'ended'>;

/** The external stop of a run. */
export interface StopSource {
  readonly signal: AbortSignal;
  /** What stopped it, such as the name of a signal; null before a stop. */
  readonly received: string | null;
  end(): void;
}

/** A completed and sealed run. */
export interface ReplayRunResult {
  readonly directory: string;
  /** The file with the document. */
  readonly summary: string;
  readonly document: ReplayDocument;
  readonly end: ReplayEnd;
}

/**
 * Replays a window and keeps the run.
 * @returns the run with its verdict, even if a guard or a signal ended it
 * @throws AppError before anything is written, or if a guard ended the calibration
 */
export async function runReplay(parts: ReplayRunParts): Promise<ReplayRunResult> {
  const { plan, reporter, warmup } = parts;
  const runId = newRunId();
  const replayOf = replayMaker(runId, parts);
  const telemetry = await telemetryOf(runId, parts, () => replay);
  const replay: Replay = replayOf(plan, parts.source, warmup, telemetry?.traced);
  await replay.check();
  const player = parts.faults && new FaultPlayer(parts.faults, runId, systemClock, parts.logger);
  await player?.check();
  const { calibration } = parts;
  const calibrating = calibration && (await readyCalibration(calibration, replayOf));
  const directory = parts.out ?? join('runs', runId);
  // From here on a signal ends the run in order. An earlier signal ends the process, which has written nothing.
  const interruption = parts.listen();
  let store: SqliteRunStore | null = null;
  try {
    store = new SqliteRunStore(directory);
    const shown = askedPlan(parts);
    reporter.note(planTitle(shown), ...planLines(shown), `Run ${runId}, kept in ${directory}`);
    reporter.event?.(startEvent(runId, directory, parts));
    const facts = factsOf(runId, parts);
    const { signal } = interruption;
    const calibrated =
      calibration &&
      calibrating &&
      (await playCalibration(calibration, calibrating, directory, facts, signal, reporter));
    // The guard would have ended the run too, so nothing of it is sent or sealed.
    if (calibrated?.end.kind === 'aborted') throw calibrated.end.error;
    const asked = await askTestedServer(
      { ...parts, options: plan.options, recorded: parts.recordedServer },
      runId,
      signal,
    );
    await waitToPrepare(plan.options.startAtUs, interruption.signal);
    const sentBefore = calibrated?.planned ?? 0;
    const played = await play({ replay, store, player, telemetry }, interruption.signal, sentBefore, parts);
    const finished = plan.options.concurrency === null ? played : closedLoopOf(played);
    const run = runOf(facts, finished.outcome);
    const calibrationDocument = calibrated?.document ?? null;
    const server = testedServer(asked, parts.recordedServer, finished);
    const judged = documentOf(
      run,
      { ...parts, tested: { ...parts.tested, ...server } },
      finished,
      interruption.received,
      calibrationDocument,
    );
    // The last push has the verdict, so the document of the telemetry comes after it.
    await telemetry?.end(judged);
    const document = { ...judged, telemetry: telemetry?.document() ?? null };
    store.seal(run, totalsOf(finished.figures), document);
    reporter.note(
      ...deliverVerdict(ciReportOfRun(document, runView(document, directory)), directory, parts.verdict),
    );
    const { end } = finished.outcome;
    // An incomplete run must not cause the removal of a good one.
    if (end.kind === 'complete') retainRuns(directory, parts);
    return { directory, summary: join(directory, RUN_SUMMARY), document, end };
  } finally {
    telemetry?.stop();
    // A run that failed is unsealed: its rows can be read, and it is recognizable as incomplete.
    store?.close();
    interruption.end();
  }
}

/** Creates the replays of one run: its own and that of its calibration. */
export function replayMaker(
  runId: string,
  {
    target,
    logger,
    createChecker,
    threads,
    faults = null,
  }: Pick<ReplayRunParts, 'target' | 'logger' | 'createChecker' | 'threads'> &
    Partial<Pick<ReplayRunParts, 'faults'>>,
) {
  return (
    plan: ReplayPlan,
    source: CaptureSource,
    warmup: Warmup | null = null,
    traced?: TracedHeaders,
  ): Replay =>
    new Replay({
      runId,
      ...plan,
      target,
      source,
      warmup,
      traced,
      faults: faults?.faults ?? [],
      createEngine: (options) =>
        new ReplayEngine(options, {
          clock: systemClock,
          pacerEntry: threads.pacer,
          senderEntry: threads.sender,
        }),
      createChecker,
      resolveHost,
      clock: systemClock,
      logger,
    });
}

/** The telemetry of a run; null without receivers. */
async function telemetryOf(
  id: string,
  { telemetry: options, target, verdict, tested }: ReplayRunParts,
  replay: () => Replay,
): Promise<RunTelemetry | null> {
  if (options.receivers.length === 0) return null;
  const { RunTelemetry } = await import('../../telemetry/exporter.ts');
  return new RunTelemetry({
    options,
    run: {
      id,
      version: VERSION,
      name: verdict.name,
      tested,
      server: { address: target.socketPath ?? target.hostname, port: target.port },
    },
    clock: systemClock,
    startNs: () => replay().startNs,
    inFlight: () => replay().position().inFlight,
  });
}

interface Finished {
  readonly outcome: SentReplay;
  readonly figures: RunFigures;
  readonly monitors: MonitorsDocument;
  readonly autoscaling: AutoscalingDocument | null;
  readonly throttled: boolean | null;
  /** Null for a run with the complete plan. */
  readonly shard: ShardDocument | null;
  /** Null without planned faults. */
  readonly faults: FaultsDocument | null;
}

/** A closed loop has no plan, so the sent requests are used as the plan. */
function closedLoopOf(finished: Finished): Finished {
  const { fidelity } = finished.figures;
  const figures = { ...finished.figures, fidelity: { ...fidelity, planned: fidelity.sent, ksGaps: null } };
  return { ...finished, figures };
}

type Counting = Required<Pick<ReplayListener, 'recorded' | 'planned' | 'ended'>>;

function countingOf(statistics: RunStatistics): Counting {
  return {
    recorded: (row) => statistics.addRecorded(row),
    planned: (row, intendedOffsetNs) => statistics.addPlanned(row, intendedOffsetNs),
    ended: (sends) => statistics.addSends(sends),
  };
}

/** Counts rows only when they are known to have been sent. A closed loop may never send rows that it read ahead. */
function countingSent(counting: Counting): Counting {
  // In the order of the recording, and not more than the read-ahead.
  const read: { readonly isPlanned: boolean; readonly count: () => void }[] = [];
  return {
    recorded: (row) => void read.push({ isPlanned: false, count: () => counting.recorded(row) }),
    planned: (row, intendedOffsetNs) => {
      read.push({ isPlanned: true, count: () => counting.planned(row, intendedOffsetNs) });
    },
    ended: (sends) => {
      // Requests are begun in the order in which they were read.
      for (let left = sends.length; left > 0; ) {
        const next = read.shift();
        if (next === undefined) break;
        next.count();
        if (next.isPlanned) left -= 1;
      }
      counting.ended(sends);
    },
  };
}

/** The parts that execute a run. */
interface Played {
  readonly replay: Replay;
  readonly store: SqliteRunStore;
  readonly player: FaultPlayer | null;
  readonly telemetry: RunTelemetry | null;
}

/** @param sentBefore number of requests in the calibration */
async function play(
  { replay, store, player, telemetry }: Played,
  signal: AbortSignal,
  sentBefore: number,
  parts: ReplayRunParts,
): Promise<Finished> {
  const { plan, reporter, source, warmup, captureIdentity, objectives, target } = parts;
  const { ownObjectives, faults, looks, settlingNs } = parts;
  const warmupNs = warmup?.spanNs ?? 0;
  const stageEndsNs = stageEndsOf(plan.options.stages);
  const windows = faults?.faults ?? [];
  const judged = { objectives, stageEndsNs, faults: windows };
  const statistics = new RunStatistics(warmupNs, waitsForOf(plan.options, replay.waitsForValues), judged);
  const all = countingOf(statistics);
  const counting = plan.options.concurrency === null ? all : countingSent(all);
  const followers = [counting, parts.rows, telemetry, lookingOn(looks, { statistics, replay, warmupNs })];
  const asked = { objectives: ownObjectives, isCompared: plan.options.check !== null };
  const failing = new FaultStatistics(windows, warmupNs, asked);
  source.hear((offsetUs) => statistics.fidelity.addInWindow(offsetUs));
  const { shard } = plan.options;
  const watch = shard === null ? null : new ShardWatch();
  const throttle = new CpuThrottle();
  const monitors = new RunMonitors({
    ...parts,
    options: parts.monitors,
    target: target.url,
    store,
    note: reporter.note,
    startNs: () => replay.startNs,
  });
  const progress = progressOf(parts, replay, statistics);
  try {
    monitors.begin();
    telemetry?.begin();
    await player?.begin(() => replay.position().elapsedNs);
    const outcome = await replay.run(
      {
        whole: watch?.fidelity,
        recorded: counting.recorded,
        planned: (row, intendedOffsetNs) => {
          for (const each of followers) each?.planned(row, intendedOffsetNs);
        },
        ended: (sends) => {
          for (const each of followers) each?.ended(sends);
          failing.addSends(sends);
          progress.add(sends);
          monitors.noteSends(sends);
          store.append(sends);
        },
        checked: (sends) => {
          statistics.addChecks(sends);
          failing.addChecks(sends);
          store.appendChecks(sends);
        },
      },
      signal,
      sentBefore,
    );
    await player?.end();
    const isWhole = outcome.end.kind === 'complete';
    await monitors.end(isWhole);
    const figures = statistics.figures(isWhole);
    const monitored = await monitors.read({
      ...monitoredPartOf(warmupNs, spanNsOf(plan, outcome, figures), figures, settlingNs),
      stageEndsNs,
      windows: plan.window.parts,
      byAddress: outcome.health.connections.byAddress,
    });
    progress.end();
    return {
      outcome,
      figures: { ...figures, monitored: monitored.byName },
      monitors: monitored.document,
      autoscaling: monitored.autoscaling,
      throttled: throttle.throttled(),
      faults: player?.document(failing.figures(), isWhole) ?? null,
      shard: shard && (watch?.document(shard, plan, captureIdentity, statistics.statusMix) ?? null),
    };
  } catch (thrown) {
    await endFailed({ monitors, telemetry, progress, player }, reporter);
    throw thrown;
  }
}

interface Ending extends Pick<Played, 'telemetry' | 'player'> {
  readonly monitors: RunMonitors;
  readonly progress: ReplayProgress;
}

/** Ends the parts of a run that failed. An error here is only noted, so that it does not hide the first one. */
async function endFailed({ monitors, telemetry, progress, player }: Ending, reporter: ReplayReporter) {
  const ends = [() => monitors.stop(), () => telemetry?.stop(), () => progress.end(), () => player?.end()];
  for (const end of ends) {
    try {
      await end();
    } catch (error) {
      reporter.note(`A part of the run could not be ended: ${reasonOf(error)}`);
    }
  }
}

function progressOf(
  { plan, reporter, warmup, objectives }: ReplayRunParts,
  replay: Replay,
  statistics: RunStatistics,
): ReplayProgress {
  const warmupNs = warmup?.spanNs ?? 0;
  return new ReplayProgress({
    warmupNs,
    calibrates: false,
    reporter,
    position: () => replay.position(),
    plannedNs: warmupNs + plan.window.plannedSpanNs,
    slo: () => objectivesSoFar(objectives, statistics.soFar()).map(objectiveState),
  });
}

function factsOf(
  id: string,
  { plan, target, verdict, monitors, telemetry, faults }: ReplayRunParts,
): Omit<Run, 'startedAtUs' | 'endedAtUs'> {
  return {
    id,
    version: VERSION,
    capture: plan.overview.name,
    target: target.url,
    options: {
      ...describeReplayOptions(plan.options, plan.window),
      ...describeMonitors(monitors),
      ...(telemetry.receivers.length > 0 && describeTelemetry(telemetry)),
      name: verdict.name,
      ...(faults !== null && { faults: faults.faults.map(({ stated }) => stated) }),
    },
  };
}

function runOf(facts: Omit<Run, 'startedAtUs' | 'endedAtUs'>, { health }: SentReplay): Run {
  const { startedAtUs, endOffsetNs } = health;
  return { ...facts, startedAtUs, endedAtUs: startedAtUs + Math.round(endOffsetNs / 1e3) };
}

function documentOf(
  run: Run,
  parts: ReplayRunParts,
  { outcome, figures, monitors, autoscaling, throttled, shard, faults }: Finished,
  signal: string | null,
  calibration: CalibrationDocument | null,
): ReplayDocument {
  const { plan, source, objectives, unexplained, warmup, looks } = parts;
  const { health, audit, end } = outcome;
  const sessionOrder = sessionOrderDocument(plan.options, outcome);
  const untilSure = looks?.document(outcome.endedEarly) ?? null;
  const before = figures.warmup.planned + (calibration?.sent ?? 0);
  const summary = summariseReplay({
    run,
    figures,
    objectives,
    ...reckoningOf(plan, {
      recorded: figures.fidelity.recorded,
      planned: figures.planned,
      isCut:
        end.kind !== 'complete' ||
        outcome.endedEarly ||
        before + figures.planned >= (plan.options.maxRequests ?? Number.POSITIVE_INFINITY),
    }),
    scaling: plan.options.scaling,
    concurrency: plan.options.concurrency,
    expectedRequests: expectedRequests(plan, parts) / (plan.options.shard?.count ?? 1),
    targetShare: plan.options.targetShare,
    skipped: audit.skipped,
    filtered: source.filtered,
    unreplayable: audit.unreplayable,
    ...(shard !== null && {
      played: { recorded: shard.whole.recorded.count, planned: shard.whole.planned.count },
    }),
    coverage: {
      share: plan.overview.coverage,
      unexplained,
      isAtLeast: plan.overview.coverageIsAtLeast ?? false,
    },
    health: {
      // Without any request, the thread lived only for a moment and was busy all the time, so its share means nothing.
      busyShare: health.sent + health.refused === 0 ? 0 : health.senderBusyShareMax10s,
      niceness: health.niceness,
      throttled,
      ...stallFigures(health.stalls, warmup?.spanNs ?? 0),
      starved: health.starved,
      refusedForBytes: health.refusedForBytes,
      caps: {
        maxInFlight: plan.options.maxInFlight,
        maxInFlightBytes: plan.options.maxInFlightBytes,
        maxRatePerSecond: outcome.ceiling.maxPerSecond,
        refusedForRate: outcome.ceiling.refused,
      },
    },
    interrupted: interruptedBy(end, signal),
    liveValues: sessionOrder.values,
    bounds: boundsOfRun(plan, looks),
    check: checkDocument(plan.options.check, figures.check ?? null, outcome.ignored),
    calibration,
    faults: faults?.faults,
    warmup: warmup && { askedNs: warmup.askedNs, heldNs: warmup.recordedNs, playedNs: warmup.spanNs },
  });
  return {
    ...summary,
    ...parts.tested,
    ...exceptionsOf(parts.verdict, testNameOf(summary), run.endedAtUs),
    notes: [...looksNotes(untilSure), ...summary.notes, ...serverNotes(parts.tested)],
    untilSure,
    ...windowsDocument(plan.window, plan.options.filters, source),
    scalingPlan: { ...scalingDocument(plan.scaling, plan.window, plan.forecast), counts: outcome.scaling },
    audit: picked(audit, 'unreplayableByReason', 'maskedHeaders', 'maskedQueryKeys', 'maskedRequests'),
    cancels: { policy: plan.options.cancels, untimed: outcome.untimedCancels },
    changes: outcome.changes,
    connections: connectionsDocument(plan.options, outcome),
    shard,
    faults,
    merged: null,
    monitors,
    telemetry: null,
    autoscaling,
    timeShift: outcome.timeShift,
    sessionOrder,
  };
}

function interruptedBy(end: ReplayEnd, signal: string | null): string | null {
  if (end.kind === 'aborted') return end.error.code;
  return end.kind === 'interrupted' ? (signal ?? 'stopped') : null;
}

/** The event at the start, before anything is sent. */
function startEvent(run: string, directory: string, parts: ReplayRunParts): StartEvent {
  const { plan, target, warmup } = parts;
  const { options, overview, window } = plan;
  return {
    event: 'start',
    schemaVersion: EVENTS_SCHEMA_VERSION,
    at: formatInstantUs(systemClock.epochUs()),
    run,
    directory,
    capture: overview.name,
    target: target.url,
    multiplier: askedMultiplier(plan),
    scaling: options.scaling,
    plannedRequests: expectedRequests(plan, parts),
    plannedS: window.plannedSpanNs / 1e9,
    warmupS: (warmup?.spanNs ?? 0) / 1e9,
    calibrates: options.calibrateMs !== null,
  };
}

/** Removes older runs beside the new one, according to the options, and reports it. */
function retainRuns(directory: string, { plan, reporter, logger }: ReplayRunParts): void {
  const kept = plan.options.retainRuns;
  if (kept === null) return;
  const { removed, failed } = removeOlderRuns(directory, kept, systemClock.epochUs());
  if (removed.length > 0) reporter.note(`Older runs removed: ${removed.length}`);
  for (const { directory: run, reason } of failed) {
    logger.warn({ run, reason }, 'an older run could not be removed');
  }
}
