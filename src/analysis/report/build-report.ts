import type { Histogram } from '../../core/histogram.ts';
import type { Run, SendError } from '../../core/run.ts';
import { formatInstantUs, formatMultiplier } from '../../core/units.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import {
  type ErrorLine,
  REPORT_SCHEMA_VERSION,
  type RecordingSource,
  type ReportDocument,
  type ReportedCounts,
  type ReportedRun,
  type ReportedStreams,
  type SkippedLine,
} from '../../documents/report.ts';
import { rowDifferences } from '../run/run-statistics.ts';
import { type Reason, reason } from '../verdict/reasons.ts';
import {
  bySize,
  groupFigures,
  ladderOf,
  type RecordedFigures,
  type ReportStatistics,
  type RowFigures,
} from './statistics.ts';

const NS_PER_S = 1e9;

interface ReportInput {
  readonly directory: string;
  /** Null for a run that was never sealed; so is `summary`. */
  readonly run: Run | null;
  readonly summary: ReplayDocument | null;
  readonly statistics: ReportStatistics;
  /** The capture that was read for the recorded answers, and why it was not where it was not. */
  readonly recording: Pick<RecordingSource, 'capture' | 'unavailable'>;
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
    errors: errorLines({ ...rows.outcomes, errorExamples: rows.errorExamples }),
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

function streamsOf({ streams }: RowFigures, recordedTtft: Histogram): ReportedStreams {
  const { completed, failed, turnedAway, whole, tokens } = streams;
  return {
    ...{ completed, failed, turnedAway, whole, tokens },
    ttft: ladderOf(streams.ttft),
    itl: ladderOf(streams.itl),
    tpot: ladderOf(streams.tpot),
    recordedTtft: ladderOrNull(recordedTtft),
  };
}

function ladderOrNull(histogram: Histogram) {
  return histogram.count === 0 ? null : ladderOf(histogram);
}

/** What of the recording was not sent, with its meaning. */
export function skippedLines({ audit, skipped, unreplayable }: ReplayDocument): SkippedLine[] {
  const why = Object.entries(audit?.unreplayableByReason ?? {})
    .filter(([, requests]) => requests > 0)
    .map(([reason, requests]) => `${reason} ${requests}`);
  return Object.entries({ ...skipped, unreplayable })
    .filter(([, requests]) => requests > 0)
    .map(([reason, requests]) => {
      const details = reason === 'unreplayable' && why.length > 0 ? `: ${why.join(', ')}` : '';
      return { reason, requests, meaning: `${skippedMeaning(reason)}${details}` };
    });
}

/** What got no complete answer, and what was answered with a 5xx: the most frequent first. */
export function errorLines({
  statuses,
  errors,
  sent,
  errorExamples,
}: Pick<ReplayDocument, 'statuses' | 'errors' | 'sent' | 'errorExamples'>): ErrorLine[] {
  const served = Object.entries(statuses)
    .filter(([status]) => Number(status) >= 500)
    .map(([status, requests]) => [`status_${status}`, requests] as const);
  return [...Object.entries(errors), ...served]
    .map(([kind, requests]) => ({
      kind,
      requests,
      share: requests / sent,
      meaning: errorMeaning(kind),
      examples: errorExamples[kind] ?? [],
    }))
    .sort((a, b) => b.requests - a.requests || (a.kind < b.kind ? -1 : 1));
}

function recordingOf(
  source: ReportInput['recording'],
  { sought, found, latency, statuses }: RecordedFigures,
): RecordingSource {
  return { ...source, sought, found, timed: latency.count, statuses: found === 0 ? null : statuses };
}

type Judged = Pick<ReportDocument, 'verdict' | 'valid' | 'summary'> & {
  /** Whether the rows are other than those the verdict was found on. */
  readonly differs: boolean;
};

/** The verdict in one sentence. */
export function headlineOf({ verdict, valid, summary, differs }: Judged): string {
  if (summary === null)
    return 'This run never came to its end: there is no verdict, only what its rows tell.';
  if (differs)
    return `The run was judged ${verdict ?? 'without an objective'}, but its rows are no longer those it was judged by.`;
  const load =
    summary.multiplier === 1
      ? 'at the recorded load'
      : `at ${formatMultiplier(summary.multiplier)} times the recorded load`;
  if (verdict === 'PASS') return `The target kept ${objectivesText(summary)} ${load}.`;
  if (verdict === 'FAIL') return `The target did not keep ${violatedText(summary)} ${load}.`;
  if (verdict === 'INCONCLUSIVE') {
    return `The run cannot say whether the target keeps ${objectivesText(summary)} ${load}: the cause lies on our side or in the comparison.`;
  }
  return valid
    ? `No objective was given, so there is no verdict; the run itself is valid, ${load}.`
    : 'No objective was given, and the run is not valid: its figures are not those of the planned load.';
}

function objectivesText({ slo }: ReplayDocument): string {
  return slo.length === 1 ? 'its objective' : `all of its ${slo.length} objectives`;
}

function violatedText({ slo }: ReplayDocument): string {
  const violated = slo.filter(({ ok }) => ok === false).length;
  if (slo.length === 1) return 'its objective';
  return violated === slo.length
    ? `any of ${slo.length} objectives`
    : `${violated} of ${slo.length} objectives`;
}

/** Why recorded exchanges were not sent, and what to do about it. */
const SKIPPED: Readonly<Record<string, string>> = {
  filtered: 'left out by the filters that were asked for',
  incomplete_request: 'the client left before its request was whole; nothing that could be sent again',
  truncated_request: 'the recorder kept only a part of the body; raise its cap on request bodies',
  no_payload: 'the recording holds no request; record with bodies, or give the import payloads',
  unreplayable: 'the client library cannot send it unaltered; see the reasons beside it',
};

/** Why sends have no complete answer, and where to look. */
const ERRORS: Readonly<Record<SendError, string>> = {
  connect_refused: 'nothing listened, or the accept queue was full: check whether the target restarted',
  connect_timeout: 'the target did not accept in time: its accept queue or a firewall',
  connect_failed: 'no connection came about: name, route or TLS',
  reset_on_reuse: 'the target closed an idle connection as we used it: its keep-alive is shorter than ours',
  reset: 'the target or something between cut the connection: a crash, an eviction, a proxy',
  closed_early: 'the connection ended before the answer was whole',
  first_byte_timeout: 'no answer began in time: a queue that grows, or a stuck worker',
  idle_timeout: 'an answer began and then fell silent',
  total_timeout: 'the answer took longer than it was waited for in all',
  protocol: 'the answer was no valid HTTP/1.1',
  broken_stream: 'a stream ended without its end mark: the generation was cut off',
  stopped: 'ended by us when the run was stopped; not the target’s failure',
  other: 'none of the known kinds; see its row',
};

const SERVER_ERROR = 'the target answered that it failed: see its log at these times';

export function skippedMeaning(reason: string): string {
  return (Object.hasOwn(SKIPPED, reason) ? SKIPPED[reason] : null) ?? 'not sent; see the replay’s audit';
}

/** @param kind of an error, or `status_503` */
export function errorMeaning(kind: string): string {
  if (kind.startsWith('status_')) return SERVER_ERROR;
  return (Object.hasOwn(ERRORS, kind) ? ERRORS[kind as SendError] : null) ?? ERRORS.other;
}
