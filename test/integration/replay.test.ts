import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { runReprise, startReprise } from '../support/process.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** What may be wrong with a run on a machine that is busy with other things. */
const OUR_SIDE = ['lag_over_bound', 'arrivals_off_plan', 'generator_paused'];

describe('what a replay leaves behind', () => {
  it('keeps every send and the summary it printed, for its owner alone', async () => {
    const server = await serverOf();
    const result = await replayHere(captureOf(requestsOf(50)), server.url, ['--json', '--multiplier', '2']);
    const document = documentOf(result);
    expect(JSON.parse(readFileSync(join(result.out, 'summary.json'), 'utf8'))).toEqual(document);
    expect(statSync(result.out).mode & 0o777).toBe(0o700);
    const reader = new RunReader(result.out);
    const sends = [...reader.sends()].sort((a, b) => a.index - b.index);
    expect(sends.map(({ index, intendedOffsetNs, status }) => [index, intendedOffsetNs, status])).toEqual(
      Array.from({ length: 50 }, (_, at) => [at, at * 500_000, 200]),
    );
    expect(sends.every((send) => (send.actualOffsetNs ?? -1) >= send.intendedOffsetNs)).toBe(true);
    reader.close();
    expect(document.verdict).toBeNull();
    expect(result.status).toBe(document.valid ? 0 : 4);
    expect(document.reasons.filter(({ code }) => !OUR_SIDE.includes(code))).toEqual([]);
    expect(document.fidelity.recorded.count).toBe(50);
    expect(document.fidelity.planned.spanS).toBeCloseTo(document.fidelity.recorded.spanS / 2, 9);
    expect(document).toMatchObject({
      multiplier: 2,
      effectiveMultiplier: 2,
      scaling: 'compress',
      coverage: 1,
    });
  });

  it('names the run and its directory, by default below runs/', async () => {
    const server = await serverOf();
    const cwd = temporaryDirectory();
    const result = await runReprise(['replay', captureOf(requestsOf(3)), '--target', server.url], { cwd });
    const [, run, directory] = /Run (\S+), kept in (\S+)/.exec(result.stderr) ?? [];
    expect(directory).toBe(join('runs', run ?? 'none'));
    expect(existsSync(join(cwd, directory ?? '', 'summary.json'))).toBe(true);
    expect(result.stdout).toMatch(/^No verdict: /);
    expect(result.stdout).toContain(`reprise report ${directory} --html`);
    expect(result.stdout.split('\n').length).toBeLessThanOrEqual(21);
    expect(result.stderr).toContain('scaling compress: keeps order');
  });

  it('replays the window that was asked for, and no more requests than that', async () => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(100, 10_000));
    const window = ['--window', '2026-11-24T15:00:00.200Z..2026-11-24T15:00:00.500Z'];
    const all = documentOf(await replayHere(capture, server.url, ['--json', ...window]));
    expect(all).toMatchObject({ recorded: 30, planned: 30, sent: 30, fidelity: { unordered: 0 } });
    // On a busy machine two connections are read in another order than they were written in.
    expect(server.requests.map(({ target }) => target).sort()).toEqual(
      Array.from({ length: 30 }, (_, at) => `/v2/models/m/infer?n=${at + 20}`),
    );
    const few = documentOf(
      await replayHere(capture, server.url, ['--json', ...window, '--max-requests', '7']),
    );
    expect(few).toMatchObject({ planned: 7, sent: 7, refused: 0 });
  });

  it('refuses what its ceilings do not let through, and says so', async () => {
    const server = await serverOf();
    const result = await replayHere(captureOf(requestsOf(40)), server.url, ['--json', '--max-rate', '10']);
    const document = documentOf(result);
    expect(document).toMatchObject({ planned: 40, sent: 10, refused: 30 });
    expect(document.health.caps).toMatchObject({ maxRatePerSecond: 10, refusedForRate: 30 });
    const cap = document.reasons.find(({ code }) => code === 'in_flight_cap');
    expect(cap?.text).toContain('30 by --max-rate 10/s');
    expect(cap?.advice).toContain('--max-rate,');
    expect(result.status).toBe(4);
    expect(server.requests).toHaveLength(10);
  });

  it('names the cap first where a slow target leaves requests unsent, and says what to do about it', async () => {
    const server = await serverOf((_, response) => void setTimeout(() => response.end('{}'), 300));
    const flags = ['--json', '--max-in-flight', '5', '--slo', 'latency: p(90)<100'];
    const { status, ...result } = await replayHere(captureOf(requestsOf(400, 4_000)), server.url, flags);
    const { refused, reasons } = documentOf({ status, ...result });
    expect(refused).toBeGreaterThan(200);
    expect([status, reasons[0]?.code]).toEqual([3, 'slo_violated']);
    expect(reasons[0]?.text).toMatch(new RegExp(`: --max-in-flight 5 refused ${refused} requests`));
    expect(reasons[0]?.advice).toMatch(/^Raise --max-in-flight, or /);
  });
});

describe('the exit status', () => {
  it('follows the verdict of an objective that holds', async () => {
    const server = await serverOf();
    const result = await replayHere(captureOf(requestsOf(200)), server.url, [
      '--json',
      '--slo',
      'latency: p(90)<10000',
    ]);
    const { verdict, reasons, slo } = documentOf(result);
    expect(slo.map(({ expression, ok }) => [expression, ok])).toEqual([
      ['latency: p(90)<10000', true],
      ['errors: rate<0.01', true],
      ['rejected: rate<0.01', true],
    ]);
    expect(result.status).toBe(verdict === 'PASS' ? 0 : 4);
    // Requests that left late together are few independent samples: p90 may then be anything.
    const excused = [...OUR_SIDE, 'too_close'];
    expect(reasons.filter(({ code }) => !excused.includes(code))).toEqual([]);
  });

  it('is 3 for a target that breaks an objective', async () => {
    const server = await serverOf((_, response) => response.writeHead(503).end());
    const result = await replayHere(captureOf(requestsOf(100)), server.url, [
      '--json',
      '--slo',
      'errors: rate<0.1',
    ]);
    expect(documentOf(result)).toMatchObject({ verdict: 'FAIL', failed: 100, completed: 0 });
    expect(result.status).toBe(3);
  });

  it('is 4 for a target that turns requests away which production answered', async () => {
    const server = await serverOf((_, response) => response.writeHead(401).end());
    const result = await replayHere(captureOf(requestsOf(200)), server.url, [
      '--json',
      '--slo',
      'latency: p(90)<10000',
    ]);
    const { verdict, reasons } = documentOf(result);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toContain('not_comparable');
    expect(result.status).toBe(4);
  });

  it('is 4 for a target that answers 302 to all, though nothing is asked of it', async () => {
    const server = await serverOf((_, response) => response.writeHead(302).end());
    const capture = captureOf(requestsOf(200).map((each) => ({ ...each, status: null })));
    const result = await replayHere(capture, server.url, ['--json']);
    expect(documentOf(result).reasons.map(({ code }) => code)).toContain('not_comparable');
    expect(result.status).toBe(4);
  });

  it('is 130 for a run that was interrupted, which is sealed with what it has', async () => {
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    const capture = captureOf(requestsOf(3_000, 20_000));
    const process = startReprise(['replay', capture, '--target', server.url, '--out', out, '--json']);
    while (server.requests.length < 5) await sleep(20);
    const result = await process.kill('SIGINT');
    expect(result.status).toBe(130);
    const document = documentOf(result);
    expect(document.interrupted).toBe('SIGINT');
    expect(document.reasons.map(({ code }) => code)).toContain('interrupted');
    expect(document.sent).toBeGreaterThanOrEqual(5);
    expect(document.unreached).toBeGreaterThan(0);
    expect(document.planned).toBe(document.sent + document.refused + document.unreached);
    // What had been read of the plan is not the plan.
    expect(document).toMatchObject({
      planCounted: false,
      selected: document.planned,
      recorded: document.planned,
    });
    expect(JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'))).toEqual(document);
  });
});
