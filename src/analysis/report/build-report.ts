import type { Histogram } from '../../core/histogram.ts';
import type { Run } from '../../core/run.ts';
import { formatInstantUs } from '../../core/units.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import {
  type ErrorLine,
  REPORT_SCHEMA_VERSION,
  type RecordingSource,
  type ReportDocument,
  type ReportedCounts,
  type ReportedLatency,
  type ReportedRun,
  type ReportedStreams,
  type SkippedLine,
} from '../../documents/report.ts';
import { rowDifferences } from '../run/run-statistics.ts';
import { type Reason, reason } from '../verdict/reasons.ts';
import { headlineOf } from './headline.ts';
import { errorMeaning, skippedMeaning } from './meanings.ts';
import { ladderOf } from './percentile-ladder.ts';
import { bySize } from './report-groups.ts';
import type { RecordedFigures, ReportStatistics, RowFigures } from './report-statistics.ts';

const NS_PER_S = 1e9;

export interface ReportInput {
  readonly directory: string;
  /** Null for a run that was never sealed; so is `summary`. */
  readonly run: Run | null;
  readonly summary: ReplayDocument | null;
  readonly statistics: ReportStatistics;
  /** The capture that was read for the recorded answers, and why it was not where it was not. */
  readonly recording: { readonly capture: string | null; readonly unavailable: string | null };
}

/** Puts together what a run says of itself and what its rows and its recording tell. */
export function buildReport({ directory, run, summary, statistics, recording }: ReportInput): ReportDocument {
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
    latencyMap: statistics.map.map(),
    latencyMs: latencyOf(rows, recorded),
    streams: streamsOf(rows, recorded),
    routes: statistics.routes.figures(),
    models: statistics.models.figures(),
    inputSizes: bySize(statistics.inputSizes.figures()),
    skipped: skippedOf(summary),
    errors: errorsOf(rows),
    statuses: rows.outcomes.statuses,
    recording: recordingOf(recording, recorded),
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
  const warmupS = summary?.warmup?.playedS ?? 0;
  return {
    id: run?.id ?? null,
    directory,
    version: run?.version ?? null,
    capture: run?.capture ?? null,
    target: run?.target ?? null,
    startedAt: run === null ? null : formatInstantUs(run.startedAtUs),
    endedAt: run === null ? null : formatInstantUs(run.endedAtUs),
    sealed: summary !== null,
    multiplier: summary?.multiplier ?? null,
    effectiveMultiplier: summary?.effectiveMultiplier ?? null,
    scaling: summary?.scaling ?? null,
    durationS: summary?.durationS ?? rows.endOffsetNs / NS_PER_S,
    warmupS,
  };
}

function countsOf({ outcomes }: RowFigures, summary: ReplayDocument | null): ReportedCounts {
  const { sent, completed, failed, cancelled, refused, unreached } = outcomes;
  return {
    recorded: summary?.recorded ?? null,
    selected: summary?.selected ?? null,
    planned: summary?.planned ?? null,
    ...{ sent, completed, failed, cancelled, refused },
    unreached: summary?.unreached ?? unreached,
    unreplayable: summary?.unreplayable ?? null,
  };
}

function latencyOf(rows: RowFigures, recorded: RecordedFigures): ReportedLatency {
  return {
    scheduled: ladderOf(rows.scheduled),
    service: ladderOf(rows.service),
    recorded: ladderOrNull(recorded.latency),
  };
}

function streamsOf({ streams }: RowFigures, recorded: RecordedFigures): ReportedStreams {
  return {
    completed: streams.completed,
    failed: streams.failed,
    turnedAway: streams.turnedAway,
    whole: streams.whole,
    ttft: ladderOf(streams.ttft),
    itl: ladderOf(streams.itl),
    tpot: ladderOf(streams.tpot),
    recordedTtft: ladderOrNull(recorded.ttft),
    tokens: streams.tokens,
  };
}

function ladderOrNull(histogram: Histogram | null) {
  return histogram === null ? null : ladderOf(histogram);
}

function skippedOf(summary: ReplayDocument | null): SkippedLine[] {
  if (summary === null) return [];
  const { audit } = summary as ReplayDocument & {
    readonly audit?: { readonly unreplayableByReason?: Readonly<Record<string, number>> };
  };
  const why = Object.entries(audit?.unreplayableByReason ?? {})
    .filter(([, requests]) => requests > 0)
    .map(([reason, requests]) => `${reason} ${requests}`);
  const lines = Object.entries({ ...summary.skipped, unreplayable: summary.unreplayable })
    .filter(([, requests]) => requests > 0)
    .map(([reason, requests]) => ({ reason, requests, meaning: skippedMeaning(reason) }));
  return lines.map((line) =>
    line.reason === 'unreplayable' && why.length > 0
      ? { ...line, meaning: `${skippedMeaning('unreplayable')}: ${why.join(', ')}` }
      : line,
  );
}

/** What got no complete answer, and what was answered with a 5xx: the most frequent first. */
function errorsOf({ outcomes, errorExamples }: RowFigures): ErrorLine[] {
  const served = Object.entries(outcomes.statuses)
    .filter(([status]) => Number(status) >= 500)
    .map(([status, requests]) => [`status_${status}`, requests] as const);
  return [...Object.entries(outcomes.errors), ...served]
    .map(([kind, requests]) => ({
      kind,
      requests,
      share: requests / outcomes.sent,
      meaning: errorMeaning(kind),
      examples: errorExamples[kind] ?? [],
    }))
    .sort((a, b) => b.requests - a.requests || (a.kind < b.kind ? -1 : 1));
}

function recordingOf(
  { capture, unavailable }: ReportInput['recording'],
  { sought, found, latency, statuses }: RecordedFigures,
): RecordingSource {
  return {
    capture,
    unavailable,
    sought,
    found,
    timed: latency?.count ?? 0,
    statuses: found === 0 ? null : statuses,
  };
}
