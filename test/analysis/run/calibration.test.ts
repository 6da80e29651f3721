import { describe, expect, test } from 'vitest';
import { CalibrationStatistics } from '../../../src/analysis/run/calibration.ts';
import type { Send } from '../../../src/core/run.ts';
import type { Calibration } from '../../../src/documents/replay.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { failed, refused, send } from '../../support/sends.ts';

const BOUNDS = { p50Factor: 2, statusShare: 0.02, sizeShare: 0.2 };

/** As recorded: status 200, 20 bytes, last byte after 10 ms, which is what `send` answers. */
function compare(
  sends: readonly Send[],
  recorded: Parameters<typeof exchangeRow>[0] = {},
  { bounds = BOUNDS, interrupted = false, isOverloaded = false } = {},
): Calibration {
  const statistics = new CalibrationStatistics(bounds);
  for (const _ of sends) statistics.addPlanned(exchangeRow({ lastByteOffsetUs: 10_000, ...recorded }));
  statistics.addSends(sends);
  return statistics.report(interrupted, isOverloaded);
}

const answers = (count: number, facts: Partial<Send> = {}) =>
  Array.from({ length: count }, (_, index) => send({ index, ...facts }));
/** Answers after so many milliseconds. */
const answersAfter = (count: number, ms: number) =>
  answers(count).map((each) => ({ ...each, lastByteOffsetNs: (each.actualOffsetNs ?? 0) + ms * 1e6 }));

describe('CalibrationStatistics', () => {
  test('finds nothing where the target answers as was recorded', () => {
    expect(compare(answers(100))).toEqual({
      pairs: 100,
      p50Ms: { recorded: 10, observed: 10 },
      responseBytes: { recorded: 20, observed: 20 },
      statuses: { recorded: { '200': 100 }, observed: { '200': 100 } },
      statusDistance: 0,
      bounds: BOUNDS,
      representative: true,
      differences: [],
    });
  });

  test.each([
    ['answers from a cache', answersAfter(100, 1), 'median latency 1.0 ms, recorded 10.0 ms'],
    ['is three times as slow', answersAfter(100, 30), 'median latency 30.0 ms'],
    ['turns everybody away', answers(100, { status: 401 }), '100.0 % of the answers have another status'],
    ['fails some', answers(97).concat([97, 98, 99].map((at) => failed(at))), '3.0 % of the answers'],
    [
      'answers 503 to some',
      answers(97).concat([97, 98, 99].map((index) => send({ index, status: 503 }))),
      '3.0 %',
    ],
    ['has a smaller model', answers(100, { responseBytes: 15 }), 'median response 15 B, recorded 20 B'],
    ['has a chattier model', answers(100, { responseBytes: 25 }), 'median response 25 B'],
  ])('finds a target that %s', (_, sends, difference) => {
    const { representative, differences } = compare(sends);
    expect(representative).toBe(false);
    expect(differences.join()).toContain(difference);
  });

  test('of an overload compares only what it does not change, and never says that all is alike', () => {
    const overloaded = { isOverloaded: true };
    const slow = answersAfter(100, 30).map((each, at) => (at < 40 ? { ...each, status: 503 } : each));
    expect(compare(slow).representative).toBe(false);
    expect(compare(slow, {}, overloaded)).toMatchObject({ representative: null, differences: [] });
    const other = answersAfter(100, 30).map((each) => ({ ...each, status: 404, responseBytes: 100 }));
    expect(compare(other, {}, overloaded)).toMatchObject({ representative: false });
    expect(compare(other, {}, overloaded).differences).toHaveLength(2);
  });

  test('allows what lies within the bounds, and the bounds can be set', () => {
    expect(compare(answersAfter(100, 20)).representative).toBe(true);
    expect(compare(answersAfter(100, 5)).representative).toBe(true);
    expect(compare(answers(100, { responseBytes: 24 })).representative).toBe(true);
    expect(compare(answersAfter(100, 1), {}, { bounds: { ...BOUNDS, p50Factor: 20 } }).representative).toBe(
      true,
    );
    expect(compare(answersAfter(100, 15), {}, { bounds: { ...BOUNDS, p50Factor: 1.2 } }).representative).toBe(
      false,
    );
  });

  test('a target that answers nobody has an infinite median, which JSON can hold', () => {
    const report = compare(Array.from({ length: 50 }, (_, at) => failed(at)));
    expect(report).toMatchObject({
      representative: false,
      p50Ms: { observed: 'Infinity' },
      responseBytes: { observed: null },
      statuses: { observed: { none: 50 } },
    });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  test('what was not answered while recording, or not sent by us, counts on neither side', () => {
    expect(compare(answers(100, { status: 500 }), { outcome: 'client_aborted', status: null })).toMatchObject(
      {
        pairs: 0,
        representative: null,
      },
    );
    const ours = [...answers(30), refused(30), failed(31, { error: 'stopped' })];
    expect(compare(ours, {}, { interrupted: true })).toMatchObject({ pairs: 30, representative: true });
  });

  test('what the target left open until the calibration was over was not answered', () => {
    const open = [11, 23, 35, 47, 59].map((at) => failed(at, { error: 'stopped' }));
    const kept = answers(60).filter(({ index }) => open.every((each) => each.index !== index));
    expect(compare([...kept, ...open])).toMatchObject({
      pairs: 60,
      statuses: { observed: { none: 5, '200': 55 } },
      representative: false,
      differences: ['8.3 % of the answers have another status'],
    });
    // What had less time than its recorded answer took may yet have been answered.
    expect(compare([...kept, ...open], { lastByteOffsetUs: 51_000 }).pairs).toBe(55);
    expect(compare([...kept, ...open], { lastByteOffsetUs: 50_000 }).pairs).toBe(60);
    // What never left for it says nothing of the target.
    const waiting = open.map(({ index }) => send({ index, actualOffsetNs: null, error: 'stopped' }));
    expect(compare([...kept, ...waiting])).toMatchObject({ pairs: 55, representative: true });
  });

  test('knows nothing without recorded latency, but for a difference that is there all the same', () => {
    const unknown = { lastByteOffsetUs: null };
    expect(compare(answers(100), unknown)).toMatchObject({ representative: null, p50Ms: { recorded: null } });
    expect(compare(answers(100, { status: 401 }), unknown).representative).toBe(false);
  });

  test('makes nothing of a few answers', () => {
    expect(compare(answersAfter(19, 1))).toMatchObject({ representative: null, differences: [] });
    expect(compare(answersAfter(20, 1)).representative).toBe(false);
  });
});
