import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readHistory } from '../../src/app/history.ts';
import { type CapacityDocument, capacitySchema } from '../../src/documents/capacity.ts';
import { capacity } from '../../src/index.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { type Finished, startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SLO = ['--slo', 'latency: p(90)<500'];
/** A search whose steps last a second each. */
const SHORT = ['--window', '1s', '--budget', '30s', '--calibration', 'off', '--cool-down', '0s'];

function search(capture: string, target: string, args: readonly string[]): Promise<Finished> {
  return runCommand(['capacity', capture, '--target', target, ...SLO, ...SHORT, ...args]);
}

function documentOf({ stdout }: Finished): CapacityDocument {
  const document = JSON.parse(stdout);
  expect(capacitySchema.parse(document)).toEqual(document);
  return document;
}

/** Answers the first few, as a probe asks, and no other. */
function failing(answered: number) {
  let count = 0;
  return serverOf((_, response) => {
    count += 1;
    response.writeHead(count > answered ? 503 : 200).end('{"outputs":[]}');
  });
}

describe('a search', () => {
  it('prints its steps and its longest duration before it sends, and sends nothing in a dry run', async () => {
    const server = await serverOf();
    const result = await search(captureOf(requestsOf(100, 10_000)), server.url, [
      '--dry-run',
      '--max-multiplier',
      '6',
    ]);
    expect(result.status).toBe(0);
    expect(result.stderr).toMatch(/1x, 2x, 4x, 6x \(--max-multiplier\)/);
    expect(result.stderr).toMatch(/lasts .* at most \(--budget 30\.0 s\)/);
    expect(server.requests).toHaveLength(0);
  });

  it('takes --max-rate as a ceiling, and refuses one below the recorded peak', async () => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(100, 10_000));
    const allowed = await search(capture, server.url, ['--dry-run', '--max-rate', '300']);
    expect(allowed.stderr).toMatch(/1x, 2x, 3x \(--max-rate\)/);
    const refused = await search(capture, server.url, ['--dry-run', '--max-rate', '50']);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('is below the recorded peak of 100');
  });

  it.each([
    ['no objective', []],
    ['a budget that is too short', [...SLO, '--budget', '11s', '--window', '5s']],
  ])('ends with a usage error for %s', async (_, args) => {
    const server = await serverOf();
    const result = await runCommand(['capacity', captureOf(requestsOf(20)), '--target', server.url, ...args]);
    expect(result.status).toBe(2);
    expect(server.requests).toHaveLength(0);
  });

  it('never aims at production', async () => {
    const server = await serverOf();
    const result = await search(captureOf(requestsOf(20)), server.url, ['--production-host', '127.0.0.1']);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain('must not hit production');
    expect(server.requests).toHaveLength(0);
  });

  it('ends with 5 for a target that does not answer', async () => {
    const gone = await search(captureOf(requestsOf(20)), 'http://127.0.0.1:9', []);
    expect(gone.status).toBe(5);
    const broken = await serverOf((_, response) => response.writeHead(503).end());
    const result = await search(captureOf(requestsOf(20)), broken.url, [
      '--json',
      '--out',
      join(temporaryDirectory(), 'out'),
    ]);
    expect(result.status).toBe(5);
    expect(documentOf(result)).toMatchObject({
      endedBy: 'target_failed',
      limitedBy: 'target_failed',
      steps: [],
    });
  });

  it('says what gave first, keeps each step as a run, and goes on with what it knows', async () => {
    const server = await failing(3);
    const capture = captureOf(requestsOf(300, 10_000));
    const out = join(temporaryDirectory(), 'out');
    const [history, junit] = [join(out, '..', 'history.sqlite'), join(out, '..', 'verdict.xml')];
    const told = ['--name', 'how much', '--history', history, '--output', `junit=${junit}`];
    const args = ['--json', '--out', out, '--min-multiplier', '1', ...told];
    const first = await search(capture, server.url, args);
    const document = documentOf(first);
    expect(first.status).toBe(4);
    expect(document).toMatchObject({
      endedBy: 'min_multiplier',
      limitedBy: 'min_multiplier',
      breakingPoint: { passes: null, fails: { multiplier: 1 }, interval: null },
      gaveFirst: { objective: 'errors: rate<0.01', multiplier: 1, observed: 1 },
      noise: { source: 'none' },
    });
    expect(document.steps.map(({ verdict }) => verdict)).toEqual(['FAIL']);
    expect(readFileSync(junit, 'utf8')).toMatch(
      /<testsuite name="how much"[^>]* failures="0" errors="0" skipped="[1-9]/,
    );
    // The search is a test; its steps are none.
    expect(readHistory(history, { test: null }).tests.map(({ test, runs }) => [test, runs.length])).toEqual([
      ['how much', 1],
    ]);
    expect(existsSync(join(out, document.steps[0]?.run ?? '', 'summary.json'))).toBe(true);
    const sent = server.requests.length;
    const again = documentOf(await search(capture, server.url, args));
    expect(server.requests).toHaveLength(sent);
    expect({ ...again, endedAt: null }).toEqual({ ...document, endedAt: null });
    const other = await search(capture, server.url, [...args, '--slo', 'latency: p(50)<10']);
    expect(other.status).toBe(2);
    expect(other.stderr).toContain('asked for something else');
  });

  it('keeps its state when it is stopped', async () => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(300, 10_000));
    const out = join(temporaryDirectory(), 'out');
    // A busy machine must not come to the end of its budget before the second step.
    const args = ['capacity', capture, '--target', server.url, ...SLO, ...SHORT, '--budget', '10m'];
    args.push('--out', out, '--json');
    const running = startReprise(args);
    await running.waitFor('stderr', /Step 2/);
    running.child.kill('SIGINT');
    const stopped = await running.finished;
    expect(stopped.status).toBe(130);
    expect(documentOf(stopped)).toMatchObject({ endedBy: 'interrupted' });
    const { steps } = JSON.parse(readFileSync(join(out, 'state.json'), 'utf8'));
    expect(steps.length).toBeGreaterThanOrEqual(1);
    const resumed = startReprise(args);
    await resumed.waitFor('stderr', /Going on with the search/);
    resumed.child.kill('SIGINT');
    expect((await resumed.finished).status).toBe(130);
  });

  it('is a function of the library', async () => {
    const server = await failing(3);
    const seen: number[] = [];
    const document = await capacity(
      captureOf(requestsOf(300, 10_000)),
      {
        target: server.url,
        slo: 'latency: p(90)<500',
        out: join(temporaryDirectory(), 'out'),
        window: '1s',
        budget: '30s',
        calibration: 'off',
        minMultiplier: 1,
      },
      { onStep: ({ multiplier }) => seen.push(multiplier) },
    );
    expect(document).toMatchObject({ kind: 'capacity', endedBy: 'min_multiplier' });
    expect(seen).toEqual([1]);
  });
});
