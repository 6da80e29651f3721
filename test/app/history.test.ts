import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runView } from '../../src/analysis/report/view.ts';
import { ciReportOfRun } from '../../src/analysis/verdict/ci-report.ts';
import { keepInHistory, lastPassOf, readHistory } from '../../src/app/history.ts';
import { runCommand } from '../support/command-here.ts';
import { storedRun, summaryOf } from '../support/reported-runs.ts';
import { good } from '../support/run-contexts.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SENDS = good(200);
const history = join(temporaryDirectory(), 'history.sqlite');

/** Keeps a run with this id, which passes or fails. @returns its directory */
function kept(id: string, limit: string | null, at: number): string {
  const slo = limit === null ? [] : [`latency: p(95)<${limit}`];
  const startedAtUs = 1.794e15 + at * 1e6;
  const facts = { slo, run: { id, startedAtUs, endedAtUs: startedAtUs + 1e6, options: { name: 'nightly' } } };
  const directory = storedRun(SENDS, facts);
  const summary = summaryOf(SENDS, facts);
  const retain = { kind: 'count', runs: 10 } as const;
  const told = keepInHistory(ciReportOfRun(summary, runView(summary)), directory, {
    history: { file: history, retain },
  });
  expect(told).toEqual([`kept in ${history} as "nightly"`]);
  return directory;
}

test('a run is compared with the last one before it that has a PASS, and with none that was not judged', async () => {
  const passed = kept('a', '60s', 1);
  const failed = kept('b', '0.001', 2);
  kept('unjudged', null, 3);
  const now = kept('c', '60s', 4);
  expect(lastPassOf(now, history)).toBe(passed);
  expect(lastPassOf(failed, history)).toBe(passed);
  expect(() => lastPassOf(passed, history)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }));
  const { status, stdout } = await runCommand([
    ...['compare', now, '--baseline', 'last-pass', '--history', history, '--json'],
  ]);
  expect({ status, a: JSON.parse(stdout).a.run, b: JSON.parse(stdout).b.run }).toEqual({
    status: 4,
    a: 'a',
    b: 'c',
  });
  const document = readHistory(history, { name: 'nightly' });
  expect(document.tests[0]?.runs.map(({ run, verdict }) => [run, verdict])).toEqual([
    ['a', 'PASS'],
    ['b', 'FAIL'],
    ['unjudged', null],
    ['c', 'PASS'],
  ]);
  const latency = document.tests[0]?.metrics.find(({ name }) => name === 'latency_p95');
  expect(latency?.limits).toEqual([60_000, 0.001, null, 60_000]);
  const failures = document.tests[0]?.metrics.find(({ name }) => name === 'failed');
  expect(failures?.limits).toEqual([0.01, 0.01, null, 0.01]);
  expect(() => readHistory(history, { name: 'other' })).toThrow(
    expect.objectContaining({ code: 'INPUT_INVALID' }),
  );
  rmSync(passed, { recursive: true });
  expect(() => lastPassOf(now, history)).toThrow(/is gone from/);
});

test('a comparison needs two sides, or a history that has one', async () => {
  for (const args of [
    ['a'],
    ['a', '--baseline', 'last-pass'],
    ['a', 'b', '--baseline', 'last-pass', '--history', 'h'],
  ]) {
    expect((await runCommand(['compare', ...args])).status).toBe(2);
  }
});
