import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { type CapacityDocument, capacitySchema } from '../../src/documents/capacity.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';
import { runReprise, startProcess, startReprise } from '../support/process.ts';
import { poissonArrivals, uniform } from '../support/queue-simulator.ts';
import { serverOf as requestLog } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const EXECUTORS = 4;
const SERVICE_MS = 40;
const RATE = 20;
const RECORDED_S = 60;
const WINDOW_S = 3;
/** A search of this length decides each case; a longer one narrows it. */
const BUDGET = repeated('90s', '4m');
const PATH = '/predictions/ranker';
const BODY = '{"features":[1,2,3]}';

/** Four executors of a fixed service time, so that they stand 100 requests a second. */
async function serverOf(...args: string[]): Promise<string> {
  const service = ['--executors', String(EXECUTORS), '--base-ms', String(SERVICE_MS), '--per-kib-us', '0'];
  const server = startProcess(process.execPath, [
    'fixtures/model-server/main.ts',
    ...['--listen', '127.0.0.1:0', ...service, ...args],
  ]);
  const [, url = ''] = await server.waitFor('stdout', /"listening":"([^"]+)"/);
  return url;
}

/** Seconds, the same in each case. */
const ARRIVALS_S = poissonArrivals(RATE * RECORDED_S, RATE, uniform(20));

async function captureFor(url: string): Promise<string> {
  const answer = await (await fetch(`${url}${PATH}`, { method: 'POST', body: BODY })).text();
  return captureOf([...ARRIVALS_S].map((second) => exchangeAt(second, answer)));
}

function exchangeAt(second: number, answer: string): Exchange {
  return exchangeOf({
    arrivalUs: TEST_EPOCH_US + Math.round(second * 1e6),
    route: `POST ${PATH}`,
    model: 'ranker',
    firstByteOffsetUs: SERVICE_MS * 1e3,
    lastByteOffsetUs: SERVICE_MS * 1e3 + 500,
    request: requestMessage({ target: PATH, body: BODY }),
    response: responseMessage(200, answer),
  });
}

async function search(url: string, slo: string, ...args: string[]): Promise<CapacityDocument> {
  const capture = await captureFor(url);
  const out = join(temporaryDirectory(), 'out');
  const own = [
    '--slo',
    slo,
    '--step',
    `${WINDOW_S}s`,
    '--budget',
    BUDGET,
    '--cool-down',
    '0s',
    '--out',
    out,
    '--json',
  ];
  const { stdout, stderr } = await runReprise(['capacity', capture, '--target', url, ...own, ...args]);
  process.stderr.write(`${stderr.replace(/^/gm, '  ')}\n`);
  return capacitySchema.parse(JSON.parse(stdout));
}

/** What a request meets: waiting and service, seconds; infinity where the queue is full. */
function latenciesOf(offsetsS: readonly number[], queue: number): number[] {
  const freeAt = new Array<number>(EXECUTORS).fill(0);
  let waiting: number[] = [];
  return offsetsS.map((offset) => {
    waiting = waiting.filter((begin) => begin > offset);
    const begin = Math.max(offset, Math.min(...freeAt));
    if (begin > offset && waiting.length >= queue) return Number.POSITIVE_INFINITY;
    freeAt[freeAt.indexOf(Math.min(...freeAt))] = begin + SERVICE_MS / 1e3;
    if (begin > offset) waiting.push(begin);
    return begin + SERVICE_MS / 1e3 - offset;
  });
}

type Passes = (latenciesS: readonly number[]) => boolean;
/** Before a window that is judged: so that its queue is that of the load, and not one that only begins to fill. */
const STEADY_S = 30;

/** The busiest seconds of the recording, as offsets from their begin: what every window of a search replays. */
function busiest(arrivalsS: readonly number[], lengthS: number): number[] {
  const starts = Array.from(
    { length: Math.ceil(Math.max(...arrivalsS)) - lengthS + 1 },
    (_, second) => second,
  );
  const within = (from: number) => arrivalsS.filter((second) => second >= from && second < from + lengthS);
  const from = starts.reduce((best, each) => (within(each).length > within(best).length ? each : best));
  return within(from).map((second) => second - from);
}

/** Whether a window passes at a multiplier: whole passes over the load that last at least `WINDOW_S`. */
function isPassing(load: readonly number[], multiplier: number, passes: Passes, queue: number): boolean {
  const passS = WINDOW_S / multiplier;
  const before = Math.ceil(STEADY_S / passS);
  const judged = Math.ceil(multiplier - 1e-9);
  const offsets = Array.from({ length: before + judged }, (_, pass) => pass).flatMap((pass) =>
    load.map((second) => pass * passS + second / multiplier),
  );
  return passes(latenciesOf(offsets, queue).slice(before * load.length));
}

/** The multiplier up to which windows pass, by brute force. */
function trueBoundary(passes: Passes, queue = 1_000, load = busiest([...ARRIVALS_S], WINDOW_S)): number {
  let [low, high] = [0.5, 8];
  for (let step = 0; step < 12; step += 1) {
    const middle = Math.sqrt(low * high);
    if (isPassing(load, middle, passes, queue)) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}

/** What the harness and two loaded cores add to a service of 40 ms. */
const ADDED_S = 0.002;
const TOLERANCE = repeated(0.3, 0.15);

function expectBoundary({ breakingPoint }: CapacityDocument, truth: number): void {
  const { boundary, interval } = breakingPoint;
  const [low, high] = interval ?? [0, 0];
  process.stderr.write(
    `  found ${boundary?.multiplier.toFixed(2)}x (${low.toFixed(2)} to ${high.toFixed(2)}), true ${truth.toFixed(2)}x\n`,
  );
  expect(boundary?.multiplier).toBeGreaterThan(truth * (1 - TOLERANCE));
  expect(boundary?.multiplier).toBeLessThan(truth * (1 + TOLERANCE));
  expect(low).toBeLessThan(truth * 1.05);
  expect(high).toBeGreaterThan(truth * 0.95);
}

// In CI the load that wanders has them.
for (const limitMs of repeated([], [100]))
  it('finds where four executors begin to be too few', async () => {
    const document = await search(await serverOf(), `latency: p(90)<${limitMs}`);
    const truth = trueBoundary((latencies) => {
      const sorted = latencies.toSorted((a, b) => a - b);
      return (sorted[Math.ceil(sorted.length * 0.9) - 1] ?? 0) + ADDED_S < limitMs / 1e3;
    });
    expect(document).toMatchObject({ limitedBy: 'objective', calibration: { representative: true } });
    expect(document.gaveFirst?.objective).toBe(`latency: p(90)<${limitMs}`);
    expectBoundary(document, truth);
  });

it('names the errors of a server whose queue is full before it is slow', async () => {
  const queue = 3;
  const document = await search(await serverOf('--queue', String(queue)), 'latency: p(90)<500');
  const truth = trueBoundary(
    (latencies) =>
      latencies.filter((each) => each === Number.POSITIVE_INFINITY).length / latencies.length < 0.01,
    queue,
  );
  expect(document.limitedBy).toBe('objective');
  expect(document.gaveFirst?.objective).toBe('errors: rate<0.01');
  const latency = document.goals.find(({ name }) => name === 'latency: p(90)<500');
  expect(latency?.passes?.multiplier).toBeGreaterThanOrEqual(document.breakingPoint.passes?.multiplier ?? 0);
  expectBoundary(document, truth);
});

it('names the generator where its own cap is the limit', async () => {
  const document = await search(await serverOf(), 'latency: p(90)<500', '--max-in-flight', '6');
  expect(document).toMatchObject({ limitedBy: 'generator', endedBy: 'generator' });
  expect(document.breakingPoint.fails).toBeNull();
  expect(document.breakingPoint.passes?.multiplier).toBeGreaterThanOrEqual(1);
  expect(document.voidWindows['in_flight_cap']).toBeGreaterThan(0);
});

/** Before the windows of a step with a limit of 500 ms or less. */
const SETTLING_MS = 2_000;

/** Four executors of a fixed service time, which know when each request came. */
async function countingServer(cameMs: number[]): Promise<string> {
  const freeAt = new Array<number>(EXECUTORS).fill(0);
  const server = await requestLog((_, response) => {
    const now = performance.now();
    cameMs.push(now);
    const first = Math.min(...freeAt);
    const endMs = Math.max(now, first) + SERVICE_MS;
    freeAt[freeAt.indexOf(first)] = endMs;
    setTimeout(() => response.end('{"predictions":[1]}'), endMs - now);
  });
  return server.url;
}

/** Seconds of arrivals whose rate wanders between 12 and 36 a second within a minute. */
function wanderingArrivals(): number[] {
  const random = uniform(33);
  const arrivals: number[] = [];
  for (let now = 0; ; ) {
    now -= Math.log(1 - random()) / 36;
    if (now >= 180) return arrivals;
    if (random() * 36 < 24 + 12 * Math.sin((2 * Math.PI * now) / 60)) arrivals.push(now);
  }
}

it('traffic that wanders threefold gave loads that passed above loads that failed, and rates that nobody counted', async () => {
  const cameMs: number[] = [];
  const url = await countingServer(cameMs);
  const arrivalsS = wanderingArrivals();
  const capture = captureOf(arrivalsS.map((second) => exchangeAt(second, '{"predictions":[1]}')));
  const out = join(temporaryDirectory(), 'out');
  const limitMs = 200;
  const flags = ['--slo', `latency: p(95)<${limitMs}`, '--step', `${WINDOW_S}s`, '--out', out, '--json'];
  const searching = startReprise([
    ...['capacity', capture, '--target', url, ...flags, '--budget', BUDGET, '--cool-down', '0s'],
    ...['--compare-at-1x', 'off'],
  ]);
  // How many requests had come when each step began.
  const before: number[] = [];
  searching.child.stderr?.on('data', (chunk: Buffer) => {
    process.stderr.write(chunk.toString().replace(/^/gm, '  '));
    for (const _ of chunk.toString().matchAll(/^Step \d+/gm)) before.push(cameMs.length);
  });
  const document = capacitySchema.parse(JSON.parse((await searching.finished).stdout));
  expect(document.load).toMatchObject({ isBusiest: true, seconds: WINDOW_S });
  const load = busiest(arrivalsS, WINDOW_S);
  expect(document.load.ratePerSecond).toBeCloseTo(load.length / WINDOW_S, 1);
  expectBoundary(
    document,
    trueBoundary(
      (latencies) => {
        const sorted = latencies.toSorted((a, b) => a - b);
        return (sorted[Math.ceil(sorted.length * 0.95) - 1] ?? 0) + ADDED_S < limitMs / 1e3;
      },
      1_000,
      load,
    ),
  );
  // A load that passes above one that fails is named: no other is.
  const isAbove = (multiplier: number) => multiplier > document.breakingPoint.fails!.multiplier;
  const windowsAt = (multiplier: number) =>
    document.steps.flatMap((step) => (step.multiplier === multiplier ? step.windows : []));
  const countAt = (multiplier: number, result: 'good' | 'bad') =>
    windowsAt(multiplier).filter((window) => window.result === result).length;
  const passing = document.curve
    .map(({ multiplier }) => multiplier)
    .filter((multiplier) => isAbove(multiplier) && countAt(multiplier, 'good') >= 2)
    .filter((multiplier) => countAt(multiplier, 'good') > countAt(multiplier, 'bad'));
  expect(document.inverted).toEqual(passing);
  for (const [at, { multiplier, windows, windowS, ratePerSecond, endedEarly }] of document.steps.entries()) {
    if (endedEarly !== null) continue;
    // After an overloaded step come probes of whether the target has recovered.
    const ofStep = cameMs.slice(before[at], before[at + 1] ?? cameMs.length);
    const begunMs = ofStep[0]! + SETTLING_MS;
    const spanMs = windows.length * windowS * 1e3;
    const inWindows = ofStep.filter((atMs) => atMs >= begunMs && atMs < begunMs + spanMs).length;
    const counted = inWindows / (spanMs / 1e3);
    process.stderr.write(
      `  ${multiplier}x: printed ${ratePerSecond.toFixed(1)}/s, counted ${counted.toFixed(1)}/s\n`,
    );
    expect(Math.abs(ratePerSecond / counted - 1), `${multiplier}x`).toBeLessThan(0.02);
  }
});

/** Answers at once whatever comes. Its metrics say that so many requests a second are all that its GPU does. */
async function busyServer(mostPerS: number, overS = 2): Promise<string> {
  const at: number[] = [];
  const server = await requestLog(({ target }, response) => {
    const now = performance.now();
    if (target !== '/metrics') {
      at.push(now);
      response.end('{"predictions":[1]}');
      return;
    }
    while ((at[0] ?? now) < now - overS * 1e3) at.shift();
    const percent = Math.min(100, (100 * at.length) / overS / mostPerS);
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
    response.end(`# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{gpu="0"} ${percent}\n`);
  });
  return server.url;
}

it('names the resource that is at its limit before anything is slow', async () => {
  const resource = 'gpu_utilization: max<0.95';
  const document = await search(
    await busyServer(35),
    'latency: p(90)<500',
    ...['--slo', resource, '--tier', 'quick=latency: p(90)<400', '--monitor', 'target'],
    ...['--monitor', 'interval=250ms', '--compare-at-1x', 'off', '--width', '50%', '--multiplier', '4'],
    ...['--budget', '60s'],
  );
  expect(document.limitedBy).toBe('objective');
  expect(document.gaveFirst?.objective).toBe(resource);
  expect(document.breakingPoint.passes?.multiplier).toBeGreaterThanOrEqual(1);
  expect(document.breakingPoint.fails?.multiplier).toBeGreaterThan(1);
  const timed = document.goals.filter(({ name }) => name.startsWith('latency'));
  expect(timed.map(({ fails }) => fails)).toEqual([null, null]);
  // A resource is of every tier.
  expect(document.tiers?.[0]?.fails).toEqual(document.breakingPoint.fails);
  const gpu = document.monitors?.find(({ name }) => name === 'gpu_utilization');
  expect(gpu).toMatchObject({ source: 'target', labels: {}, unit: 'share' });
  expect(gpu?.loads.map(({ multiplier }) => multiplier)).toEqual(
    document.curve.map(({ multiplier }) => multiplier),
  );
  const failing = gpu?.loads.find(
    ({ multiplier }) => multiplier === document.breakingPoint.fails?.multiplier,
  );
  expect(failing?.max).toBeGreaterThanOrEqual(0.95);
});
