import { describe, expect, test } from 'vitest';
import { AppError } from '../../../src/core/errors.ts';
import { OBJECTIVE_PRESETS, parseObjectives } from '../../../src/documents/metrics/objectives.ts';

const errorsRate = { metric: 'errors', aggregation: { kind: 'rate' }, operator: '<', limit: 0.01 };

function problemOf(...texts: string[]): AppError {
  try {
    parseObjectives(texts);
  } catch (error) {
    expect(error).toBeInstanceOf(AppError);
    return error as AppError;
  }
  throw new Error(`${texts.join(' ')} was accepted`);
}

describe('parseObjectives', () => {
  test.each([
    ['latency: p(99)<200', 'latency', { kind: 'percentile', percent: 99 }, '<', 200],
    ['latency:p(99.9) <= 1.5s', 'latency', { kind: 'percentile', percent: 99.9 }, '<=', 1_500],
    ['service: avg < 20ms', 'service', { kind: 'avg' }, '<', 20],
    ['service: med<500us', 'service', { kind: 'percentile', percent: 50 }, '<', 0.5],
    ['latency: max<3', 'latency', { kind: 'max' }, '<', 3],
    ['latency: min>0.25', 'latency', { kind: 'min' }, '>', 0.25],
    ['errors: rate<0.001', 'errors', { kind: 'rate' }, '<', 0.001],
    ['errors: rate<=0.5%', 'errors', { kind: 'rate' }, '<=', 0.005],
    ['errors: count<10', 'errors', { kind: 'count' }, '<', 10],
    ['achieved: rate>=0.995', 'achieved', { kind: 'rate' }, '>=', 0.995],
    ['makespan: <4h', 'makespan', { kind: 'total' }, '<', 14_400_000],
  ])('reads %s', (text, metric, aggregation, operator, limit) => {
    expect(parseObjectives([text])[0]).toMatchObject({ metric, aggregation, operator, limit });
  });

  test('reads several from one text and from several, a metric holding until the next', () => {
    const expressions = (texts: string[]) => parseObjectives(texts).map(({ expression }) => expression);
    const all = ['latency: p(50)<50', 'latency: p(99)<200', 'errors: rate<0.001'];
    expect(expressions(['latency: p(50)<50, p(99)<200; errors: rate<0.001'])).toEqual(all);
    expect(expressions(['latency: p(50) < 50; latency: p(99)<200,errors: rate<0.001'])).toEqual(all);
    expect(expressions(['latency:p(50)<50', 'latency:p(99)<200;', 'errors:rate<0.001'])).toEqual(all);
  });

  test('adds a bound on errors where none is stated', () => {
    expect(parseObjectives(['latency: p(99)<200'])).toMatchObject([{ metric: 'latency' }, errorsRate]);
    expect(parseObjectives(['errors: count<5'])).toHaveLength(1);
    expect(parseObjectives([])).toEqual([]);
  });

  test('knows presets, alone and beside other objectives', () => {
    expect(parseObjectives(['realtime'])).toMatchObject([
      { expression: 'latency: p(50)<50' },
      { expression: 'latency: p(99)<200' },
      errorsRate,
    ]);
    expect(parseObjectives(['fraud; errors: rate<0.001'])).toMatchObject([
      { expression: 'latency: p(99)<50' },
      { metric: 'errors', limit: 0.001 },
    ]);
    expect(parseObjectives(['batch'])[0]).toMatchObject({ metric: 'makespan', limit: 14_400_000 });
    expect(Object.keys(OBJECTIVE_PRESETS)).toEqual(['realtime', 'recommendation', 'fraud', 'chat', 'batch']);
  });

  test.each([
    ['latency p(99)<200', 'names no metric'],
    ['speed: p(99)<200', 'unknown metric speed'],
    ['latency: p99<200', 'write p(99)'],
    ['latency: p(99)>200', 'asks for more latency than 200: write <200'],
    ['ttft: avg>=1s', 'asks for a later first token than 1s: write <=1s'],
    ['errors: rate>1%', 'asks for more errors than 1%: write <1%'],
    ['achieved: rate<0.99', 'asks for less to be sent: write >0.99'],
    ['makespan: >4h', 'asks for a longer run'],
    ['latency: p(0)<200', 'outside 0 to 100'],
    ['latency: p(100)<200', 'outside 0 to 100'],
    ['latency: rate<200', 'not rate'],
    ['latency: <200', 'not nothing'],
    ['latency: p(99)=200', 'no comparison'],
    ['latency: p(99)<', 'no comparison'],
    ['latency: p(99)==200', 'no comparison'],
    ['latency: p(99)<-3', 'no time'],
    ['latency: p(99)<fast', 'no time'],
    ['latency: p(99)<20parsecs', 'no time'],
    ['errors: rate<5', 'no share'],
    ['errors: p(99)<5', 'takes rate, count'],
    ['errors: count<1%', 'no count'],
    ['makespan: p(50)<4h', 'plain limit'],
    ['slowish', 'no preset'],
    [' ; , ', 'states no objective'],
  ])('refuses %j, says why and shows the way out', (text, reason) => {
    const problem = problemOf(text);
    expect(problem.code).toBe('OPTION_INVALID');
    expect(problem.message).toContain(reason);
    expect(problem.hint).toContain('latency: p(99)<200');
  });

  test.each([['latency: p(99) < baseline * 1.10', 'relative to a baseline']])(
    'refuses %j at the start, because passing what is not measured would be a lie',
    (text, reason) => {
      expect(problemOf(text).message).toContain(reason);
    },
  );

  test('names every unusable expression at once', () => {
    const { message } = problemOf('latency: p99<200; errors: rate<3', 'nonsense');
    expect(message).toContain('p99<200');
    expect(message).toContain('rate<3');
    expect(message).toContain('nonsense');
  });
});
