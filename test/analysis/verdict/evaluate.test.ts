import { expect, test } from 'vitest';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { evaluateObjectives, objectivesSoFar } from '../../../src/analysis/verdict/evaluate.ts';
import { mismatch } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { send } from '../../support/sends.ts';

/** One of a hundred still waited for its recorded connection when the drain was over. */
function figures() {
  const statistics = new RunStatistics();
  const sends = Array.from({ length: 99 }, (_, index) => send({ index }));
  statistics.addSends([...sends, send({ index: 99, actualOffsetNs: null, error: 'stopped' })]);
  return statistics.figures();
}

test('what never left in a run that came to its end is infinitely slow', () => {
  const [slowest] = evaluateObjectives(parseObjectives(['latency: max<1000']), figures(), false);
  expect(slowest).toMatchObject({ ok: false, observed: Number.POSITIVE_INFINITY, brokenBy: 'unsent' });
});

test('what never left because we ended the run is nobody’s failure', () => {
  const [slowest] = evaluateObjectives(parseObjectives(['latency: max<1000']), figures(), true);
  expect(slowest).toMatchObject({ ok: true });
});

test('requests whose clients gave up make no share of errors smaller', () => {
  const statistics = new RunStatistics();
  const given = Array.from({ length: 8 }, (_, index) => send({ index, cancelled: true, status: null }));
  statistics.addSends([...given, send({ index: 8, status: 500 }), send({ index: 9 })]);
  const [errors] = evaluateObjectives(parseObjectives(['errors: rate<0.2']), statistics.figures(), false);
  expect(errors).toMatchObject({ ok: false, observed: 0.5 });
});

test('a run that is not over stands where its verdict would; what only its end decides is not known', () => {
  const statistics = new RunStatistics();
  const took = { intendedOffsetNs: 0, actualOffsetNs: 0, lastByteOffsetNs: 40e6 };
  statistics.addSends([send({ index: 0, ...took }), send({ index: 1, status: 500 })]);
  const objectives = [
    'latency: p(50)<50, p(99)<50',
    'errors: rate<0.6',
    'achieved: rate>0.9',
    'makespan: <4h',
    'mismatch: rate<0.1',
  ];
  expect(objectivesSoFar(parseObjectives(objectives), statistics.soFar())).toMatchObject([
    { objective: { expression: 'latency: p(50)<50' }, observed: 40, ok: true },
    { objective: { expression: 'latency: p(99)<50' }, observed: Number.POSITIVE_INFINITY, ok: false },
    { objective: { expression: 'errors: rate<0.6' }, observed: 0.5, ok: true },
    { objective: { expression: 'achieved: rate>0.9' }, observed: null, ok: null },
    { objective: { expression: 'makespan: <4h' }, observed: null, ok: null },
    { objective: { expression: 'mismatch: rate<0.1' }, observed: null, ok: null },
    { objective: { expression: 'rejected: rate<0.01', isImplied: true }, observed: 0, ok: true },
  ]);
  statistics.addChecks([{ ...send({ index: 0 }), check: mismatch('values') }]);
  expect(objectivesSoFar(parseObjectives(['mismatch: rate<0.1']), statistics.soFar())[0]).toMatchObject({
    observed: 1,
    ok: false,
  });
});

test('a part of the requests stands in a run that is not over, each part where an objective names all', () => {
  const objectives = parseObjectives(['latency{*model}: p(50)<50']);
  const statistics = new RunStatistics(0, null, { objectives, stageEndsNs: [] });
  const took = { intendedOffsetNs: 0, actualOffsetNs: 0 };
  statistics.addSends([
    send({ index: 0, ...took, lastByteOffsetNs: 40e6, model: 'a' }),
    send({ index: 1, ...took, lastByteOffsetNs: 60e6, model: 'b' }),
  ]);
  expect(objectivesSoFar(objectives, statistics.soFar()).slice(0, 2)).toMatchObject([
    { objective: { expression: 'latency{model=a}: p(50)<50' }, observed: 40, ok: true },
    { objective: { expression: 'latency{model=b}: p(50)<50' }, observed: 60, ok: false },
  ]);
});
