import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { type CapacityDocument, capacitySchema } from '../../src/documents/capacity.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';
import { runReprise, startProcess } from '../support/process.ts';
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
  const exchanges = [...ARRIVALS_S].map(
    (second): Exchange =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + Math.round(second * 1e6),
        route: `POST ${PATH}`,
        model: 'ranker',
        firstByteOffsetUs: SERVICE_MS * 1e3,
        lastByteOffsetUs: SERVICE_MS * 1e3 + 500,
        request: requestMessage({ target: PATH, body: BODY }),
        response: responseMessage(200, answer),
      }),
  );
  return captureOf(exchanges);
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
const MOST = 8;
/** The recording, played again and again. */
const PASSES = 2 + Math.ceil((MOST * (STEADY_S + 2 * WINDOW_S)) / RECORDED_S);
const REPEATED_S = Array.from({ length: PASSES }, (_, pass) => pass).flatMap((pass) =>
  [...ARRIVALS_S].map((second) => second + pass * RECORDED_S),
);
const STEPS = 50;

/** Share of windows that pass at a multiplier, over steps of two windows that begin all over the recording. */
function passingShare(multiplier: number, passes: Passes, queue: number): number {
  let good = 0;
  for (let step = 0; step < STEPS; step += 1) {
    const fromS = (step / STEPS) * RECORDED_S;
    const first = REPEATED_S.findIndex((second) => second >= fromS);
    const longS = STEADY_S + 2 * WINDOW_S;
    const end = REPEATED_S.findIndex((second) => second >= fromS + longS * multiplier);
    const offsets = REPEATED_S.slice(first, end).map((second) => (second - fromS) / multiplier);
    const latencies = latenciesOf(offsets, queue);
    for (const window of [0, 1]) {
      const within = latencies.filter(
        (_, at) => Math.floor(((offsets[at] ?? 0) - STEADY_S) / WINDOW_S) === window,
      );
      if (passes(within)) good += 1;
    }
  }
  return good / (2 * STEPS);
}

/** The multiplier at which half of the windows pass, by brute force. */
function trueBoundary(passes: Passes, queue = 1_000): number {
  let [low, high] = [0.5, MOST];
  for (let step = 0; step < 10; step += 1) {
    const middle = Math.sqrt(low * high);
    if (passingShare(middle, passes, queue) >= 0.5) low = middle;
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

it('finds where four executors begin to be too few', async () => {
  const limitMs = 100;
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
