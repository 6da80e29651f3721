import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runView } from '../../src/analysis/report/view.ts';
import { ciReportOfRun } from '../../src/analysis/verdict/ci-report.ts';
import { deliverVerdict } from '../../src/app/verdict/delivery.ts';
import { makeReady } from '../../src/app/verdict/options.ts';
import { runCommand } from '../support/command-here.ts';
import { summaryOf } from '../support/reported-runs.ts';
import { good } from '../support/run-contexts.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const GREEN = '<testsuites failures="0"/>';
function yesterdays(): string {
  const file = join(temporaryDirectory(), 'verdict.xml');
  writeFileSync(file, GREEN);
  return file;
}

test.each([
  ['replay', ['no-capture', '--target', 'http://127.0.0.1:9']],
  ['report', ['no-run']],
  ['compare', ['no-run', 'no-other']],
])('%s that comes to no verdict leaves no file of an earlier one', async (command, args) => {
  const file = yesterdays();
  const { status } = await runCommand([command, ...args, '--ci-report', `junit=${file}`]);
  expect({ status, isThere: existsSync(file) }).toEqual({ status: 2, isThere: false });
});

test('a dry run leaves the files of a verdict alone, and what is no file is refused at once', async () => {
  const file = yesterdays();
  await runCommand(['replay', 'no-capture', '--dry-run', '--ci-report', `junit=${file}`]);
  expect(readFileSync(file, 'utf8')).toBe(GREEN);
  const ciReport = [{ form: 'junit', file: temporaryDirectory() }] as const;
  expect(() => makeReady({ ciReport, history: null })).toThrow(
    expect.objectContaining({ code: 'OUTPUT_UNWRITABLE' }),
  );
});

test('a history that cannot be written to costs a pipeline no verdict', () => {
  const folder = temporaryDirectory();
  const [file, history] = [join(folder, 'verdict.xml'), join(folder, 'history.sqlite')];
  mkdirSync(history);
  const summary = summaryOf(good(20), { slo: ['latency: p(50)<60s'] });
  const request = {
    name: null,
    history: { file: history, retain: { kind: 'count', runs: 10 } as const },
    ciReport: [{ form: 'junit', file } as const],
  };
  expect(() => deliverVerdict(ciReportOfRun(summary, runView(summary)), folder, request)).toThrow();
  expect(readFileSync(file, 'utf8')).toContain('<testsuites');
});
