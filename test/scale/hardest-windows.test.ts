import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { type RankedWindows, rankWindows } from '../../src/analysis/windows/rank.ts';
import { SERVICE_TIMES, uniform } from '../support/queue-simulator.ts';
import { missing, sharedData } from '../support/shared-data.ts';
import { recordingOf, spanOf, type TrueTraffic, truthOf } from '../support/true-windows.ts';
import { eightWeeks, HOLE, INCIDENT, MONTH_LIMIT_S } from './eight-weeks.ts';
import { servegenFile, servegenPath } from './servegen-trace.ts';

const QUARTER_S = 900;
/** The share of windows that must break no earlier than the chosen one. */
const NO_EARLIER = 0.95;

function ranked(traffic: TrueTraffic, lengthS: number): RankedWindows {
  return rankWindows(recordingOf(traffic), { ranges: [spanOf(traffic)], lengthS, multiplier: 2 });
}

/** A request of a trace, with gaps in milliseconds. */
interface TracedRequest {
  readonly gapMs: number;
  readonly prompt: number;
  readonly output: number;
}

/** What a server truly needs for a request. */
interface TrueServer {
  readonly serviceS: (request: TracedRequest, random: () => number) => number;
  readonly executors: number;
  readonly limitS: number;
}

const SERVERS: Readonly<Record<string, TrueServer>> = {
  'the tokens of answers': {
    serviceS: ({ prompt, output }) => 0.05 + prompt * 5e-5 + output * 0.02,
    executors: 64,
    limitS: 60,
  },
  'the tokens of prompts': {
    serviceS: ({ prompt, output }) => 0.02 + prompt * 4e-4 + output * 2e-4,
    executors: 16,
    limitS: 20,
  },
  'each request': {
    serviceS: (_, random) => SERVICE_TIMES.exponential(random) * 0.2,
    executors: 4,
    limitS: 4,
  },
};
const CASES = Object.keys(SERVERS).flatMap((of) => [
  { of, latencies: 'with latencies' },
  { of, latencies: 'with arrivals and tokens alone' },
]);

function trafficOf(requests: Iterable<TracedRequest>, server: TrueServer, latencies: string): TrueTraffic {
  const random = uniform(7);
  const [arrivalsUs, servicesS, prompts, outputs]: [number[], number[], number[], number[]] = [
    [],
    [],
    [],
    [],
  ];
  let atMs = Date.UTC(2025, 0, 1);
  for (const request of requests) {
    atMs += request.gapMs;
    arrivalsUs.push(atMs * 1e3);
    servicesS.push(server.serviceS(request, random));
    prompts.push(request.prompt);
    outputs.push(request.output);
  }
  return {
    arrivalsUs: Float64Array.from(arrivalsUs),
    servicesS: Float64Array.from(servicesS),
    executors: server.executors,
    seen: (at) => ({ promptTokens: prompts[at]!, outputTokens: outputs[at]! }),
    ...(latencies === 'with latencies' ? {} : { recordedS: () => null }),
  };
}

function* servegenRequests(path: string): Generator<TracedRequest> {
  const [, ...lines] = gunzipSync(readFileSync(path)).toString('latin1').trimEnd().split('\n');
  for (const line of lines) {
    const [gap, , prompt, output] = line.split(',').map(Number) as [number, number, number, number];
    yield { gapMs: gap, prompt, output };
  }
}

describe('the hardest of 1,344 windows of a production trace', () => {
  test.each(CASES)(
    'breaks as early as the worst twentieth, if a server needs time for $of, $latencies',
    ({ of, latencies }, { skip }) => {
      skip(servegenPath === null, missing(servegenFile));
      const server = SERVERS[of]!;
      const traffic = trafficOf(servegenRequests(servegenPath ?? ''), server, latencies);
      const windows = ranked(traffic, QUARTER_S);
      expect(windows.starts).toHaveLength(1_344);
      const truth = truthOf(traffic, windows, QUARTER_S, server.limitS);
      console.log(`${of}, ${latencies}: ${JSON.stringify(truth)}`);
      expect(truth.noEarlier).toBeGreaterThanOrEqual(NO_EARLIER);
    },
  );
});

const mooncakeFile = 'mooncake-synthetic/synthetic_trace.jsonl.gz';
const mooncakePath = sharedData(mooncakeFile);

function* mooncakeRequests(path: string): Generator<TracedRequest> {
  let lastMs = 0;
  for (const line of gunzipSync(readFileSync(path)).toString('utf8').trimEnd().split('\n')) {
    const request = JSON.parse(line) as { timestamp: number; input_length: number; output_length: number };
    yield { gapMs: request.timestamp - lastMs, prompt: request.input_length, output: request.output_length };
    lastMs = request.timestamp;
  }
}

test('the hardest window of a trace of Mooncake breaks as early as the worst twentieth', ({ skip }) => {
  skip(mooncakePath === null, missing(mooncakeFile));
  const server = SERVERS['the tokens of prompts']!;
  const traffic = trafficOf(mooncakeRequests(mooncakePath ?? ''), server, 'with latencies');
  const windows = ranked(traffic, 20);
  const truth = truthOf(traffic, windows, 20, server.limitS);
  console.log(`${windows.starts.length} windows of Mooncake: ${JSON.stringify(truth)}`);
  expect(truth.noEarlier).toBeGreaterThanOrEqual(NO_EARLIER);
});

describe('the hardest window of eight weeks', () => {
  test.each([1, 2, 3])('breaks as early as the worst twentieth: seed %i', (seed) => {
    const traffic = eightWeeks(seed);
    const windows = ranked(traffic, QUARTER_S);
    const truth = truthOf(traffic, windows, QUARTER_S, MONTH_LIMIT_S);
    console.log(`seed ${seed}: ${JSON.stringify(truth)} of ${windows.starts.length} windows`);
    expect(truth.noEarlier).toBeGreaterThanOrEqual(NO_EARLIER);
    const hardestUs = windows.starts[windows.order[0]!]!;
    expect(hardestUs < INCIDENT.fromUs || hardestUs >= INCIDENT.toUs).toBe(true);
    const [longest] = windows.silences;
    expect(longest?.fromUs).toBeLessThanOrEqual(HOLE.fromUs);
    expect(longest?.toUs).toBeGreaterThanOrEqual(HOLE.toUs);
  });
});
