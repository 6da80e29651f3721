import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterwards } from './leftovers.ts';
import { SERVICE_TIMES, uniform } from './queue-simulator.ts';

export interface QueueServerParts {
  readonly executors: number;
  /** Mean of a service time; 20 ms and more, so that what the machine adds is small beside it. */
  readonly serviceMs: number;
  readonly seed: number;
  /** Every so many requests is answered with this status at once; none by default. */
  readonly refusal?: { readonly every: number; readonly status: number };
}

export interface QueueServer {
  readonly url: string;
  /** By how much its answers came later than the queue would have it, beyond what any timer does, ms in all. */
  readonly lateMs: () => number;
}

/** A timer fires within that long where nothing keeps its process from running. */
const TIMER_MS = 3;

/** A model server with executors, a queue before them, and steady service times: by real time. */
export async function queueServer({
  executors,
  serviceMs,
  seed,
  refusal,
}: QueueServerParts): Promise<QueueServer> {
  let lateMs = 0;
  const random = uniform(seed);
  let turn = 0;
  const freeAtMs = new Float64Array(executors);
  const server = createServer(async (request, response) => {
    request.resume();
    const number = turn;
    turn += 1;
    if (refusal !== undefined && number % refusal.every === 0) {
      response.writeHead(refusal.status).end();
      return;
    }
    const service = SERVICE_TIMES.steady(random) * serviceMs;
    const endMs = endOf(freeAtMs, service);
    await sleep(endMs - performance.now());
    lateMs += Math.max(0, performance.now() - endMs - TIMER_MS);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"outputs":[]}');
  });
  afterwards(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, lateMs: () => lateMs };
}

/** When a request that comes now is done: first come first served by the executor that is free first. */
function endOf(freeAtMs: Float64Array, serviceMs: number): number {
  const first = freeAtMs.indexOf(Math.min(...freeAtMs));
  const end = Math.max(performance.now(), freeAtMs[first] ?? 0) + serviceMs;
  freeAtMs[first] = end;
  return end;
}
