import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type StatementDocument, statementSchema } from '../../src/documents/statement.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { arrivalAlone, TEST_EPOCH_US } from '../support/exchanges.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { RequestLogServer } from '../support/request-log-server.ts';
import { playedAt, searched } from '../support/searched.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SLO = ['--slo', 'latency: p(50)<1000'];

function documentOf({
  stdout,
  stderr,
}: {
  readonly stdout: string;
  readonly stderr: string;
}): StatementDocument {
  if (stdout === '') throw new Error(stderr);
  const document = JSON.parse(stdout);
  // What the schema does not name it would leave out.
  expect(statementSchema.parse(document)).toEqual(document);
  return document;
}

describe('a plan', () => {
  const capture = captureOf(requestsOf(60, 20_000_000));
  const plan = (...args: string[]) =>
    runCommand(['statement', capture, '--target', 'http://127.0.0.1:9', ...SLO, '--dry-run', ...args]);

  test('has the hardest window, for as long as it lasts in every part', async () => {
    const { status, stdout } = await plan('--json');
    const { parts, window, searchS } = JSON.parse(stdout);
    expect({ status, chosenBy: window.chosenBy, searchS }).toEqual({
      status: 0,
      chosenBy: 'hardest',
      searchS: 600,
    });
    const { lengthS } = window;
    expect(parts).toEqual(
      ['recorded', 'multiplied', 'spike'].map((part) => ({ part, lengthS, wholeS: lengthS, windowShare: 1 })),
    );
  });

  test('within a budget it is shorter, and says how much of the window it has', async () => {
    const { parts } = JSON.parse((await plan('--json', '--budget', '20m', '--window', 'hardest=15m')).stdout);
    for (const { lengthS, wholeS, windowShare } of parts) {
      expect(lengthS).toBeLessThan(wholeS);
      expect(windowShare).toBeGreaterThanOrEqual(lengthS / wholeS);
      expect(windowShare).toBeLessThanOrEqual(1);
    }
  });

  test('a budget below the sum of the least lengths is refused with the sum', async () => {
    const { status, stderr } = await plan('--budget', '20s');
    expect({
      status,
      names: /at least [\d.]+ \w+ \(1x .*, 2x .*, spike to 2x .*, search /.test(stderr),
    }).toEqual({
      status: 2,
      names: true,
    });
  });

  test('has the demand of every whole day, whichever window is replayed, and what is expected of it', async () => {
    const days = captureOf(requestsOf(21 * 2, 12 * 3_600_000_000));
    const asked = ['statement', days, '--target', 'http://127.0.0.1:9', ...SLO, '--dry-run', '--json'];
    const expected = ['--growth', '8%/month', '--event', '2027-01-15=1.4x'];
    const { demand } = JSON.parse((await runCommand([...asked, ...expected])).stdout);
    expect(demand).toMatchObject({ earlier: [], leftOut: 2, growth: 0.08 });
    expect(demand.events).toEqual([{ day: '2027-01-15', times: 1.4 }]);
    expect(demand.days).toHaveLength(20);
    for (const each of demand.days) expect(each.demand).toBeCloseTo(1, 6);
    const from = new Date(TEST_EPOCH_US / 1e3).toISOString();
    const to = new Date(TEST_EPOCH_US / 1e3 + 60_000).toISOString();
    const chosen = JSON.parse((await runCommand([...asked, '--window', `${from}..${to}`])).stdout);
    expect(chosen.demand).toMatchObject({ days: demand.days, growth: null, events: [] });
    const short = JSON.parse((await runCommand([...asked, '--window', 'hardest=10s'])).stdout);
    expect(short.demand).toEqual(chosen.demand);
  });

  test('growth and events that cannot be read are refused together', async () => {
    const { status, stderr } = await plan('--growth', '8', '--event', '2027-02-30=2x', '--event', 'soon');
    expect({
      status,
      named: ['--growth: "8"', '"2027-02-30', '"soon"'].map((each) => stderr.includes(each)),
    }).toEqual({
      status: 2,
      named: [true, true, true],
    });
  });

  test('two of a capture, --from and --verify are refused, and so is a signature without --from', async () => {
    for (const args of [
      ['statement'],
      ['statement', capture, '--from', capture],
      ['statement', '--from', capture, '--verify', capture],
      ['statement', capture, '--signed-by', 'Ada'],
      ['statement', '--from', capture],
      ['statement', '--verify', capture],
    ])
      expect(await runCommand(args)).toMatchObject({ status: 2, stdout: '' });
  });
});

test('of arrivals alone it sends nothing, and says so', async () => {
  const capture = captureOf(
    Array.from({ length: 50 }, (_, at) => arrivalAlone(TEST_EPOCH_US + at * 100_000)),
    {},
  );
  const server = await serverOf();
  const out = join(temporaryDirectory(), 'statement');
  const done = await runCommand([
    'statement',
    capture,
    '--target',
    server.url,
    ...SLO,
    '--out',
    out,
    '--json',
  ]);
  expect(done.status).toBe(4);
  const { verdict, limits, runs } = documentOf(done);
  expect({ verdict, first: limits[0]?.code, runs }).toEqual({
    verdict: 'INCONCLUSIVE',
    first: 'without_requests',
    runs: [],
  });
  expect(server.requests).toEqual([]);
});

describe('a statement of what was replayed', () => {
  const directory = join(temporaryDirectory(), 'statement');
  let server: RequestLogServer;
  let capture = '';

  beforeAll(async () => {
    server = await serverOf();
    capture = captureOf(requestsOf(400, 2_000));
    const asked = ['--target', server.url, ...SLO];
    const plan = await runCommand(['statement', capture, ...asked, '--dry-run', '--json']);
    mkdirSync(join(directory, 'search'), { recursive: true });
    writeFileSync(join(directory, 'plan.json'), plan.stdout);
    for (const [part, args] of [
      ['recorded', []],
      ['multiplied', ['--multiplier', '2']],
      ['spike', ['--stages', '100ms@1x,200ms@2x,100ms@1x']],
    ] as const) {
      const out = join(directory, part);
      await runCommand(['replay', capture, ...asked, ...args, '--out', out]);
      // Beside busy programs a run of a second may be undecided. Here it is about what is made of runs.
      const summary = join(out, 'summary.json');
      const passed = { ...JSON.parse(readFileSync(summary, 'utf8')), verdict: 'PASS', reasons: [] };
      writeFileSync(summary, JSON.stringify(passed));
    }
    const search = searched([1, 2, 3, 4, 4.5, 5, 6].map((load) => playedAt(load)));
    writeFileSync(join(directory, 'search', 'capacity.json'), JSON.stringify(search));
  });

  const from = (...args: string[]) => runCommand(['statement', '--from', directory, ...args]);
  const verify = (at = directory) => runCommand(['statement', '--verify', at]);

  test('has its runs beside production, the breaking point and the digests of its files', async () => {
    const done = await from('--json');
    const document = documentOf(done);
    expect(done.status).toBe(0);
    expect(document).toMatchObject({ verdict: 'PASS', confidence: 0.95, multiplier: 2 });
    expect(document.runs.map(({ part, verdict, multiplier }) => ({ part, verdict, multiplier }))).toEqual([
      { part: 'recorded', verdict: 'PASS', multiplier: 1 },
      { part: 'multiplied', verdict: 'PASS', multiplier: 2 },
      { part: 'spike', verdict: 'PASS', multiplier: 2 },
    ]);
    expect(document.production?.answers).toBeGreaterThan(0);
    expect(document.breakingPoint?.breakingPoint.passes?.multiplier).toBe(4.5);
    expect(document.digests.map(({ file }) => file)).toEqual([
      'plan.json',
      ...['recorded', 'multiplied', 'spike'].flatMap((part) => [
        `${part}/summary.json`,
        `${part}/run.sqlite`,
      ]),
      'search/capacity.json',
    ]);
    const sums = readFileSync(join(directory, 'SHA256SUMS'), 'utf8').trim().split('\n');
    expect(sums).toHaveLength(document.digests.length + 1);
  });

  test('says who signed it, until it is made again', async () => {
    expect(documentOf(await from('--json', '--signed-by', 'Ada')).signedBy?.name).toBe('Ada');
    expect((await verify()).stdout).toContain('Ada');
    expect(documentOf(await from('--json')).signedBy).toBeNull();
  });

  test('is written as a page and as Markdown', async () => {
    const place = temporaryDirectory();
    const [html, markdown] = [join(place, 'page.html'), join(place, 'page.md')];
    expect(await from('--html', html, '--markdown', markdown)).toMatchObject({ status: 0 });
    for (const file of [html, markdown]) expect(readFileSync(file, 'utf8')).toContain('PASS');
  });

  test('a changed, a missing and a rewritten file are named', async () => {
    await from();
    expect(await verify()).toMatchObject({ status: 0 });
    const changes: [string, (at: string) => void][] = [
      ['recorded/run.sqlite', (at) => appendFileSync(join(at, 'recorded/run.sqlite'), 'x')],
      ['search/capacity.json', (at) => rmSync(join(at, 'search/capacity.json'))],
      ['statement.json', (at) => appendFileSync(join(at, 'statement.json'), ' ')],
    ];
    for (const [file, change] of changes) {
      const copy = join(temporaryDirectory(), 'copy');
      cpSync(directory, copy, { recursive: true });
      change(copy);
      const { status, stderr } = await verify(copy);
      expect({ file, status, named: stderr.includes(file) }).toEqual({ file, status: 2, named: true });
    }
  });

  test('a verdict that its runs do not have is found although its digest is right', async () => {
    const copy = join(temporaryDirectory(), 'copy');
    cpSync(directory, copy, { recursive: true });
    const summary = join(copy, 'multiplied/summary.json');
    writeFileSync(summary, readFileSync(summary, 'utf8').replace('"verdict":"PASS"', '"verdict":"FAIL"'));
    const other = documentOf(await runCommand(['statement', '--from', copy, '--json']));
    expect(other.verdict).toBe('FAIL');
    cpSync(join(directory, 'statement.json'), join(copy, 'statement.json'));
    const digest = /\w{64}(?= {2}statement\.json)/;
    const right = digest.exec(readFileSync(join(directory, 'SHA256SUMS'), 'utf8'))?.[0] ?? '';
    const sums = join(copy, 'SHA256SUMS');
    writeFileSync(sums, readFileSync(sums, 'utf8').replace(digest, right));
    const { status, stderr } = await verify(copy);
    expect({ status, named: stderr.includes('statement.json') }).toEqual({ status: 2, named: true });
  });

  test('beside the last one of the same name in the history', async () => {
    const history = join(temporaryDirectory(), 'history.sqlite');
    const first = join(temporaryDirectory(), 'first');
    cpSync(directory, first, { recursive: true });
    const plan = join(first, 'plan.json');
    writeFileSync(plan, readFileSync(plan, 'utf8').replace(/"startedAt":\s*"\d{4}/, '"startedAt":"2020'));
    const args = ['--history', history, '--json'];
    expect(documentOf(await runCommand(['statement', '--from', first, ...args])).changed).toBeNull();
    const { changed } = documentOf(await from(...args));
    expect(changed).toMatchObject({ verdict: 'PASS' });
    expect(changed?.figures.map(({ name }) => name)).toContain('breaks_from');
  });

  test('takes growth that is set, and keeps it until another is; nothing is replayed again', async () => {
    const copy = join(temporaryDirectory(), 'copy');
    cpSync(directory, copy, { recursive: true });
    const again = async (...args: string[]) =>
      documentOf(await runCommand(['statement', '--from', copy, '--json', ...args])).headroom;
    expect(await again()).toMatchObject({
      state: 'not_known',
      lacks: 'days',
      recorded: { days: 0, needed: 14 },
    });
    const plan = JSON.parse(readFileSync(join(copy, 'plan.json'), 'utf8'));
    const days = Array.from({ length: 9 }, (_, at) => ({ day: `2026-11-0${at + 1}`, demand: 1 }));
    writeFileSync(join(copy, 'plan.json'), JSON.stringify({ ...plan, demand: { ...plan.demand, days } }));
    expect(await again()).toMatchObject({ state: 'not_known', lacks: 'days', recorded: { days: 9 } });
    const set = await again('--growth', '30%/month', '--event', '2026-12-01=2x');
    expect(set).toMatchObject({ state: 'reached', growth: { source: 'set', perMonth: 0.3 } });
    expect(await again()).toEqual(set);
    expect(await verify(copy)).toMatchObject({ status: 0 });
  });

  test('has the days that statements of the same name have put into the history', async () => {
    const history = join(temporaryDirectory(), 'history.sqlite');
    const november = join(temporaryDirectory(), 'november');
    cpSync(directory, november, { recursive: true });
    const file = join(november, 'plan.json');
    const plan = JSON.parse(readFileSync(file, 'utf8'));
    const days = [{ day: '2026-10-05', demand: 0.5 }];
    const demand = { ...plan.demand, days, perSecond: 400 };
    writeFileSync(file, JSON.stringify({ ...plan, name: 'monthly', demand }));
    const kept = ['--history', history, '--name', 'monthly'];
    await runCommand(['statement', '--from', november, ...kept]);
    const asked = ['statement', capture, '--target', server.url, ...SLO, '--dry-run', '--json'];
    const { demand: next } = JSON.parse((await runCommand([...asked, ...kept])).stdout);
    expect(next.earlier).toEqual([{ day: '2026-10-05', demand: expect.closeTo(200 / next.perSecond, 9) }]);
    const other = await runCommand([...asked, '--history', history, '--name', 'another']);
    expect(JSON.parse(other.stdout).demand.earlier).toEqual([]);
  });

  test('goes on only as it was begun, and never in a directory of other files', async () => {
    const asked = ['statement', capture, '--target', server.url, ...SLO, '--multiplier', '3'];
    expect(await runCommand([...asked, '--out', directory])).toMatchObject({ status: 2, stdout: '' });
    expect(await runCommand([...asked, '--out', capture])).toMatchObject({ status: 2, stdout: '' });
  });

  test('whose target is gone is made of what was replayed, and ends as a run that was aborted', async () => {
    const gone = await new RequestLogServer().listen();
    await gone.close();
    const copy = join(temporaryDirectory(), 'copy');
    const asked = ['statement', capture, '--target', gone.url, ...SLO];
    const plan = await runCommand([...asked, '--dry-run', '--json']);
    cpSync(join(directory, 'recorded'), join(copy, 'recorded'), { recursive: true });
    writeFileSync(join(copy, 'plan.json'), plan.stdout);
    const done = await runCommand([...asked, '--out', copy, '--json']);
    expect(done.status).toBe(5);
    const { verdict, limits } = documentOf(done);
    expect({ verdict, first: limits[0]?.code }).toEqual({ verdict: 'INCONCLUSIVE', first: 'part_missing' });
  });

  test('that lacks time for its search goes on with a larger budget, and repeats no run', async () => {
    const copy = join(temporaryDirectory(), 'copy');
    cpSync(directory, copy, { recursive: true });
    const file = join(copy, 'search', 'capacity.json');
    const search = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify({ ...search, endedBy: 'budget', budgetS: 60 }));
    const plan = join(copy, 'plan.json');
    writeFileSync(plan, JSON.stringify({ ...JSON.parse(readFileSync(plan, 'utf8')), searchS: 60 }));
    // The search of this directory has no state that could go on, so its error shows that it was called.
    const done = await runCommand([
      ...['statement', capture, '--target', server.url, ...SLO, '--out', copy, '--json'],
    ]);
    expect({ status: done.status, isCalled: done.stderr.includes('no search that could go on') }).toEqual({
      status: 2,
      isCalled: true,
    });
    expect(JSON.parse(readFileSync(plan, 'utf8')).searchS).toBeGreaterThan(60);
    expect(documentOf(done).runs.map((run) => run.directory)).toEqual(['recorded', 'multiplied', 'spike']);
  });

  test('that is complete sends nothing more', async () => {
    const before = server.requests.length;
    const plan = JSON.parse(readFileSync(join(directory, 'plan.json'), 'utf8'));
    const asked = ['statement', capture, '--target', server.url, ...SLO, '--out', directory, '--json'];
    const document = documentOf(await runCommand(asked));
    expect(document).toMatchObject({ verdict: 'PASS', startedAt: plan.startedAt });
    expect(server.requests).toHaveLength(before);
  });
});
