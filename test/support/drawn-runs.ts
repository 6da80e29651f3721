import { azureArrivalsUs } from './azure-trace.ts';
import {
  poissonArrivals,
  queueLatencies,
  SERVICE_TIMES,
  type ServiceName,
  uniform,
} from './queue-simulator.ts';

export interface RunParts {
  readonly arrivals: 'poisson' | 'azure';
  readonly service: ServiceName;
  readonly executors: number;
  /** Share of the executors' time that is used. */
  readonly load: number;
  readonly requests: number;
}

/** One drawn run: when requests came, and how long each took; seconds, where a service takes one on average. */
interface DrawnRun {
  readonly arrivals: Float64Array;
  readonly latencies: Float64Array;
}

/** At one a second on average, in the order and with the bursts of the trace. */
let trace: Float64Array | null = null;
function azureArrivals(): Float64Array {
  if (trace !== null) return trace;
  const us = azureArrivalsUs();
  const [first, last] = [us[0]!, us.at(-1)!];
  trace = Float64Array.from(us, (each) => ((each - first) * us.length) / (last - first));
  return trace;
}

/** As many arrivals as there are, at most: the trace ends. */
export function arrivalsOf({ arrivals, executors, load, requests }: RunParts, seed: number): Float64Array {
  const rate = executors * load;
  if (arrivals === 'poisson') return poissonArrivals(requests, rate, uniform(seed));
  return azureArrivals()
    .subarray(0, requests)
    .map((each) => each / rate);
}

/** Poisson arrivals find a queue that has been served for long; a trace begins at an empty one, as its replay does. */
export function drawnRun(parts: RunParts, seed: number): DrawnRun {
  const before = parts.arrivals === 'azure' ? 0 : Math.min(8_000, Math.ceil(20 / (1 - parts.load) ** 2));
  const arrivals = arrivalsOf({ ...parts, requests: parts.requests + before }, seed * 2);
  const random = uniform(seed * 2 + 1);
  const draw = SERVICE_TIMES[parts.service];
  const latencies = queueLatencies(arrivals, parts.executors, () => draw(random));
  const start = arrivals[before]!;
  return {
    arrivals: arrivals.subarray(before).map((each) => each - start),
    latencies: latencies.subarray(before),
  };
}
