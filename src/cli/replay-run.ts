import { join } from 'node:path';
import type { ReplayDocument } from '../analysis/replay-document.ts';
import { summariseReplay } from '../analysis/replay-summary.ts';
import { replayText } from '../analysis/replay-text.ts';
import { RunStatistics, totalsOf } from '../analysis/run-statistics.ts';
import type { ShardDocument } from '../analysis/shard-document.ts';
import type { Threshold } from '../analysis/slo.ts';
import { exitCodeOf } from '../analysis/verdict.ts';
import { systemClock } from '../core/clock.ts';
import type { Logger } from '../core/ports.ts';
import type { Run } from '../core/run.ts';
import { CpuThrottle } from '../monitors/cpu-throttle.ts';
import { ReplayEngine } from '../replay/engine.ts';
import { resolveHost } from '../replay/guards.ts';
import { describeReplayOptions } from '../replay/options.ts';
import { Replay, type ReplayEnd, type ReplayOutcome } from '../replay/replay.ts';
import { scalingCountLines, scalingDocument } from '../replay/scaling/description.ts';
import type { Target } from '../replay/target.ts';
import { type TimeShiftCounts, timeShiftCountLines } from '../replay/time-shift.ts';
import type { Playback } from '../replay/windows/playback.ts';
import { SqliteRunStore } from '../storage/run-store.ts';
import { entryUrl } from './entry-url.ts';
import { Interruption } from './interruption.ts';
import { answerLines, answersDocument } from './replay-answers.ts';
import { connectionLines, connectionsDocument } from './replay-connections.ts';
import { planLines, planTitle, type ReplayPlan } from './replay-plan.ts';
import { ReplayProgress } from './replay-progress.ts';
import { askedMultiplier, playedPace } from './replay-scaling.ts';
import { playedShardLines, ShardWatch, waitToPrepare } from './replay-shard.ts';
import { playedLines, unfilteredLines, type WindowsDocument, windowsDocument } from './replay-windows.ts';
import { newRunId } from './run-id.ts';
import type { Terminal } from './terminal.ts';
import { VERSION } from './version.ts';

export interface ReplayRunParts {
  readonly plan: ReplayPlan;
  readonly target: Target;
  readonly source: Playback;
  readonly thresholds: readonly Threshold[];
  /** Recorded traffic that neither sampling nor an omission accounts for; null when unknown. */
  readonly unexplained: number | null;
  /** Equal for copies of one capture. */
  readonly captureIdentity: string;
  /** Null for `runs/<run id>`. */
  readonly out: string | null;
  readonly json: boolean;
  readonly terminal: Terminal;
  readonly logger: Logger;
}

/**
 * Plays a window, keeps the run, prints its summary and leaves the exit status of its verdict.
 * @throws AppError before anything is written, or RUN_ABORTED after the run was sealed
 */
export async function runReplay(parts: ReplayRunParts): Promise<void> {
  const { plan, terminal } = parts;
  const runId = newRunId();
  const replay = new Replay({
    runId,
    ...plan,
    target: parts.target,
    source: parts.source,
    createEngine: (options) =>
      new ReplayEngine(options, {
        clock: systemClock,
        pacerEntry: entryUrl('pacer'),
        senderEntry: entryUrl('sender'),
      }),
    resolveHost,
    clock: systemClock,
    logger: parts.logger,
  });
  await replay.check();
  const directory = parts.out ?? join('runs', runId);
  // From here on a signal ends the run in order; before, it ends the process, which has left no trace.
  const interruption = new Interruption();
  try {
    const store = new SqliteRunStore(directory);
    terminal.note(planTitle(plan), ...planLines(plan), `Run ${runId}, kept in ${directory}`);
    await waitToPrepare(plan.options.startAtUs, interruption.signal);
    const finished = await play(replay, store, interruption, parts);
    const run = runOf(runId, parts, finished.outcome);
    const document = documentOf(run, parts, finished, interruption.received);
    store.seal(run, totalsOf(finished.figures), document);
    if (parts.json) terminal.json(document);
    else
      terminal.print(
        ...replayText(document),
        ...unfilteredLines(finished.figures.fidelity),
        ...playedLines(plan.window, parts.source),
        ...scalingCountLines(finished.outcome.scaling),
        ...answerLines(finished.outcome),
        ...playedShardLines(finished.shard),
        ...connectionLines(plan.options, finished.outcome),
        ...timeShiftCountLines(finished.outcome.timeShift),
        '',
        `Run ${runId}: ${directory}`,
      );
    if (finished.outcome.end.kind === 'aborted') throw finished.outcome.end.error;
    process.exitCode = interruption.status ?? exitCodeOf(document);
  } finally {
    interruption.end();
  }
}

interface Finished {
  readonly outcome: ReplayOutcome;
  readonly figures: ReturnType<RunStatistics['figures']>;
  readonly throttled: boolean | null;
  /** Null for a run that is the whole plan. */
  readonly shard: ShardDocument | null;
}

async function play(
  replay: Replay,
  store: SqliteRunStore,
  interruption: Interruption,
  { plan, terminal, source, captureIdentity }: ReplayRunParts,
): Promise<Finished> {
  const statistics = new RunStatistics();
  source.hear((offsetUs) => statistics.addInWindow(offsetUs));
  const { shard } = plan.options;
  const watch = shard === null ? null : new ShardWatch();
  const throttle = new CpuThrottle();
  const progress = new ReplayProgress(replay, statistics, terminal, plan.window.plannedSpanNs);
  try {
    const outcome = await replay.run(
      {
        whole: watch?.listener,
        recorded: (row) => statistics.addRecorded(row),
        planned: (row, intendedOffsetNs) => statistics.addPlanned(row, intendedOffsetNs),
        ended: (sends) => {
          statistics.addSends(sends);
          store.append(sends);
        },
      },
      interruption.signal,
    );
    return {
      outcome,
      figures: statistics.figures(outcome.health.stalls),
      throttled: throttle.throttled(),
      shard:
        shard === null || watch === null
          ? null
          : watch.document(shard, plan, {
              captureIdentity,
              stalls: outcome.health.stalls,
              recordedStatuses: statistics.recordedStatuses(),
            }),
    };
  } catch (thrown) {
    // Left unsealed on purpose: its rows can be read, and it says that it never came to its end.
    store.close();
    throw thrown;
  } finally {
    progress.end();
  }
}

function runOf(id: string, { plan, target }: ReplayRunParts, { health }: ReplayOutcome): Run {
  return {
    id,
    version: VERSION,
    capture: plan.overview.name,
    target: target.url,
    startedAtUs: health.startedAtUs,
    endedAtUs: health.startedAtUs + Math.round(health.endOffsetNs / 1e3),
    options: describeReplayOptions(plan.options, plan.window),
  };
}

function documentOf(
  run: Run,
  { plan, source, thresholds, unexplained }: ReplayRunParts,
  { outcome, figures, throttled, shard }: Finished,
  signal: string | null,
): ReplayDocument &
  WindowsDocument &
  Record<'audit' | 'cancels' | 'changes' | 'connections' | 'scalingPlan', object> & {
    readonly shard: ShardDocument | null;
    readonly timeShift: TimeShiftCounts | null;
  } {
  const { health, audit, end } = outcome;
  const summary = summariseReplay({
    run,
    figures,
    thresholds,
    multiplier: askedMultiplier(plan),
    scaling: plan.options.scaling,
    pace: playedPace(plan.scaling, plan.window),
    targetShare: plan.options.targetShare,
    skipped: audit.skipped,
    filtered: source.filtered,
    unreplayable: audit.unreplayable,
    ...(shard === null ? {} : { played: playedOf(shard) }),
    coverage: { share: plan.overview.coverage, unexplained },
    health: {
      busyShare: health.senderBusyShareMax10s,
      throttled,
      stalls: health.stalls,
      starved: health.starved,
      refusedForBytes: health.refusedForBytes,
    },
    interrupted: interruptedBy(end, signal),
  });
  const { unreplayableByReason, maskedHeaders, maskedQueryKeys, maskedRequests } = audit;
  return {
    ...summary,
    ...windowsDocument(plan.window, plan.options.filters, source),
    scalingPlan: { ...scalingDocument(plan.scaling, plan.window, plan.forecast), counts: outcome.scaling },
    audit: { unreplayableByReason, maskedHeaders, maskedQueryKeys, maskedRequests },
    ...answersDocument(plan.options, outcome),
    connections: connectionsDocument(plan.options, outcome),
    shard,
    timeShift: outcome.timeShift,
  };
}

function playedOf({ whole }: ShardDocument): { recorded: number; planned: number } {
  return { recorded: whole.recorded.count, planned: whole.planned.count };
}

function interruptedBy(end: ReplayEnd, signal: string | null): string | null {
  if (end.kind === 'aborted') return end.error.code;
  return end.kind === 'interrupted' ? (signal ?? 'stopped') : null;
}
