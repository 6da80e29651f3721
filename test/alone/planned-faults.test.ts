import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { startRelay } from '../support/fault-relay.ts';
import { startProcess, startReprise } from '../support/process.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** How long the model server refuses calls after its dependency failed. */
const OPEN_MS = 2_000;
const BODY = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}';

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

/** A model server that asks an HTTP dependency behind a relay for each call. */
async function scene() {
  const askedMs: number[] = [];
  const dependency = createServer((_, response) => {
    askedMs.push(Date.now());
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => dependency.once('listening', resolve));
  endings.push(() => dependency.close());
  const relay = await startRelay(`127.0.0.1:${(dependency.address() as { port: number }).port}`);
  const server = startProcess(process.execPath, [
    ...[join(repositoryRoot, 'fixtures/model-server/main.ts'), '--listen', '127.0.0.1:0', '--base-ms', '0'],
    ...['--dependency', `http://127.0.0.1:${relay.port}/feature`, '--dependency-open', `${OPEN_MS}ms`],
    // A busy machine must not look like a dependency that fails.
    ...['--dependency-timeout', '10s'],
  ]);
  endings.push(() => server.kill('SIGKILL'));
  const [, target = ''] = await server.waitFor('stdout', /"listening":"([^"]+)"/);
  const answer = await fetch(`${target}/v2/models/iris/infer`, { method: 'POST', body: BODY });
  expect(answer.status).toBe(200);
  return { askedMs, ...relay, target, capture: captureFor(await answer.text()) };
}

/** 40 calls a second for 28 s, as this server answers them: 5 s of good ones must follow each fault. */
function captureFor(answer: string): string {
  return captureOf(
    Array.from({ length: 1_120 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 25_000,
        request: requestMessage({ target: '/v2/models/iris/infer', body: BODY }),
        response: responseMessage(200, answer),
      }),
    ),
  );
}

function planFile(control: string, faults: readonly object[]): string {
  const file = join(temporaryDirectory(), 'plan.yaml');
  writeFileSync(file, JSON.stringify({ control, faults }));
  return file;
}

const OUTAGE = {
  name: 'outage',
  proxy: 'dep',
  fault: 'http_error',
  attributes: { status: 503 },
  start: '4s',
  duration: '15%',
};

describe('a replay with planned faults', () => {
  it('judges each by its own objectives, and times the recovery as the dependency saw it', async () => {
    const { askedMs, control, running, target, capture } = await scene();
    const slow = {
      proxy: 'dep',
      fault: 'http_delay',
      attributes: { delay: 100 },
      start: '18s',
      duration: '4s',
      during: ['errors: rate<0.05'],
    };
    const plan = planFile(running.control, [{ ...OUTAGE, during: 'errors: rate<=1', recovery: '4s' }, slow]);
    const replayed = await replay(capture, target, [
      '--slo',
      'errors: rate<0.02',
      '--faults',
      plan,
      '--json',
    ]);
    const document = documentOf(replayed);
    const [outage, delay] = document.faults?.faults ?? [];
    const figures = JSON.stringify([document.slo, document.reasons]);
    expect(
      document.slo.map(({ expression, ok }) => [expression, ok]),
      figures,
    ).toEqual([
      ['errors{fault=none}: rate<0.02', true],
      ['errors{fault=outage}: rate<=1', true],
      ['errors{fault=dep-http_delay}: rate<0.05', true],
      ['rejected{fault=none}: rate<0.01', true],
      ['rejected{fault=outage}: rate<0.01', true],
      ['rejected{fault=dep-http_delay}: rate<0.01', true],
    ]);
    expect(document.reasons.filter(({ severity }) => severity === 'fail')).toEqual([]);
    expect(document.verdict === 'PASS' ? 0 : 4).toBe(replayed.status);
    expect(outage).toMatchObject({
      problem: null,
      fromS: 4,
      before: { failed: 0 },
      recovery: { limitS: 4, ok: true },
    });
    // Those that came while it was set, and those in flight then, may have been answered.
    expect(outage?.during.errorShare).toBeGreaterThan(0.9);
    // The first call that the dependency saw after the fault is the first that was answered.
    const endMs = Date.parse(document.startedAt) + (outage?.toS ?? 0) * 1e3;
    const firstMs = askedMs.find((ms) => ms > endMs) ?? 0;
    expect(Math.abs((outage?.recovery.s ?? 0) - (firstMs - endMs) / 1e3)).toBeLessThan(0.15);
    expect(outage?.recovery.s).toBeGreaterThan(0.2);
    const added = (delay?.during.p50Ms ?? 0) - (delay?.before.p50Ms ?? 0);
    expect(Math.abs(added - 100)).toBeLessThan(15);
    expect(delay?.recovery.s).toBeLessThan(0.3);
    expect((await control.proxies())[0]?.toxics).toEqual([]);
    const report = await startReprise(['report', replayed.out]).finished;
    expect(report.stdout).toContain('Planned failures of dependencies');
    const page = await startReprise(['report', replayed.out, '--html']).finished;
    expect(page.stdout).toContain('grey: outage, dep-http_delay');
  });

  it('fails where nothing is stated for the fault, and proves nothing where the target does not meet it', async () => {
    const { running, target, capture } = await scene();
    const failing = planFile(running.control, [OUTAGE]);
    const args = ['--slo', 'errors: rate<0.02', '--duration', '10s', '--json', '--faults'];
    expect(documentOf(await replay(capture, target, [...args, failing])).verdict).toBe('FAIL');
    const elsewhere = await startRelay('127.0.0.1:1');
    const during = 'errors: rate<=1';
    const unmet = planFile(elsewhere.running.control, [
      { ...OUTAGE, during },
      { proxy: 'dep', fault: 'down', start: '7s', duration: '1s', during },
    ]);
    const { verdict, reasons } = documentOf(await replay(capture, target, [...args, unmet]));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.filter(({ code }) => code === 'fault_not_felt')).toHaveLength(2);
  });

  it('leaves no fault behind, whether it is asked to stop or killed', async () => {
    const { control, running, target, capture } = await scene();
    const plan = planFile(running.control, [{ ...OUTAGE, start: '500ms', duration: '15s' }]);
    const toxics = async () => (await control.proxies())[0]?.toxics.length;
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const out = join(temporaryDirectory(), 'run');
      const run = startReprise(['replay', capture, '--target', target, '--faults', plan, '--out', out]);
      while ((await toxics()) === 0) await sleep(50);
      await run.kill(signal);
      if (signal === 'SIGINT') expect(await toxics()).toBe(0);
    }
    const start = performance.now();
    while ((await toxics()) !== 0) await sleep(100);
    expect(performance.now() - start).toBeLessThan(7_000);
  });

  it('refuses a plan before anything is sent, and without its relay', async () => {
    const { running, target, capture, askedMs } = await scene();
    const before = askedMs.length;
    const unknown = await replay(capture, target, [
      '--faults',
      planFile(running.control, [{ ...OUTAGE, proxy: 'x' }]),
    ]);
    expect(unknown.status).toBe(2);
    expect(unknown.stderr).toContain('has no proxy x');
    const alone = await replay(capture, target, ['--faults', planFile('127.0.0.1:1', [OUTAGE])]);
    expect(alone.status).toBe(5);
    const dry = await replay(capture, target, ['--dry-run', '--faults', planFile('127.0.0.1:1', [OUTAGE])]);
    expect(dry.stdout).toContain('Fault outage: http_error status=503 on dep');
    expect(askedMs.length).toBe(before);
  });
});
