import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { type RankedWindowsDocument, rankedWindowsSchema } from '../../src/documents/ranked-windows.ts';
import { captureOf, newCapture } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, partOfBody, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { queueLatencies, SERVICE_TIMES, uniform } from '../support/queue-simulator.ts';
import { fixtureData } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const QUARTER_US = 900e6;

/** Requests that two executors answered, with so many in each quarter of an hour. */
function answered(quarters: readonly number[], target = '/v1/chat/completions'): Exchange[] {
  const random = uniform(3);
  const offsets = quarters.flatMap((count, quarter) =>
    Array.from({ length: count }, () => (quarter + random()) * 900).sort((a, b) => a - b),
  );
  const latencies = queueLatencies(
    Float64Array.from(offsets),
    2,
    () => SERVICE_TIMES.exponential(random) * 4,
  );
  return offsets.map((offsetS, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + Math.round(offsetS * 1e6),
      request: requestMessage({ target }),
      route: `POST ${target}`,
      firstByteOffsetUs: Math.round(latencies[at]! * 1e6),
      lastByteOffsetUs: Math.round(latencies[at]! * 1e6),
    }),
  );
}

async function windows(...args: string[]): Promise<RankedWindowsDocument> {
  const done = await runCommand(['windows', ...args, '--json']);
  expect(done, done.stderr).toMatchObject({ status: 0, stderr: '' });
  const document = JSON.parse(done.stdout) as RankedWindowsDocument;
  // What the schema does not name it would leave out.
  expect(rankedWindowsSchema.parse(document)).toEqual(document);
  return document;
}

const quarterAt = (quarter: number) => TEST_EPOCH_US + quarter * QUARTER_US;
const usOf = (instant: string) => Date.parse(instant) * 1e3;

describe('the hardest window', () => {
  const hard = 5;
  let capture = '';
  let whole: RankedWindowsDocument;

  beforeAll(async () => {
    capture = captureOf(answered(Array.from({ length: 12 }, (_, at) => (at === hard ? 300 : 120))));
    whole = await windows(capture);
  });

  test('is where requests would wait longest, with the server that answered them', () => {
    expect(whole.windows.map(({ chosenFor }) => chosenFor)).toEqual(whole.windows.map(() => 'hardness'));
    expect(whole.windows[0]).toMatchObject({ requests: 300, harderThan: 11 / 12 });
    expect(usOf(whole.windows[0]!.from)).toBe(quarterAt(hard));
    expect(usOf(whole.windows[0]!.to)).toBe(quarterAt(hard + 1));
    expect(whole).toMatchObject({ compared: 12, empty: 0, isMonth: false, server: { executors: 2 } });
  });

  test('is the one that replay, export, capacity and run take', async () => {
    const [window] = whole.windows;
    const target = ['--target', 'http://127.0.0.1:9'];
    const slo = ['--slo', 'latency: p(95)<60s'];
    const replayed = await runCommand([
      ...['replay', capture, ...target, '--dry-run', '--json', '--window', 'hardest'],
    ]);
    const plan = JSON.parse(replayed.stdout) as {
      windowSearch: object;
      windows: { from: string; to: string; exchanges: number }[];
    };
    expect(plan.windowSearch).toMatchObject({ kind: 'hardest', exchanges: 300 });
    expect(plan.windows).toMatchObject([{ exchanges: 300 }]);
    expect(usOf(plan.windows[0]!.from)).toBe(usOf(window!.from));
    expect(Date.parse(plan.windows[0]!.to)).toBeLessThan(Date.parse(window!.to));

    const out = join(temporaryDirectory(), 'vegeta.json');
    const exported = await runCommand([
      ...['export', 'vegeta', capture, ...target, '--out', out, '--window', 'hardest'],
    ]);
    expect(exported, exported.stderr).toMatchObject({ status: 0 });
    expect(readFileSync(out, 'utf8').trimEnd().split('\n')).toHaveLength(300);

    const searched = await runCommand([
      ...[
        'capacity',
        capture,
        ...target,
        ...slo,
        '--budget',
        '4h',
        '--dry-run',
        '--json',
        '--window',
        'hardest',
      ],
    ]);
    const search = JSON.parse(searched.stdout) as { window: { from: string }; ratePerSecond: number };
    expect(usOf(search.window.from)).toBe(usOf(window!.from));
    expect(search.ratePerSecond).toBeCloseTo(300 / 900, 2);

    const run = await runCommand([
      ...['run', '--preset', 'spike', capture, ...target, '--set', 'window=hardest'],
      ...['--set', 'check=false', '--set', 'compare-at-1x=false', '--dry-run'],
    ]);
    expect(run.stdout + run.stderr).toContain('hardest');
  });

  test('is searched within a day or a range, and with another length', async () => {
    const range = `${new Date(quarterAt(8) / 1e3).toISOString()}..`;
    const late = await windows(capture, '--window', range, '--length', '5m');
    expect(late.lengthS).toBe(300);
    expect(usOf(late.from)).toBeGreaterThanOrEqual(quarterAt(8));
    expect(late.compared).toBe(12);
    const done = await runCommand([
      ...['replay', capture, '--dry-run', '--json', '--window', `${range},hardest=5m`],
    ]);
    const { windows: planned } = JSON.parse(done.stdout) as { windows: { from: string }[] };
    expect(usOf(planned[0]!.from)).toBe(usOf(late.windows[0]!.from));
  });

  test('is printed with what it stands for, and drawn as a page', async () => {
    const html = join(temporaryDirectory(), 'windows.html');
    const { stdout, status } = await runCommand(['windows', capture, '--html', html, '--tz', 'Asia/Tokyo']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/The hardest: .*harder than 91\.7 % of 12 windows of 15 min/);
    expect(stdout).toContain(`--window ${whole.windows[0]!.from}..${whole.windows[0]!.to}`);
    expect(stdout).toContain('less than the 14 days');
    const page = readFileSync(html, 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).toContain('Hardest windows');
  });
});

describe('a capture that cannot show all', () => {
  test('of half a fleet says that recorders are missing, and its coverage', async () => {
    const capture = captureOf(answered([50, 60, 50]), { fleetSize: 2 });
    const document = await windows(capture);
    expect(document.recordersMissing).toBe(1);
    expect(document.coverage).toBeLessThan(0.6);
    const { stdout } = await runCommand(['windows', capture]);
    expect(stdout).toContain('1 recorder of the fleet');
  });

  test('of arrivals alone is ranked without a server', async () => {
    const out = join(temporaryDirectory(), 'azure');
    const trace = fixtureData('azure-llm-2023-conv/AzureLLMInferenceTrace_conv.csv.gz');
    expect(
      await runCommand(['import', 'arrivals', trace, '--time', 'TIMESTAMP', '--out', out]),
    ).toMatchObject({ status: 0 });
    const document = await windows(out, '--length', '1m');
    expect(document).toMatchObject({ unstored: 19_366, server: null, coverage: null });
    expect(document.hardest.map(({ dimension }) => dimension)).toEqual([
      ...['requests', 'burst', 'promptTokens', 'outputTokens'],
    ]);
  });

  test('without bodies says that nothing can be sent', async () => {
    const body = partOfBody(Buffer.from('{}'), null);
    const bare = answered([40, 60]).map((each) => ({ ...each, request: { ...requestMessage(), body } }));
    const capture = captureOf(bare);
    expect(await windows(capture)).toMatchObject({ requests: 100, unstored: 100 });
    const { stdout } = await runCommand(['windows', capture]);
    expect(stdout).toMatch(/To plan the hardest: .* --dry-run\n/);
  });

  test('without an exchange is an error', async () => {
    expect(await runCommand(['windows', captureOf([])])).toMatchObject({ status: 2, stdout: '' });
    expect(await runCommand(['windows', newCapture()])).toMatchObject({ status: 2, stdout: '' });
  });

  test('with one exchange has one window', async () => {
    const document = await windows(captureOf([exchangeOf()]));
    expect(document).toMatchObject({ compared: 1, requests: 1, windows: [{ harderThan: 0, requests: 1 }] });
  });
});

describe('a recording shorter than one window', () => {
  const lengthS = 170;
  const count = 2_462;
  // It begins 10 min 55 s after the begin of a window, so that windows of a minute are recorded in part as well.
  const beginUs = TEST_EPOCH_US - (TEST_EPOCH_US % QUARTER_US) + 655e6;
  const lastUs = beginUs + (lengthS * 1e6 * (count - 1)) / count;
  const capture = () =>
    captureOf(
      Array.from({ length: count }, (_, at) =>
        exchangeOf({ arrivalUs: Math.round(beginUs + (lengthS * 1e6 * at) / count) }),
      ),
    );

  test('is not printed as 15 minutes of traffic at the rate of 15 minutes', async () => {
    const directory = capture();
    const document = await windows(directory);
    expect(usOf(document.from)).toBeCloseTo(beginUs, -4);
    expect(usOf(document.to)).toBeCloseTo(lastUs, -4);
    expect(document.days * 86_400).toBeCloseTo(lengthS, 0);
    expect(document.windows).toMatchObject([{ from: document.from, to: document.to, requests: count }]);
    const requests = document.hardest.findIndex(({ dimension }) => dimension === 'requests');
    expect(document.windows[0]!.values[requests]).toBeCloseTo(count / lengthS, 1);
    const { stdout } = await runCommand(['windows', directory]);
    expect(stdout).toContain('--length 1m');
    expect(stdout).not.toMatch(/harder than \d|15\.0 min/);
  });

  test('has the rate of what was recorded of each shorter window', async () => {
    const document = await windows(capture(), '--length', '1m');
    // 5 s, two whole minutes, 45 s.
    expect(document.compared).toBe(4);
    expect(document.days * 86_400).toBeCloseTo(lengthS, 0);
    const requests = document.hardest.findIndex(({ dimension }) => dimension === 'requests');
    const rates = document.windows.map(({ values }) => values[requests]!).sort((a, b) => a - b);
    // The few requests of 5 s are counted as of 10 s.
    expect(rates[0]).toBeCloseTo(count / lengthS / 2, 0);
    for (const rate of rates.slice(1)) expect(rate).toBeCloseTo(count / lengthS, 0);
  });
});

test.each([
  ['no length', ['--length', '0']],
  ['a length of half a second', ['--length', '0.5s']],
  ['a search of one window', ['--window', 'peak=15m']],
  ['the hardest of the hardest', ['--window', 'hardest']],
  ['an unknown zone', ['--tz', 'Mars/Olympus']],
  ['a multiplier of nothing', ['--multiplier', '0']],
  ['a page in place of a capture', ['--html', 'x.sqlite']],
])('refuses %s', async (_, args) => {
  const capture = captureOf([exchangeOf()]);
  const { status, stdout, stderr } = await runCommand(['windows', capture, ...args]);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toMatch(new RegExp(`${args[0]}|hint`));
});

test('refuses more windows than are ranked', async () => {
  const far = 86_400e6 * 365;
  const capture = captureOf([exchangeOf(), exchangeOf({ arrivalUs: TEST_EPOCH_US + far })]);
  const { status, stderr } = await runCommand(['windows', capture, '--length', '1m']);
  expect(status).toBe(2);
  expect(stderr).toContain('windows of 60.0 s are more than');
});

test('two searches of a window are refused', async () => {
  const { status, stderr } = await runCommand([
    ...['replay', captureOf([exchangeOf()]), '--dry-run', '--window', 'hardest', '--window', 'peak=1m'],
  ]);
  expect(status).toBe(2);
  expect(stderr).toContain('--window');
});
