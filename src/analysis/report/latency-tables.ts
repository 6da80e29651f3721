import type { SloLine } from '../../documents/replay.ts';
import type { PercentileLadder, ReportDocument } from '../../documents/report.ts';
import { LADDER_PERCENTS } from './percentile-ladder.ts';
import { columnsOf, type ReportTable } from './report-table.ts';
import { msText, NONE, numberText, shareText } from './value-text.ts';

/** Marks a percentile that has too few samples to be trusted. */
export const TOO_FEW = '*';

const KEPT = 'kept';
const VIOLATED = 'VIOLATED';

export function objectivesTable({ slo }: ReportDocument): ReportTable | null {
  if (slo.length === 0) return null;
  return {
    title: 'Objectives',
    unit: 'as named in each objective',
    source:
      'scheduled latency unless an objective names another; what failed or was refused counts as never answered',
    lookFor: 'how far observed lies from the limit: a pass by a hair is no reserve',
    columns: columnsOf(['objective', 'result'], ['observed', 'limit']),
    toneOf: (cell) => (cell === KEPT ? 'good' : cell === VIOLATED ? 'bad' : null),
    rows: slo.map((line) => [
      line.expression,
      line.ok === null ? 'not measured' : line.ok ? KEPT : VIOLATED,
      valueText(line, line.observed),
      valueText(line, line.limit),
    ]),
  };
}

function valueText({ unit }: SloLine, value: SloLine['observed']): string {
  if (value === 'Infinity') return 'never answered';
  if (unit === 'ms') return msText(value);
  return unit === 'share' ? shareText(value) : numberText(value);
}

export function latencyTable(document: ReportDocument): ReportTable | null {
  const { latencyMs, recording, counts } = document;
  const { scheduled, service, recorded } = latencyMs;
  if (scheduled.count === 0) return null;
  return {
    title: 'Latency from p50 to p99.99',
    unit: 'ms, s or min',
    source: `${numberText(scheduled.count)} completed requests (${numberText(counts.failed)} failed have none); ${recorded === null ? `as recorded: ${recording.unavailable ?? 'not known'}` : `as recorded: ${numberText(recorded.count)} of the same requests, completed then`}`,
    lookFor: `scheduled far over service: requests waited on our side before they left. Values marked ${TOO_FEW} rest on fewer samples than the percentile needs`,
    columns: columnsOf(['percentile'], ['scheduled', 'service', 'as recorded', 'samples needed']),
    rows: [
      ...LADDER_PERCENTS.map((percent, at) => [
        `p${percent}`,
        stepText(scheduled, percent),
        stepText(service, percent),
        recorded === null ? NONE : stepText(recorded, percent),
        numberText(scheduled.steps[at]?.samplesNeeded),
      ]),
      ['mean', msText(scheduled.meanMs), msText(service.meanMs), msText(recorded?.meanMs), NONE],
      ['max', msText(scheduled.maxMs), msText(service.maxMs), msText(recorded?.maxMs), NONE],
    ],
  };
}

export function streamTable({ streams }: ReportDocument): ReportTable | null {
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

/** A percentile as it is read, marked where it rests on too few samples. */
export function stepText({ steps }: PercentileLadder, percent: number): string {
  const step = steps.find((each) => each.percent === percent);
  if (step === undefined || step.ms === null) return NONE;
  return `${msText(step.ms)}${step.enough ? '' : TOO_FEW}`;
}
