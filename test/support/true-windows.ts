import type { RankedWindows, WindowSource } from '../../src/analysis/windows/rank.ts';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import { nearestRank } from '../../src/core/histogram.ts';
import type { TimeRange } from '../../src/core/ports.ts';
import { queueLatencies } from './queue-simulator.ts';

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
export function spanOf({ arrivalsUs }: Pick<TrueTraffic, 'arrivalsUs'>): TimeRange {
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

/** The least multiplier at which the p99 of a window is above a limit, on a virtual clock. */
function breakingPointOf(traffic: TrueTraffic, range: TimeRange, limitS: number): number {
  const { arrivalsUs, servicesS, executors } = traffic;
  const first = firstIn(arrivalsUs, range);
  const offsets = arrivalsUs
    .subarray(first, firstIn(arrivalsUs, { ...range, fromUs: range.toUs }))
    .map((us) => (us - range.fromUs) / 1e6);
  const holds = (multiplier: number) => {
    const latencies = queueLatencies(
      offsets.map((offset) => offset / multiplier),
      executors,
      (at) => servicesS[first + at]!,
    ).sort();
    return latencies[nearestRank(99, latencies.length) - 1]! <= limitS;
  };
  let [good, bad] = [LEAST, GREATEST];
  for (let halving = 0; halving < HALVINGS; halving += 1) {
    const middle = Math.sqrt(good * bad);
    if (holds(middle)) good = middle;
    else bad = middle;
  }
  return bad;
}

/** The breaking points of all windows, and the share of windows that break no earlier than the chosen one. */
export function truthOf(
  traffic: TrueTraffic,
  { starts, order }: Pick<RankedWindows, 'starts' | 'order'>,
  lengthS: number,
  limitS: number,
): { readonly chosen: number; readonly least: number; readonly noEarlier: number } {
  const points = starts.map((fromUs) =>
    breakingPointOf(traffic, { fromUs, toUs: fromUs + lengthS * 1e6 }, limitS),
  );
  const chosen = points[order[0]!]!;
  return {
    chosen,
    least: Math.min(...points),
    noEarlier: points.filter((point) => point >= chosen).length / points.length,
  };
}
