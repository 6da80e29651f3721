import { describe, expect, test } from 'vitest';
import { GapCounts } from '../../../src/core/gap-counts.ts';
import type { Send } from '../../../src/core/run.ts';
import { repeated } from '../../support/long-form.ts';
import { statisticsOf, summaryOf } from '../../support/reported-runs.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;

/** A stream of 21 pieces, 2 ms apart, the first after 20 ms. */
function stream(index: number, facts: Partial<Send> = {}): Send {
  const fromNs = facts.intendedOffsetNs ?? 0;
  const gaps = new GapCounts();
  for (let at = 0; at < 20; at += 1) gaps.add(2 * MS);
  return send({
    index,
    streamed: true,
    lastByteOffsetNs: fromNs + 70 * MS,
    answer: {
      firstTokenOffsetNs: fromNs + 20 * MS,
      lastTokenOffsetNs: fromNs + 60 * MS,
      contentEvents: 21,
      gapMaxNs: 2 * MS,
      gaps: gaps.toBytes(),
      promptTokens: 5,
      outputTokens: 21,
      finish: 'stop',
    },
    ...facts,
  });
}

const noToken = { firstTokenOffsetNs: null, lastTokenOffsetNs: null, gaps: null, gapMaxNs: null };
const refusedAsRecorded = { status: 429, bytes: 9, streamed: false, tookNs: MS, tellsError: null };

/** What a fifth of the requests are in one run each. */
const KINDS: Readonly<Record<string, (index: number, facts: Partial<Send>) => Send>> = {
  'slow and whole': (index, facts) =>
    send({ index, lastByteOffsetNs: (facts.intendedOffsetNs ?? 0) + 900 * MS, ...facts }),
  'turned away': (index, facts) => send({ index, status: 404, ...facts }),
  'streams that failed': (index, facts) => failed(index, { streamed: true, ...facts }),
  failed: (index, facts) => failed(index, facts),
  'answered with 503': (index, facts) => send({ index, status: 503, ...facts }),
  'cut off with 429': (index, facts) => failed(index, { status: 429, ...facts }),
  'streams that were refused by us': (index, facts) => refused(index, { streamed: true, ...facts }),
  'never sent': (index, facts) => send({ index, actualOffsetNs: null, ...facts }),
  'ended by our stop': (index, facts) => failed(index, { error: 'stopped', streamed: true, ...facts }),
  'streams turned away': (index, facts) => send({ index, status: 404, unstreamed: true, ...facts }),
  'streams refused as recorded': (index, facts) =>
    send({ index, status: 429, unstreamed: true, recorded: refusedAsRecorded, ...facts }),
  'streams answered whole': (index, facts) => send({ index, unstreamed: true, ...facts }),
  'streams that were not read': (index, facts) => stream(index, { ...facts, answer: null }),
  'streams without content': (index, facts) =>
    stream(index, { ...facts, answer: { ...stream(index).answer!, ...noToken, contentEvents: 0 } }),
  'streams of one piece': (index, facts) => {
    const { answer, ...rest } = stream(index, facts);
    const lastTokenOffsetNs = answer!.firstTokenOffsetNs;
    return { ...rest, answer: { ...answer!, lastTokenOffsetNs, contentEvents: 1, gaps: null } };
  },
  'streams that were left early': (index, facts) =>
    stream(index, { ...facts, cancelled: true, lastByteOffsetNs: (facts.intendedOffsetNs ?? 0) + 800 * MS }),
  'left before the first token': (index, facts) =>
    stream(index, {
      ...facts,
      cancelled: true,
      lastByteOffsetNs: (facts.intendedOffsetNs ?? 0) + 800 * MS,
      answer: { ...stream(index).answer!, ...noToken, contentEvents: 0 },
    }),
  late: (index, facts) => stream(index, { ...facts, actualOffsetNs: (facts.intendedOffsetNs ?? 0) + 5 * MS }),
};

/** All due in the first second; every fifth of a kind. */
const runOf = (kind: (index: number, facts: Partial<Send>) => Send) =>
  Array.from({ length: 500 }, (_, index) => {
    const facts = { intendedOffsetNs: index * MS };
    if (index % 5 === 0) return kind(index, facts);
    return index % 5 === 1 ? send({ index, ...facts }) : stream(index, facts);
  });

const TIMES = ['latency', 'service', 'latency{model=resnet}', 'ttft', 'itl', 'tpot'];
const OBJECTIVES = [
  ...TIMES.flatMap((metric) => [`${metric}: p(20)<1`, `${metric}: p(30)<1`, `${metric}: p(90)<1`]),
  ...['errors: rate<0.5', 'rejected: rate<0.5', 'errors{model=resnet}: rate<0.5'],
  ...['ttft<50', 'latency<500', 'tpot<50 and latency<500'].map(
    (limits) => `goodput: rate>0.9 where ${limits}`,
  ),
];

/** Each kind is looked at for one part of the objectives; in the long form for all. */
const PARTS = repeated(3, 1);
const KINDS_AT = Object.keys(KINDS).map((name, at): [string, number] => [name, at]);

describe.each([
  ['played to its end', null],
  ['that was stopped', 'by a signal'],
])('the course of a run of one step %s', (_, interrupted) => {
  test.each(KINDS_AT)('has what the verdict observed, where some were %s', (name, at) => {
    const sends = runOf(KINDS[name]!);
    const { slo } = summaryOf(sends, { slo: OBJECTIVES, interrupted });
    const looked = slo.filter((_each, nth) => nth % PARTS === at % PARTS);
    const courses = looked.map((line) => {
      const statistics = statisticsOf(sends, [line], interrupted !== null);
      const steps = statistics.objectiveSteps();
      return [line.expression, steps === null ? statistics.latencySteps().tailMs[0] : steps.values[0]];
    });
    expect(slo.length).toBeGreaterThanOrEqual(OBJECTIVES.length);
    expect(courses).toEqual(looked.map(({ expression, observed }) => [expression, observed]));
  });
});
