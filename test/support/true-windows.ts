import { expect } from 'vitest';
import { type RankedWindows, rankWindows, type WindowSource } from '../../src/analysis/windows/rank.ts';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import { nearestRank } from '../../src/core/histogram.ts';
import type { TimeRange } from '../../src/core/ports.ts';
import { queueLatencies, SERVICE_TIMES, uniform } from './queue-simulator.ts';

/** Traffic with the true service time of every request, and the server that answered it. */
export interface TrueTraffic {
  /** Epoch microseconds, ascending. */
  readonly arrivalsUs: Float64Array;
  readonly servicesS: Float64Array;
  readonly executors: number;
  /** What the recorder saw of a request besides its times. */
  readonly seen: (at: number) => Partial<ExchangeRow>;
  /** The latency that was recorded, if it was not that of the queue; null for none. */
  readonly recordedS?: (at: number, latencyS: number) => number | null;
}

const ROW: ExchangeRow = {
  ...{ id: 1, segment: 's', recorder: 'r', arrivalUs: 0, outcome: null, protocol: null, method: null },
  ...{
    route: null,
    status: null,
    connection: null,
    client: null,
    session: null,
    model: null,
    streamed: null,
  },
  ...{ requestEndOffsetUs: null, firstByteOffsetUs: null, lastByteOffsetUs: null, clientLeftOffsetUs: null },
  ...{ firstTokenOffsetUs: null, promptTokens: null, outputTokens: null, batch: null, answerError: null },
  ...{
    traceId: null,
    requestBytes: null,
    responseBytes: null,
    requestTruncated: false,
    requestStored: false,
  },
  ...{ requestHash: null, responseBody: null },
};

/** The traffic as a recorder in front of the server saw it. */
export function recordingOf(traffic: TrueTraffic): WindowSource {
  const { arrivalsUs, servicesS, executors, seen, recordedS = (_, latencyS) => latencyS } = traffic;
  const firstUs = arrivalsUs[0] ?? 0;
  const latencies = queueLatencies(
    arrivalsUs.map((us) => (us - firstUs) / 1e6),
    executors,
    (at) => servicesS[at]!,
  );
  return {
    *rows(range) {
      for (let at = firstIn(arrivalsUs, range); (arrivalsUs[at] ?? Infinity) < range.toUs; at += 1) {
        const latencyS = recordedS(at, latencies[at]!);
        const answered =
          latencyS === null
            ? {}
            : { outcome: 'completed' as const, lastByteOffsetUs: Math.round(latencyS * 1e6) };
        yield { ...ROW, arrivalUs: arrivalsUs[at]!, ...answered, ...seen(at) };
      }
    },
    *seconds(range) {
      let [second, exchanges] = [-1, 0];
      for (let at = firstIn(arrivalsUs, range); (arrivalsUs[at] ?? Infinity) < range.toUs; at += 1) {
        const of = Math.floor(arrivalsUs[at]! / 1e6);
        if (of !== second && exchanges > 0) yield { second, exchanges };
        exchanges = of === second ? exchanges + 1 : 1;
        second = of;
      }
      if (exchanges > 0) yield { second, exchanges };
    },
  };
}

/** From the first arrival to the last. */
function spanOf({ arrivalsUs }: Pick<TrueTraffic, 'arrivalsUs'>): TimeRange {
  return { fromUs: arrivalsUs[0] ?? 0, toUs: (arrivalsUs.at(-1) ?? 0) + 1 };
}

function firstIn(arrivalsUs: Float64Array, { fromUs }: TimeRange): number {
  let [least, most] = [0, arrivalsUs.length];
  while (least < most) {
    const middle = (least + most) >> 1;
    if (arrivalsUs[middle]! < fromUs) least = middle + 1;
    else most = middle;
  }
  return least;
}

const GREATEST = 64;
const LEAST = 1 / 16;
/** Ten halvings of ten doublings: 0.7 %. */
const HALVINGS = 10;

/** Whether the p99 of a window is within a limit at a multiplier, on a virtual clock. */
function holds(traffic: TrueTraffic, range: TimeRange, limitS: number, multiplier: number): boolean {
  const { arrivalsUs, servicesS, executors } = traffic;
  const first = firstIn(arrivalsUs, range);
  const offsets = arrivalsUs
    .subarray(first, firstIn(arrivalsUs, { ...range, fromUs: range.toUs }))
    .map((us) => (us - range.fromUs) / 1e6 / multiplier);
  const latencies = queueLatencies(offsets, executors, (at) => servicesS[first + at]!).sort();
  return latencies[nearestRank(99, latencies.length) - 1]! <= limitS;
}

/** The breaking point of the chosen window beside those of all. */
export interface Truth {
  /** In multiples of the recorded load. */
  readonly chosen: number;
  /** Share of the windows that break no earlier. */
  readonly noEarlier: number;
  /** Share of the windows that hold at a quarter more. */
  readonly later: number;
}

export function truthOf(
  traffic: TrueTraffic,
  { starts, order }: Pick<RankedWindows, 'starts' | 'order'>,
  lengthS: number,
  limitS: number,
): Truth {
  const holdsAt = (at: number, multiplier: number) => {
    const fromUs = starts[at]!;
    return holds(traffic, { fromUs, toUs: fromUs + lengthS * 1e6 }, limitS, multiplier);
  };
  let [good, bad] = [LEAST, GREATEST];
  for (let halving = 0; halving < HALVINGS; halving += 1) {
    const middle = Math.sqrt(good * bad);
    if (holdsAt(order[0]!, middle)) good = middle;
    else bad = middle;
  }
  const shareAt = (multiplier: number) => order.filter((at) => holdsAt(at, multiplier)).length / order.length;
  return { chosen: bad, noEarlier: shareAt(good), later: shareAt(1.25 * bad) };
}

/** Its windows as they are ranked at 2x. */
export function rankedIn(traffic: TrueTraffic, lengthS: number): RankedWindows {
  return rankWindows(recordingOf(traffic), { ranges: [spanOf(traffic)], lengthS, multiplier: 2 });
}

/** At or below 95 % of all windows; and most windows break later, so that another choice would fail. */
export function expectEarly({ chosen, noEarlier, later }: Truth): void {
  expect(noEarlier).toBeGreaterThanOrEqual(0.95);
  expect(chosen).toBeGreaterThan(2 * LEAST);
  expect(later).toBeGreaterThan(0.5);
}

/** A request of a trace, with gaps in milliseconds. */
export interface TracedRequest {
  readonly gapMs: number;
  readonly prompt: number;
  readonly output: number;
}

/** What a server truly needs for a request, and the limit of its p99. */
export interface TrueServer {
  readonly serviceS: (request: TracedRequest, random: () => number) => number;
  readonly executors: number;
  readonly limitS: number;
}

export const TRUE_SERVERS: Readonly<Record<string, TrueServer>> = {
  'the tokens of answers': {
    serviceS: ({ prompt, output }) => 0.05 + prompt * 1e-5 + output * 0.004,
    executors: 12,
    limitS: 15,
  },
  'the tokens of prompts': {
    serviceS: ({ prompt, output }) => 0.02 + prompt * 2e-4 + output * 1e-4,
    executors: 8,
    limitS: 12,
  },
  'each request': {
    serviceS: (_, random) => SERVICE_TIMES.exponential(random) * 0.2,
    executors: 4,
    limitS: 4,
  },
};
export const TRUE_CASES = Object.keys(TRUE_SERVERS).flatMap((of) => [
  { of, latencies: 'with latencies' },
  { of, latencies: 'with arrivals and tokens alone' },
]);

export function trafficOf(
  requests: Iterable<TracedRequest>,
  server: TrueServer,
  latencies: string,
): TrueTraffic {
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
