import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { captureOf } from '../support/captures.ts';
import { responseMessage } from '../support/exchanges.ts';
import { type RunningProcess, startProcess, startReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** What may be said of our own side on a machine that is busy with other things. It never excuses a PASS. */
const OUR_SIDE = ['lag_over_bound', 'arrivals_off_plan', 'generator_paused'];
/** Kept by anything that answers at all. */
const GENEROUS = ['--slo', 'latency: p(90)<20000'];

const RECORDED_MS = 40;
const ANSWER = '{"outputs":[1,2,3]}';
const recorded = (count: number, gapUs: number) =>
  captureOf(
    requestsOf(count, gapUs, {
      firstByteOffsetUs: RECORDED_MS * 1e3 - 500,
      lastByteOffsetUs: RECORDED_MS * 1e3,
      response: responseMessage(200, ANSWER),
    }),
  );

const ended = (_: unknown, response: ServerResponse) => void response.end(ANSWER);
const answeringAfter = (ms: number) => (_: unknown, response: ServerResponse) =>
  void setTimeout(() => response.end(ANSWER), ms);

function codesOf({ reasons }: ReplayDocument): string[] {
  return reasons.map(({ code }) => code);
}

/** The verdict, its exit status, and the reasons but for what a busy machine adds. */
function expectVerdict(
  document: ReplayDocument,
  status: number | null,
  verdict: 'FAIL' | 'INCONCLUSIVE',
  codes: readonly string[],
): void {
  expect({ verdict: document.verdict, status }).toEqual({ verdict, status: verdict === 'FAIL' ? 3 : 4 });
  const ours = OUR_SIDE.filter((code) => !codes.includes(code));
  expect(codesOf(document).filter((code) => !ours.includes(code))).toEqual(codes);
}

/** What lateness of ours may come to where every objective holds with it counted. */
function expectNoFailure(document: ReplayDocument, status: number | null): void {
  expect(codesOf(document).filter((code) => !OUR_SIDE.includes(code))).toEqual([]);
  expect([
    ['PASS', 0],
    ['INCONCLUSIVE', 4],
  ]).toContainEqual([document.verdict, status]);
}

async function untilRequests(
  server: { readonly requests: readonly unknown[] },
  count: number,
  run: RunningProcess,
) {
  while (server.requests.length < count && run.child.exitCode === null) await pause(10);
}

describe('a run whose generator is late', () => {
  it('counts the requests of a stall of 300 ms, with their lag, and is no failure of the target', async () => {
    const server = await serverOf(ended);
    const run = startReprise([
      'replay',
      recorded(500, 8_000),
      ...['--target', server.url, '--out', `${temporaryDirectory()}/run`, '--json', ...GENEROUS],
    ]);
    await untilRequests(server, 100, run);
    run.child.kill('SIGSTOP');
    await pause(310);
    run.child.kill('SIGCONT');
    const result = await run.finished;
    const document = documentOf(result);
    expectNoFailure(document, result.status);
    expect(document).toMatchObject({ planned: 500, sent: 500, completed: 500, health: { stalls: 1 } });
    expect(document.lagUs.max).toBeGreaterThan(250_000);
    expect(document.latencyMs.scheduled.max).toBeGreaterThan(250);
  });

  const hasTaskset = process.platform === 'linux' && spawnSync('taskset', ['-V']).status === 0;
  it.skipIf(!hasTaskset)('is no failure of the target where it starves for its processor', async () => {
    const server = await serverOf(ended);
    const run = startReprise([
      'replay',
      recorded(2_500, 2_000),
      ...['--target', server.url, '--out', `${temporaryDirectory()}/run`, '--json', ...GENEROUS],
    ]);
    await untilRequests(server, 200, run);
    // All threads of it, and two that never rest, on the last processor; it has a tenth of what they have.
    const last =
      /(\d+)\s*$/.exec(
        spawnSync('taskset', ['-pc', String(process.pid)], { encoding: 'utf8' }).stdout,
      )?.[1] ?? '0';
    spawnSync('taskset', ['-apc', last, String(run.child.pid)]);
    for (const task of threadsOf(run)) spawnSync('renice', ['-n', '15', '-p', task]);
    const hogs = [0, 1].map(() =>
      startProcess('taskset', ['-c', last, process.execPath, '-e', 'for (;;) {}']),
    );
    await pause(2_500);
    await Promise.all(hogs.map((hog) => hog.kill('SIGKILL')));
    const result = await run.finished;
    const document = documentOf(result);
    expectNoFailure(document, result.status);
    const said = [...document.reasons, ...document.notes].map(({ code }) => code);
    expect(said).toContain('lag_over_bound');
  });
});

describe('a run that may not pass', () => {
  it('that hit its own cap, with nearly everything answered in time', async () => {
    const server = await serverOf(answeringAfter(60));
    // Two of these are more than the cap lets through, in 400 that are well apart.
    const requests = requestsOf(400, 10_000);
    const tie = requests[200]?.arrivalUs ?? 0;
    const burst = requests.map((each, at) =>
      at > 200 && at <= 212 ? { ...each, arrivalUs: tie + 1 } : each,
    );
    const capture = captureOf(burst);
    const play = () => replay(capture, server.url, ['--json', '--max-in-flight', '16', ...GENEROUS]);
    let result = await play();
    // A generator that stands still just then sends them apart, and nothing is too much: it is played again.
    for (let plays = 1; plays < 3 && documentOf(result).refused === 0; plays += 1) result = await play();
    const document = documentOf(result);
    expect(document.refused).toBeGreaterThan(0);
    const codes = codesOf(document);
    expect({ verdict: document.verdict, status: result.status }).toEqual({
      verdict: 'INCONCLUSIVE',
      status: 4,
    });
    expect(codes).toContain('in_flight_cap');
  });

  it('with too few samples for what it shall prove', async () => {
    const server = await serverOf(ended);
    const slo = ['--slo', 'latency: p(99)<20000'];
    const result = await replay(recorded(600, 2_000), server.url, ['--json', ...slo]);
    expectVerdict(documentOf(result), result.status, 'INCONCLUSIVE', ['too_few_samples']);
  });

  it('against staging that turns everybody away within 2 ms', async () => {
    const server = await serverOf((_, response) => void response.writeHead(401).end(ANSWER));
    const capture = recorded(300, 5_000);
    const result = await replay(capture, server.url, ['--json', ...GENEROUS]);
    expectVerdict(documentOf(result), result.status, 'INCONCLUSIVE', ['not_comparable']);
  });

  it('against staging that answers from a cache, which calibrating shows', async () => {
    const server = await serverOf(ended);
    const args = ['--json', '--compare-at-1x', '1s', ...GENEROUS];
    const result = await replay(recorded(400, 5_000), server.url, args);
    const document = documentOf(result);
    expectVerdict(document, result.status, 'INCONCLUSIVE', ['staging_not_representative']);
    expect(document.calibration).toMatchObject({ representative: false, statusDistance: 0 });
    expect(document.calibration?.differences).toHaveLength(1);
    expect(document.calibration?.differences[0]).toContain('recorded 40.0 ms');
    expect(JSON.parse(readFileSync(`${result.out}/calibration/summary.json`, 'utf8'))).toEqual({
      schemaVersion: 1,
      kind: 'calibration',
      ...document.calibration,
    });
  });

  it('not against staging that answers as production did', async () => {
    const server = await serverOf(answeringAfter(RECORDED_MS));
    const result = await replay(recorded(400, 5_000), server.url, [
      '--json',
      '--compare-at-1x',
      '1s',
      ...GENEROUS,
    ]);
    const document = documentOf(result);
    expect(document.calibration).toMatchObject({ representative: true, differences: [] });
    expect(document.notes.map(({ code }) => code)).not.toContain('uncalibrated');
    expect(codesOf(document).filter((code) => !OUR_SIDE.includes(code))).toEqual([]);
  });
});

describe('a tenth of the traffic, recorded on purpose', () => {
  const ASKED = 400;
  const SLO = ['--json', '--slo', 'errors: rate<0.5'];

  /** Records with `--sample 10%` what asks this, each without a session. @returns the capture */
  async function sampled(body: object): Promise<string> {
    const server = await serverOf(ended);
    const directory = temporaryDirectory();
    const recording = await startRecording(server.port, directory, ['--sample', '10%']);
    const request = { method: 'POST', body: JSON.stringify(body) };
    for (let asked = 0; asked < ASKED; asked += 1)
      await (await fetch(`http://127.0.0.1:${recording.port}/v1/responses`, request)).text();
    expect((await recording.stop()).end['lost']).toEqual({});
    return directory;
  }

  it('is not all of it where it cannot be made up for: played once as if it were, it proves nothing', async () => {
    // A copy cannot go on from an answer that somebody else was given.
    const capture = await sampled({ model: 'm', input: 'x', previous_response_id: 'resp_1' });
    const result = await replay(capture, (await serverOf(ended)).url, SLO);
    const document = documentOf(result);
    expectVerdict(document, result.status, 'INCONCLUSIVE', ['multiplier_not_reached']);
    const share = document.recorded / ASKED;
    expect(share).toBeLessThan(0.2);
    expect(document).toMatchObject({ planned: document.recorded, sent: document.recorded, failed: 0 });
    expect(document.coverage).toBeCloseTo(share, 2);
    expect(document.coverageUnexplained).toBe(0);
    expect(document.effectiveMultiplier).toBeCloseTo(share, 2);
  });

  it('is made up for by copies, and passes for 1x where those are as many as were left out', async () => {
    const capture = await sampled({ model: 'm', input: 'x' });
    const result = await replay(capture, (await serverOf(ended)).url, [...SLO, '--scaling', 'jitter=100ms']);
    const document = documentOf(result);
    expect(document.coverage).toBeLessThan(0.2);
    expect(document.planned).toBeGreaterThan(document.recorded * 4);
    expect(document.effectiveMultiplier).toBeCloseTo(document.planned / ASKED, 2);
    const reached = (document.effectiveMultiplier ?? 0) >= 0.99;
    expect(codesOf(document).includes('multiplier_not_reached')).toBe(!reached);
    if (!reached)
      expect({ verdict: document.verdict, status: result.status }).toEqual({
        verdict: 'INCONCLUSIVE',
        status: 4,
      });
  });
});

/** One request at a time, each for so long. */
class SlowServer {
  readonly #serviceMs: number;
  readonly #waiting: ServerResponse[] = [];
  #busy = false;

  constructor(serviceMs: number) {
    this.#serviceMs = serviceMs;
  }

  readonly answer = (_: unknown, response: ServerResponse): void => {
    this.#waiting.push(response);
    this.#next();
  };

  #next(): void {
    if (this.#busy) return;
    const response = this.#waiting.shift();
    if (response === undefined) return;
    this.#busy = true;
    setTimeout(() => {
      response.end(ANSWER);
      this.#busy = false;
      this.#next();
    }, this.#serviceMs);
  }
}

describe('a server at twice its capacity', () => {
  const SLO = ['--json', '--slo', 'latency: p(95)<500'];
  const PLAYS = 2;

  it('fails, with its queue in service latency and our lag in bounds', async () => {
    let punctual = false;
    // A busy machine makes us late in one run or another; were the server's queue taken for our lag, it would be so
    // in each.
    for (let play = 0; play < PLAYS && !punctual; play += 1) {
      const server = await serverOf(new SlowServer(20).answer);
      const result = await replay(recorded(400, 10_000), server.url, SLO);
      const document = documentOf(result);
      expectVerdict(document, result.status, 'FAIL', ['slo_violated']);
      expect(document).toMatchObject({ sent: 400, refused: 0, failed: 0 });
      const { scheduled, service } = document.latencyMs;
      expect(service.p50).toBeGreaterThan(500);
      expect((scheduled.p50 ?? 0) - (service.p50 ?? 0)).toBeLessThan((service.p50 ?? 0) * 0.05);
      punctual = !document.notes.some(({ code }) => code === 'lag_over_bound');
    }
    expect(punctual).toBe(true);
  });

  it('fails as well when it drives us into the cap', async () => {
    const server = await serverOf(new SlowServer(20).answer);
    const result = await replay(recorded(400, 10_000), server.url, [...SLO, '--max-in-flight', '60']);
    const document = documentOf(result);
    expectVerdict(document, result.status, 'FAIL', ['slo_violated']);
    expect(document.refused).toBeGreaterThan(20);
    expect(document.notes.map(({ code }) => code)).toContain('in_flight_cap');
    expect(document.slo[0]?.observed).toBe('Infinity');
  });
});

function threadsOf({ child }: RunningProcess): string[] {
  const listed = spawnSync('ls', [`/proc/${child.pid}/task`], { encoding: 'utf8' });
  return listed.stdout.trim().split('\n');
}
