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

/** Several equal queues with the same load each, and how requests are assigned to them. */
export interface QueuesParts extends Omit<RunParts, 'arrivals'> {
  readonly queues: number;
  readonly taken: 'in turn' | 'at random';
}

/** One simulated run: arrivals and latencies, in units of the mean service time (one second). */
export interface DrawnRun {
  readonly arrivals: Float64Array;
  readonly latencies: Float64Array;
}

/** The trace's arrivals, scaled to one per second on average, with the order and bursts of the trace. */
let trace: Float64Array | null = null;
function azureArrivals(): Float64Array {
  if (trace !== null) return trace;
  const us = azureArrivalsUs();
  const [first, last] = [us[0]!, us.at(-1)!];
  trace = Float64Array.from(us, (each) => ((each - first) * us.length) / (last - first));
  return trace;
}

/** The arrivals of a run; for the trace, at most as many as it has. */
export function arrivalsOf({ arrivals, executors, load, requests }: RunParts, seed: number): Float64Array {
  const rate = executors * load;
  if (arrivals === 'poisson') return poissonArrivals(requests, rate, uniform(seed));
  return azureArrivals()
    .subarray(0, requests)
    .map((each) => each / rate);
}

/** A run. Poisson arrivals find a queue in its steady state; a trace begins with an empty queue, like its replay. */
export function drawnRun(parts: RunParts, seed: number): DrawnRun {
  const before = parts.arrivals === 'azure' ? 0 : requestsBefore(parts.load);
  const arrivals = arrivalsOf({ ...parts, requests: parts.requests + before }, seed * 2);
  const random = uniform(seed * 2 + 1);
  const draw = SERVICE_TIMES[parts.service];
  const latencies = queueLatencies(arrivals, parts.executors, () => draw(random));
  return without(before, { arrivals, latencies });
}

/** A run with Poisson arrivals at several queues in their steady state. */
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

/** Requests after which a queue is in its steady state, although it began empty. */
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
