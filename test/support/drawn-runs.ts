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

/** Several equal queues, each as loaded, and which of them takes a request. */
export interface QueuesParts extends Omit<RunParts, 'arrivals'> {
  readonly queues: number;
  readonly taken: 'in turn' | 'at random';
}

/** One drawn run: when requests came, and how long each took; seconds, where a service takes one on average. */
export interface DrawnRun {
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
  const before = parts.arrivals === 'azure' ? 0 : requestsBefore(parts.load);
  const arrivals = arrivalsOf({ ...parts, requests: parts.requests + before }, seed * 2);
  const random = uniform(seed * 2 + 1);
  const draw = SERVICE_TIMES[parts.service];
  const latencies = queueLatencies(arrivals, parts.executors, () => draw(random));
  return without(before, { arrivals, latencies });
}

/** Poisson arrivals before several queues that have been served for long. */
export function drawnQueues(parts: QueuesParts, seed: number): DrawnRun {
  const { queues, taken, executors, load, service } = parts;
  const before = queues * requestsBefore(load);
  const arrivals = poissonArrivals(parts.requests + before, queues * executors * load, uniform(seed * 3));
  const [choose, random] = [uniform(seed * 3 + 1), uniform(seed * 3 + 2)];
  const queued: number[][] = Array.from({ length: queues }, () => []);
  for (const at of arrivals.keys()) {
    queued[taken === 'in turn' ? at % queues : Math.floor(choose() * queues)]!.push(at);
  }
  const latencies = new Float64Array(arrivals.length);
  for (const own of queued) {
    const ownArrivals = Float64Array.from(own, (at) => arrivals[at]!);
    const ownLatencies = queueLatencies(ownArrivals, executors, () => SERVICE_TIMES[service](random));
    for (const [nth, at] of own.entries()) latencies[at] = ownLatencies[nth]!;
  }
  return without(before, { arrivals, latencies });
}

/** After so many a queue no longer tells that it began empty. */
function requestsBefore(load: number): number {
  return Math.min(8_000, Math.ceil(20 / (1 - load) ** 2));
}

function without(before: number, { arrivals, latencies }: DrawnRun): DrawnRun {
  const start = arrivals[before]!;
  return {
    arrivals: arrivals.subarray(before).map((each) => each - start),
    latencies: latencies.subarray(before),
  };
}
