import { SeededRandom } from '../../core/random.ts';
import { serve } from '../stats/queues.ts';
import { BacklogWatch, type HealthyStep } from './early-stop.ts';

/** A request of a schedule. */
export interface DueRequest {
  /** When it is due, seconds from the schedule's start. Schedules are ascending. */
  readonly offsetS: number;
  /** Size of the body; the model derives the service time from it. */
  readonly requestBytes: number;
}

/** Service times of requests up to a size. */
export interface SizeClass {
  /** The largest request of the class, bytes; infinity for the last one. */
  readonly upToBytes: number;
  /** Samples of the service time, seconds, in any number. Each request draws one at random. */
  readonly servicesS: readonly number[];
}

/** A server as a queue: executors that serve one request at a time each, first come first served. */
export interface QueueModel {
  readonly executors: number;
  /** Ascending by size. */
  readonly sizes: readonly SizeClass[];
}

/** A seeded generator of random numbers from 0 to 1 (exclusive). */
export function uniformBy(seed: number): () => number {
  const random = new SeededRandom(seed);
  return () => random.nextUint32() / 2 ** 32;
}

/**
 * Simulates a schedule on a virtual clock, beginning with an empty queue.
 * @returns the latency of each request, seconds: waiting plus service
 */
export function playQueue(
  { executors, sizes }: QueueModel,
  schedule: readonly DueRequest[],
  random: () => number,
): Float64Array {
  const arrivals = Float64Array.from(schedule, ({ offsetS }) => offsetS);
  return serve({ executors, isShared: false }, arrivals, (at) => {
    const { servicesS } =
      sizes.find(({ upToBytes }) => schedule[at]!.requestBytes <= upToBytes) ?? sizes.at(-1)!;
    return servicesS[Math.floor(random() * servicesS.length)]!;
  });
}

/**
 * When a simulated step would be given up as hopeless, with one check per second.
 * @param latenciesS latencies of the schedule's requests
 * @returns seconds from the schedule's start; null if the step runs to its end
 */
export function hopelessAtS(
  schedule: readonly DueRequest[],
  latenciesS: Float64Array,
  healthy: HealthyStep,
): number | null {
  const watch = new BacklogWatch(healthy);
  const ends = latenciesS.map((latency, at) => latency + schedule[at]!.offsetS).sort();
  let due = 0;
  let ended = 0;
  for (let elapsedS = 1; due < schedule.length; elapsedS++) {
    while (due < schedule.length && schedule[due]!.offsetS <= elapsedS) due += 1;
    while (ended < ends.length && ends[ended]! <= elapsedS) ended += 1;
    watch.add({ due, inFlight: due - ended });
    if (watch.isHopeless) return elapsedS;
  }
  return null;
}
