import { picked } from '../../core/picked.ts';
import type { Run } from '../../core/run.ts';
import { countOf, formatInstantUs, formatMultiplier, NS_PER_S } from '../../core/units.ts';
import type { Explanation } from '../../documents/explanation.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { stagesText } from '../../documents/replay-plan.ts';
import {
  type MonitoredLine,
  REPORT_SCHEMA_VERSION,
  type RecordingSource,
  type ReportDocument,
  type ReportedRun,
} from '../../documents/report.ts';
import { rowDifferences } from '../run/run-statistics.ts';
import { type Reason, reason } from '../verdict/reasons.ts';
import { bySize, groupFigures } from './groups.ts';
import { ladderOf, ladderOrNull, streamsOf } from './latency.ts';
import { nistEvidenceOf } from './nist.ts';
import { countsOf, errorLines, skippedLines, stateOf, valueText } from './requests.ts';
import type { RecordedFigures, ReportStatistics, RowFigures } from './statistics.ts';

interface ReportInput {
  readonly directory: string;
  /** Null for an unsealed run, like `summary`. */
  readonly run: Run | null;
  readonly summary: ReplayDocument | null;
  readonly statistics: ReportStatistics;
  /** The capture with the recorded answers, or why it was not read. */
  readonly recording: Pick<RecordingSource, 'capture' | 'unavailable'>;
  /** The monitored series, over the steps of the run; absent without any. */
  readonly monitored?: readonly MonitoredLine[];
  /** Why objectives were violated. */
  readonly explanation?: Explanation | null;
}

/** Builds a report from a run's summary, its rows and its recording. */
export function buildReport(input: ReportInput): ReportDocument {
  const { directory, run, summary, statistics, recording, monitored = [], explanation = null } = input;
  const rows = statistics.rowFigures();
  const recorded = statistics.recordedFigures();
  const counts = countsOf(rows, summary);
  const verdict = summary?.verdict ?? null;
  const own = ownReasons(rows, run, summary);
  const valid = own.length === 0 && (summary?.valid ?? false);
  const reported = runOf(directory, run, summary, rows);
  return {
    schemaVersion: REPORT_SCHEMA_VERSION,
    kind: 'report',
    run: reported,
    verdict,
    valid,
    headline: headlineOf({ verdict, valid, summary, differs: own.length > 0 }),
    reasons: [...own, ...(summary?.reasons ?? [])],
    notes: summary?.notes ?? [],
    slo: summary?.slo ?? [],
    counts,
    overTime: statistics.time.columns(),
    latencySteps: statistics.latencySteps(),
    objectiveSteps: statistics.objectiveSteps(),
    monitored,
    latencyMap: statistics.map.map(),
    latencyMs: {
      scheduled: ladderOf(rows.scheduled),
      service: ladderOf(rows.service),
      recorded: ladderOrNull(recorded.latency),
    },
    streams: streamsOf(rows, recorded.ttft),
    routes: groupFigures(statistics.routes),
    models: groupFigures(statistics.models),
    inputSizes: bySize(groupFigures(statistics.inputSizes)),
    skipped: summary === null ? [] : skippedLines(summary),
    errors: errorLines(rows.outcomes),
    ...picked(rows.outcomes, 'statuses', 'grpcStatuses'),
    recording: recordingOf(recording, recorded),
    explanation: explanation?.against === 'objectives' ? explanation : null,
    nist: summary && nistEvidenceOf(summary),
    summary,
  };
}

function ownReasons({ outcomes }: RowFigures, run: Run | null, summary: ReplayDocument | null): Reason[] {
  if (summary === null) {
    return [reason('not_sealed', { sent: outcomes.sent })];
  }
  const differences = rowDifferences(run?.id ?? null, outcomes, summary);
  return differences.length === 0 ? [] : [reason('rows_differ', { differences })];
}

function runOf(
  directory: string,
  run: Run | null,
  summary: ReplayDocument | null,
  rows: RowFigures,
): ReportedRun {
  return {
    id: run?.id ?? null,
    directory,
    version: run?.version ?? null,
    capture: run?.capture ?? null,
    target: run?.target ?? null,
    startedAt: run && formatInstantUs(run.startedAtUs),
    endedAt: run && formatInstantUs(run.endedAtUs),
    sealed: summary !== null,
    multiplier: summary?.multiplier ?? null,
    effectiveMultiplier: summary?.effectiveMultiplier ?? null,
    scaling: summary?.scaling ?? null,
    durationS: summary?.durationS ?? rows.endOffsetNs / NS_PER_S,
    warmupS: summary?.warmup?.playedS ?? 0,
  };
}

function recordingOf(
  source: ReportInput['recording'],
  { sought, found, latency, statuses }: RecordedFigures,
): RecordingSource {
  return { ...source, sought, found, timed: latency.count, statuses: found === 0 ? null : statuses };
}

type Judged = Pick<ReportDocument, 'verdict' | 'valid' | 'summary'> & {
  /** Whether the rows differ from those that were judged. */
  readonly differs: boolean;
};

export function headlineOf({ verdict, valid, summary, differs }: Judged): string {
  if (summary === null)
    return 'This run never came to its end: there is no verdict, only what its rows tell.';
  if (differs)
    return `The run was judged ${verdict ?? 'without an objective'}, but its rows are no longer those it was judged by.`;
  if (summary.closedLoop !== undefined) {
    const { concurrency } = summary.closedLoop;
    return `A closed loop kept ${countOf(concurrency, 'request')} in flight${valid ? '' : ', and the run is not valid'}: it has no verdict.`;
  }
  const load =
    stagesText(summary.multiplier, summary.scalingPlan) ??
    (summary.multiplier === 1
      ? 'at the recorded load'
      : `at ${formatMultiplier(summary.multiplier)} times the recorded load`);
  if (verdict === 'PASS') {
    const basis = summary.bounds.confidence === null ? ', by observed values alone (--confidence point)' : '';
    return `The target met ${objectivesText(summary)} ${load}${basis}.`;
  }
  if (verdict === 'FAIL') return `The target did not meet ${violatedText(summary)} ${load}.`;
  if (verdict === 'INCONCLUSIVE') {
    return `The run cannot say whether the target meets ${objectivesText(summary)} ${load}.`;
  }
  return valid
    ? `No objective was given (--slo). The run itself is valid, ${load}.`
    : 'No objective was given, and the run is not valid: its figures are not those of the planned load.';
}

function objectivesText({ slo }: ReplayDocument): string {
  return slo.length === 1 ? 'its objective' : `all of its ${slo.length} objectives`;
}

function violatedText(summary: ReplayDocument): string {
  const { slo } = summary;
  const violated = slo.filter((line) => stateOf(line, summary) === 'violated');
  const [first] = violated;
  if (first !== undefined && violated.length === 1) {
    const isMissing = first.observed === 'Infinity';
    const observed = isMissing ? 'too many were not served' : `observed ${valueText(first, first.observed)}`;
    return `${first.expression} (${observed})`;
  }
  return violated.length === slo.length
    ? `any of ${slo.length} objectives`
    : `${violated.length} of ${slo.length} objectives`;
}
