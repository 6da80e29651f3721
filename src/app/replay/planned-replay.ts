import { FidelityStatistics } from '../../analysis/run/fidelity.ts';
import { StatusMix } from '../../analysis/run/outcomes.ts';
import { reason } from '../../analysis/verdict/reasons.ts';
import { JUDGEMENT_BOUNDS, planMultipliers } from '../../analysis/verdict/run-context.ts';
import { plannedObjectives } from '../../analysis/verdict/summary.ts';
import type { Looks } from '../../analysis/verdict/until-sure.ts';
import { planShort, recordingNotes } from '../../analysis/verdict/validity.ts';
import { picked } from '../../core/picked.ts';
import { formatInstantUs } from '../../core/units.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import type { TestedDocument } from '../../documents/parts.ts';
import { REPLAY_SCHEMA_VERSION } from '../../documents/replay.ts';
import { type AskedPlan, assumesCoverage, type ReplayPlanDocument } from '../../documents/replay-plan.ts';
import type { ServerSide } from '../../documents/server-details.ts';
import type { MonitorOptions } from '../../monitors/options.ts';
import type { CreateChecker } from '../../replay/check/answer-checks.ts';
import { RateCeiling } from '../../replay/guard.ts';
import { describeReplayOptions } from '../../replay/options/replay-options.ts';
import { type DryRunParts, type DryRunReport, dryRun } from '../../replay/plan/dry-run.ts';
import { linksOfPlan } from '../../replay/plan/links.ts';
import { OpenSessions } from '../../replay/plan/sessions.ts';
import { copyIdentityOf } from '../../replay/plan/superpose.ts';
import { RequestBuilder } from '../../replay/request/build.ts';
import type { Target } from '../../replay/target.ts';
import type { Playback } from '../../replay/window/playback.ts';
import { nothingSelected } from '../../replay/window/probe.ts';
import type { TelemetryOptions } from '../../telemetry/options.ts';
import type { OpenedCapture } from '../open-capture.ts';
import { entryUrl, VERSION } from '../package.ts';
import type { VerdictRequest } from '../verdict/options.ts';
import { checkerOf } from './document.ts';
import { type FaultPlan, readFaultPlan, withFaults } from './fault-player.ts';
import { objectivesOf, type RunOptions } from './options.ts';
import {
  expectedRequests,
  type Prelude,
  planFacts,
  planOf,
  preludeOf,
  type ReplayChoice,
  type ReplayPlan,
  reckoningOf,
  requestsLeft,
  windowsDocument,
} from './plan.ts';
import { planDigest } from './shard.ts';
import { recordedServerOf } from './tested-server.ts';
import { boundsOfRun, looksOf, needsOfRun } from './until-sure.ts';

/** A replay of which everything is known that can be known before it: what is sent where, and what judges it. */
export interface PlannedReplay extends Prelude {
  readonly plan: ReplayPlan;
  /** Null for a dry run, so that nothing can be sent. */
  readonly target: Target | null;
  readonly source: Playback;
  /** All objectives of the run. */
  readonly objectives: readonly Objective[];
  /** The objectives of the run itself, without those of planned faults. */
  readonly ownObjectives: readonly Objective[];
  /** Planned failures of dependencies; null if there are none. */
  readonly faults: FaultPlan | null;
  /** Intermediate judgements for `--confidence until-sure`; null for a run without them. */
  readonly looks: Looks | null;
  /** Share of recorded traffic that is missing without sampling or omission as the reason; null if unknown. */
  readonly unexplained: number | null;
  /** Equal for all copies of a capture. */
  readonly captureIdentity: string;
  /** What is tested, for documents. */
  readonly tested: TestedDocument;
  readonly recordedServer: ServerSide;
  readonly createChecker: CreateChecker;
  /** Null for `runs/<run id>`. */
  readonly out: string | null;
  readonly verdict: VerdictRequest;
  readonly monitors: MonitorOptions;
  readonly telemetry: TelemetryOptions;
  /** Capacity of one replica, requests per second; null if not stated. */
  readonly ratePerReplica: number | null;
  /** Entry files of the pacer and sender threads. */
  readonly threads: { readonly pacer: URL; readonly sender: URL };
}

/**
 * Plans the replay of a choice. Reads no exchange.
 * @throws AppError OPTION_INVALID if calibration and warm-up leave nothing to judge, or for an invalid fault plan
 */
export function planReplay(
  opened: OpenedCapture,
  choice: ReplayChoice,
  {
    options,
    monitors,
    telemetry,
    out,
    encryptionKeyFile,
    capacity,
    faults: file,
    labels,
    ...verdict
  }: RunOptions,
): PlannedReplay {
  const plan = planOf(choice);
  const prelude = preludeOf(plan, choice.source, opened.source);
  const faults =
    file === null ? null : readFaultPlan(file, plan.window.plannedSpanNs, prelude.warmup?.spanNs ?? 0);
  const createChecker = checkerOf(entryUrl('checker'), options, plan.overview.name, encryptionKeyFile);
  const ownObjectives = objectivesOf(options, monitors);
  return {
    plan,
    target: options.dryRun ? null : options.target,
    source: choice.source,
    ...prelude,
    objectives: faults === null ? ownObjectives : withFaults(ownObjectives, faults),
    ownObjectives,
    faults,
    looks: looksOf(plan, prelude, ownObjectives),
    monitors,
    telemetry,
    ratePerReplica: capacity,
    unexplained: choice.unexplained,
    captureIdentity: opened.identity,
    tested: { labels, captureDigest: opened.digest },
    recordedServer: recordedServerOf(opened, plan.window.parts),
    createChecker,
    out,
    verdict,
    threads: { pacer: entryUrl('pacer'), sender: entryUrl('sender') },
  };
}

/** What a replay is going to do, before any exchange is read. */
export function askedPlan(planned: PlannedReplay): AskedPlan {
  const { plan, calibration, warmup, objectives, looks, faults } = planned;
  return {
    ...planFacts(plan),
    calibration: calibration && {
      from: formatInstantUs(calibration.plan.window.fromUs),
      to: formatInstantUs(calibration.plan.window.toUs - 1),
      durationS: calibration.plan.window.plannedSpanNs / 1e9,
      precedesWindow: calibration.precedesWindow,
      plannedRequests: calibration.plannedRequests,
    },
    warmup: warmup && {
      askedS: warmup.askedNs / 1e9,
      recordedS: warmup.recordedNs / 1e9,
      playedS: warmup.spanNs / 1e9,
      planned: warmup.plannedExchanges,
    },
    slo: plannedObjectives(objectives),
    needs: needsOfRun(plan, planned, objectives, looks),
    untilSure: looks && { ...looks.document(null), openToTheEnd: [...looks.plan.openToTheEnd] },
    faults: (faults?.faults ?? []).map(({ name, stated, fromNs, toNs, recoveredNs, during }) => ({
      name,
      ...picked(stated, 'fault', 'attributes', 'proxy'),
      control: faults?.control ?? '',
      fromS: fromNs / 1e9,
      toS: toNs / 1e9,
      recoveryS: (recoveredNs - toNs) / 1e9,
      during: during.map(({ expression }) => expression),
    })),
  };
}

/**
 * Reads the whole plan, counts it and sends nothing.
 * @throws AppError CAPTURE_EMPTY if no exchange is selected; CAPTURE_DAMAGED
 */
export async function countPlan(planned: PlannedReplay): Promise<ReplayPlanDocument> {
  const { plan, source, captureIdentity, looks } = planned;
  const { options, overview, window } = plan;
  const statistics = new FidelityStatistics();
  source.hear((offsetUs) => statistics.addInWindow(offsetUs));
  const recording = new StatusMix();
  const links = await linksOfPlan(source, { ...plan, warmup: null });
  const report = await dryRun(
    { ...dryRunParts(planned), links },
    {
      addRecorded: (row) => statistics.addRecorded(row),
      addPlanned: (row, intendedOffsetNs) => {
        statistics.addPlanned(row, intendedOffsetNs);
        recording.addPlanned(row);
      },
    },
  );
  // The same error as in a replay, so that a script that plans first gets it here.
  if (report.whole.recorded === 0) throw nothingSelected(source, options.filters);
  const { recorded, planned: sends, recordedToPlanned, duplicates, unfiltered } = statistics.figures();
  const asked = askedPlan(planned);
  const { cappedAtNs } = report.whole;
  const multipliers = multipliersOf(plan, report, recorded);
  const bounds = { ...JUDGEMENT_BOUNDS, ...boundsOfRun(plan, looks) };
  const short = report.whole.planned === 0 ? null : planShort(multipliers, bounds);
  return {
    schemaVersion: REPLAY_SCHEMA_VERSION,
    kind: 'replay_plan',
    version: VERSION,
    ...asked,
    ...windowsDocument(window, options.filters, source),
    shard: options.shard && { ...options.shard, planDigest: planDigest(plan, captureIdentity) },
    ...(cappedAtNs === null ? {} : { durationS: cappedAtNs / 1e9, endsWith: 'requests' }),
    ...multipliers,
    reasons: short === null ? [] : [short],
    notes: [
      ...(assumesCoverage(asked) ? [reason('coverage_assumed', { share: asked.coverage })] : []),
      ...recordingNotes(planned.objectives, recording.figures()),
    ],
    recorded: recorded.count + source.filtered,
    selected: recorded.count,
    planned: sends.count,
    refused: report.refusedForRate,
    sendable: !overview.arrivalsOnly,
    skipped: { ...report.audit.skipped, filtered: source.filtered },
    scalingPlan: { ...asked.scalingPlan, counts: report.scaling },
    fidelity: {
      recorded,
      planned: sends,
      unfiltered,
      recordedToPlanned,
      duplicateRatio: duplicates.ratio,
      duplicateRatioExact: duplicates.exact,
    },
    connections: { policy: options.connections, openMax: report.connections },
    values: report.links,
    bounds,
    options: describeReplayOptions(options, window),
    payloads: report.payloads,
  };
}

function dryRunParts(planned: PlannedReplay): DryRunParts {
  const { plan, source } = planned;
  const { options, overview, window, forecast, scaling } = plan;
  return {
    source,
    range: window,
    scaling,
    openSessions: OpenSessions.before(overview, source, window),
    shard: options.shard,
    maxRequests: requestsLeft(plan, planned),
    ceiling: RateCeiling.over(forecast.plannedPeakPerSecond, options.maxRatePerSecond),
    durationNs: window.durationNs,
    expected: expectedRequests(plan, planned) / (options.shard?.count ?? 1),
    arrivalsOnly: overview.arrivalsOnly,
    builder: new RequestBuilder({
      ...options,
      http2: true,
      runId: 'dry-run',
      identity: copyIdentityOf(overview, scaling),
    }),
  };
}

/** The multipliers of a counted plan, calculated in the same way as in the run. */
function multipliersOf(
  plan: ReplayPlan,
  { whole: { recorded, planned, cappedAtNs } }: DryRunReport,
  arrivals: Parameters<typeof reckoningOf>[1]['recorded'],
) {
  return planMultipliers({
    ...reckoningOf(plan, { recorded: arrivals, planned, isCut: cappedAtNs !== null }),
    recorded,
    planned,
    targetShare: plan.options.targetShare,
    coverage: plan.overview.coverage,
  });
}
