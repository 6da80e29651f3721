import { describe, expect, test } from 'vitest';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../src/app/compare.ts';
import { byProgram } from '../../src/core/options.ts';
import type { Send } from '../../src/core/run.ts';
import { calmSends, comparedRun } from '../support/compared-runs.ts';

const COUNT = 900;
const DEFAULTS = resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}));
const ALLOWING = resolveCompareOptions(byProgram(COMPARE_OPTIONS, { allowDifferences: true }));

describe('the facts that two runs must have in common', () => {
  test('refuses runs whose facts differ, naming them, and marks them where that is allowed', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const one = comparedRun(a);
    const other = comparedRun(b, { run: { options: { multiplier: 2, targetShare: 0.1 } } });
    await expect(compareNamed(one, other, DEFAULTS)).rejects.toThrow(
      /multiplier: 1\.5 \| 2\n.*targetShare: null \| 0\.1/,
    );
    const document = await compareNamed(one, other, ALLOWING);
    expect(document.verdict).toBe('SAME');
    expect(document.differences.map(({ fact }) => fact)).toEqual(['multiplier', 'targetShare']);
    expect(document.notes.filter(({ code }) => code === 'facts_differ')).toHaveLength(2);
  });

  test('refuses runs that waited for answers, refused or ordered sessions differently', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const own = {
      multiplier: 1.5,
      sessionOrder: 'open',
      timeoutMs: 300_000,
      maxRatePerSecond: null,
    };
    const one = comparedRun(a, { run: { options: own } });
    const others = {
      ...own,
      sessionOrder: 'partly-open',
      timeoutMs: 500,
      maxRatePerSecond: 10,
    };
    await expect(compareNamed(one, comparedRun(b, { run: { options: others } }), DEFAULTS)).rejects.toThrow(
      /sessionOrder: open \| partly-open\n.*timeoutMs: 300000 \| 500\n.*maxRatePerSecond: null \| 10/,
    );
    // What is still open at the end failed, so how long that is waited for decides as well.
    const hasty = comparedRun(b, { run: { options: { ...own, drainDeadlineMs: 0 } } });
    const patient = comparedRun(a, { run: { options: { ...own, drainDeadlineMs: 30_000 } } });
    await expect(compareNamed(patient, hasty, DEFAULTS)).rejects.toThrow('drainDeadlineMs: 30000 | 0');
  });

  test('refuses runs that named another host, or set other headers on every request', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const runOf = (sends: readonly Send[], options: object) =>
      comparedRun(sends, { run: { options: { multiplier: 1.5, ...options } } });
    const one = runOf(a, { host: 'target', addedHeaders: ['X-Model', 'authorization'] });
    const other = runOf(b, { host: 'models.internal', addedHeaders: ['Authorization'] });
    await expect(compareNamed(one, other, DEFAULTS)).rejects.toThrow(
      /host: target \| models\.internal\n.*addedHeaders: \["authorization","x-model"\] \| \["authorization"\]/,
    );
    const alike = runOf(b, { host: 'target', addedHeaders: ['Authorization', 'x-model'] });
    expect((await compareNamed(one, alike, DEFAULTS)).verdict).toBe('SAME');
  });

  test('refuses runs that handled values of the server differently', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const runOf = (sends: readonly Send[], liveValues: object | null) =>
      comparedRun(sends, { run: { options: { multiplier: 1.5, liveValues } } });
    const live = { onDivergence: 'recorded', affinity: [] };
    for (const other of [null, { ...live, onDivergence: 'skip' }, { ...live, affinity: ['x-shard'] }]) {
      await expect(compareNamed(runOf(a, live), runOf(b, other), DEFAULTS)).rejects.toThrow('liveValues: ');
      const document = await compareNamed(runOf(a, live), runOf(b, other), ALLOWING);
      expect(document.differences.map(({ fact }) => fact)).toEqual(['liveValues']);
    }
    expect((await compareNamed(runOf(a, live), runOf(b, live), DEFAULTS)).differences).toEqual([]);
  });

  test('compares runs of one capture that was named differently, or lay elsewhere', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const one = comparedRun(a, { run: { capture: './captures/monday/' } });
    const other = comparedRun(b, { run: { capture: '/builds/124/captures/monday' } });
    expect((await compareNamed(one, other, DEFAULTS)).differences).toEqual([]);
    const tuesday = comparedRun(b, { run: { capture: 'captures/tuesday' } });
    await expect(compareNamed(one, tuesday, DEFAULTS)).rejects.toThrow('capture: monday | tuesday');
  });

  test('refuses runs of other requests', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const others = b.map((each) => ({ ...each, exchangeId: each.exchangeId + 500 }));
    await expect(compareNamed(comparedRun(a), comparedRun(others), DEFAULTS)).rejects.toThrow(
      'requests are on this side only',
    );
  });
});
