import type { Histogram } from '../../core/histogram.ts';
import { NS_PER_MS } from '../../core/units.ts';
import type { LatencyMs } from '../../documents/parts.ts';
import { PERCENTILE_NAMES, PERCENTS, percentilesIn } from '../../documents/percentiles.ts';
import type { ReplayDocument, TrustedLatencyMs } from '../../documents/replay.ts';
import type { PercentileLadder, ReportDocument, ReportedStreams } from '../../documents/report.ts';
import { columnsOf, msText, NONE, numberText, type Table } from '../render/table.ts';
import { sampleFloor } from '../stats/percentiles.ts';
import type { RowFigures } from './statistics.ts';

/** Marks a percentile with too few samples. */
export const TOO_FEW = '*';

export function latencyTable(document: ReportDocument): Table | null {
  const { latencyMs, recording, counts, summary } = document;
  const { service, recorded } = latencyMs;
  if (service.count === 0) return null;
  // A closed loop has no planned instants, so it has no scheduled latency.
  const isPlanned = summary?.closedLoop === undefined;
  const ladders = isPlanned ? [latencyMs.scheduled, service] : [service];
  return {
    title: 'Latency from p50 to p99.99',
    unit: 'ms, s or min',
    source: `${numberText(service.count)} completed requests (${numberText(counts.failed)} failed have none); ${recorded === null ? `as recorded: ${recording.unavailable ?? 'not known'}` : `as recorded: ${numberText(recorded.count)} of these requests, which completed then`}`,
    lookFor: `${isPlanned ? WAITED : 'the far tail'}. Values marked ${TOO_FEW} have fewer samples than the percentile needs`,
    columns: columnsOf(
      ['percentile'],
      [...(isPlanned ? ['scheduled'] : []), 'service', 'as recorded', 'samples needed'],
    ),
    rows: [
      ...LADDER_PERCENTS.map((percent, at) => [
        `p${percent}`,
        ...ladders.map((ladder) => stepText(ladder, percent)),
        recorded === null ? NONE : stepText(recorded, percent),
        numberText(service.steps[at]?.samplesNeeded),
      ]),
      ['mean', ...ladders.map(({ meanMs }) => msText(meanMs)), msText(recorded?.meanMs), NONE],
      ['max', ...ladders.map(({ maxMs }) => msText(maxMs)), msText(recorded?.maxMs), NONE],
    ],
  };
}

const WAITED = 'scheduled far above service: requests waited in the replay before they were sent';

export function streamTable({ streams }: ReportDocument): Table | null {
  const { ttft, itl, tpot, recordedTtft, completed, failed, turnedAway, whole, tokens } = streams;
  if (completed + failed + turnedAway + whole === 0) return null;
  const ladders = [ttft, itl, tpot, recordedTtft];
  const told =
    tokens.answers === 0
      ? 'no answer said how many tokens it had'
      : `tokens as ${numberText(tokens.answers)} answers counted them: ${numberText(tokens.prompt)} prompt, ${numberText(tokens.output)} output`;
  return {
    title: 'Streams: first token, between tokens, per output token',
    unit: 'ms, s or min',
    source: `${numberText(completed)} streams that completed, ${numberText(failed)} failed, ${numberText(turnedAway)} turned away instead, ${numberText(whole)} answered whole; TTFT from the intended send, ITL over all gaps (${numberText(itl.count)}), TPOT where the answer says its tokens (${numberText(tpot.count)}); ${told}`,
    lookFor: `a TTFT that grows while ITL stays: requests queue before they are worked on. An ITL that grows: the batch is too full. ${TOO_FEW}: too few samples`,
    columns: columnsOf(['percentile'], ['TTFT', 'ITL', 'TPOT', 'TTFT as recorded']),
    rows: [
      ...LADDER_PERCENTS.map((percent) => [
        `p${percent}`,
        ...ladders.map((ladder) => (ladder === null ? NONE : stepText(ladder, percent))),
      ]),
      ['max', ...ladders.map((ladder) => msText(ladder?.maxMs))],
    ],
  };
}

/** The latencies in a run's summary. */
export function runLatencyTable({ latencyMs, closedLoop }: ReplayDocument): Table {
  const { scheduled, service } = latencyMs;
  const isPlanned = closedLoop === undefined;
  return {
    title: 'Latency of completed requests',
    unit: 'ms, s or min',
    source: `${isPlanned ? 'scheduled: from the planned instant; ' : ''}service: from the actual send; intervals of 95 % over windows`,
    lookFor: isPlanned ? WAITED : 'a p99 far over the median',
    columns: columnsOf(['measure'], [...PERCENTILE_NAMES, 'max']),
    rows: [
      ...(isPlanned ? [latencyRow('scheduled', scheduled), ...intervalRows(scheduled)] : []),
      latencyRow('service', service),
      ...intervalRows(service),
    ],
  };
}

function latencyRow(name: string, times: LatencyMs): string[] {
  return [name, ...[...percentilesIn(times), times.max].map(msText)];
}

/** Confidence intervals; none if the run is too short for windows. */
function intervalRows(times: TrustedLatencyMs): string[][] {
  const intervals = percentilesIn(times, 'Interval');
  if (intervals.every((interval) => interval === null)) return [];
  const text = (interval: readonly [number, number] | null) =>
    interval === null ? NONE : `${msText(interval[0])} to ${msText(interval[1])}`;
  return [['  95 % interval', ...intervals.map(text), NONE]];
}

/** The stream figures in a run's summary. */
export function runStreamTable({ streams, ttftMs, itlMs, tpotMs }: ReplayDocument): Table | null {
  const { completed, failed, refused, withoutContent, unread, turnedAway, whole } = streams;
  if (completed + failed + refused + turnedAway + whole === 0) return null;
  const counted = [
    ['completed', completed],
    ['failed', failed],
    ['without any content', withoutContent],
    ['not read for their content coding', unread],
    ['turned away', turnedAway],
    ['answered whole', whole],
  ] as const;
  const said = counted.filter(([name, requests]) => requests > 0 || name === 'completed');
  return {
    title: `Streams: ${said.map(([name, requests]) => `${numberText(requests)} ${name}`).join(', ')}`,
    unit: 'ms, s or min',
    source: 'streams that completed',
    lookFor: 'a TTFT that grows while ITL stays: requests queue before they are worked on',
    columns: columnsOf(['measure'], [...PERCENTILE_NAMES, 'max']),
    rows: [
      latencyRow('first token (TTFT)', ttftMs),
      latencyRow('between tokens (ITL)', itlMs),
      latencyRow('per output token (TPOT)', tpotMs),
    ],
  };
}

/** A percentile as text, with a mark if there are too few samples. */
export function stepText({ steps }: PercentileLadder, percent: number): string {
  const step = steps.find((each) => each.percent === percent);
  if (step === undefined || step.ms === null) return NONE;
  return `${msText(step.ms)}${step.enough ? '' : TOO_FEW}`;
}

/** The percentiles of a launch review, from the middle to the far tail. */
const LADDER_PERCENTS = [...new Set([...PERCENTS, 75, 90, 99.9, 99.99])].sort((a, b) => a - b);

const FLOORS: ReadonlyMap<number, number> = new Map(
  LADDER_PERCENTS.map((percent) => [percent, sampleFloor(percent)]),
);

/** @param histogram values in nanoseconds */
export function ladderOf(histogram: Histogram): PercentileLadder {
  const { count, mean, max } = histogram;
  const inMs = (ns: number | null) => (ns === null ? null : ns / NS_PER_MS);
  return {
    count,
    meanMs: inMs(mean),
    maxMs: inMs(max),
    steps: LADDER_PERCENTS.map((percent) => {
      const samplesNeeded = FLOORS.get(percent) ?? Number.POSITIVE_INFINITY;
      return {
        percent,
        ms: inMs(histogram.percentile(percent)),
        samplesNeeded,
        enough: count >= samplesNeeded,
      };
    }),
  };
}

export function streamsOf({ streams }: RowFigures, recordedTtft: Histogram): ReportedStreams {
  const { completed, failed, turnedAway, whole, tokens } = streams;
  return {
    completed,
    failed,
    turnedAway,
    whole,
    tokens,
    ttft: ladderOf(streams.ttft),
    itl: ladderOf(streams.itl),
    tpot: ladderOf(streams.tpot),
    recordedTtft: ladderOrNull(recordedTtft),
  };
}

export function ladderOrNull(histogram: Histogram) {
  return histogram.count === 0 ? null : ladderOf(histogram);
}
