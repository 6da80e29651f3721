import { utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Summaries that k6 1.8.1 wrote of a script with three thresholds, one of which failed. */
const summaryOf = (form: string) => join(import.meta.dirname, '..', 'fixtures', 'k6', `${form}.json`);
const added = async (file: string, history: string, name = 'checkout') => {
  const { status, stdout, stderr } = await runCommand([
    'history',
    history,
    '--add-k6',
    file,
    '--name',
    name,
    '--json',
  ]);
  return { status, stderr, test: status === 0 ? JSON.parse(stdout).tests[0] : null };
};

test.each([
  ['handle-summary', 'failed', 'k6', expect.closeTo(0.1659, 3)],
  ['summary-export', 'failed', 'k6', expect.closeTo(0.1256, 3)],
  ['machine-readable', 'undecided', 'k6 1.8.1', expect.closeTo(0.0172, 4)],
])('%s of k6 is a run of the test, and once only', async (form, result, version, durationS) => {
  const history = join(temporaryDirectory(), 'history.sqlite');
  await added(summaryOf(form), history);
  const { test: found } = await added(summaryOf(form), history);
  expect(found).toMatchObject({
    test: 'checkout',
    runs: [{ command: 'k6', result, version, verdict: null, durationS }],
  });
  const values = Object.fromEntries(
    found.metrics.map(({ name, values: [value] }: { name: string; values: number[] }) => [name, value]),
  );
  expect(values).toMatchObject({
    sent: 20,
    failed: 0,
    service_p50: expect.any(Number),
    service_p95: expect.any(Number),
  });
  // It kept no p99, and no latency from a planned instant.
  expect(Object.keys(values)).not.toContain('service_p99');
  expect(Object.keys(values)).not.toContain('latency_p95');
});

test('a k6 test passed where no threshold failed, and ended when its file was written', async () => {
  const directory = temporaryDirectory();
  const file = join(directory, 'summary.json');
  const metrics = {
    http_reqs: { count: 30, rate: 3 },
    http_req_failed: { value: 0.1, thresholds: { 'rate<0.5': false } },
  };
  writeFileSync(file, JSON.stringify({ metrics }));
  utimesSync(file, 1_794_000_010, 1_794_000_010);
  const { test: found } = await added(file, join(directory, 'history.sqlite'));
  expect(found.runs).toMatchObject([
    { result: 'passed', startedAt: new Date(1_794_000_000_000).toISOString(), durationS: 10 },
  ]);
});

test('a k6 summary is a run of each test that it is added to', async () => {
  const history = join(temporaryDirectory(), 'history.sqlite');
  for (const name of ['checkout', 'search']) await added(summaryOf('handle-summary'), history, name);
  const { stdout } = await runCommand(['history', history, '--json']);
  const tests: { test: string; runs: object[] }[] = JSON.parse(stdout).tests;
  expect(tests.map(({ test: name, runs }) => [name, runs.length])).toEqual([
    ['checkout', 1],
    ['search', 1],
  ]);
});

test.each([
  ['[]', 'no summary'],
  ['{"metrics":{}}', 'neither a duration'],
  ['no JSON', 'JSON'],
  ['{"metrics":{},"state":{"testRunDurationMs":-1e30}}', 'a duration of -1e+27 s'],
  ['{"metrics":{},"state":{"testRunDurationMs":1e30}}', 'a duration of 1e+27 s'],
  ['{"metrics":{"http_reqs":{"count":-5,"rate":1}}}', 'a duration of -5 s'],
])('%s is refused', async (text, reason) => {
  const directory = temporaryDirectory();
  const file = join(directory, 'summary.json');
  writeFileSync(file, text);
  const { status, stderr } = await added(file, join(directory, 'history.sqlite'));
  expect(status).toBe(2);
  expect(stderr).toContain(reason);
});

test('--add-k6 without the name of a test is refused', async () => {
  expect((await runCommand(['history', 'h.sqlite', '--add-k6', summaryOf('summary-export')])).status).toBe(2);
});
