import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterwards } from './leftovers.ts';
import { SERVICE_TIMES, uniform } from './queue-simulator.ts';

export interface QueueServerParts {
  readonly executors: number;
  /** Mean service time. Use at least 20 ms, so that delays of the machine are small in comparison. */
  readonly serviceMs: number;
  readonly seed: number;
  /** One of `every` requests gets this status at once; none by default. */
  readonly refusal?: { readonly every: number; readonly status: number };
}

export interface QueueServer {
  readonly url: string;
  /** Total delay of its answers compared with the queue, beyond the usual error of timers, ms. */
  readonly lateMs: () => number;
}

/** Usual error of a timer in an undisturbed process. */
const TIMER_MS = 3;

/** A model server in real time, with executors, a queue and steady service times. */
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

/** When a request that comes now ends: first come first served, by the executor that is free first. */
function endOf(freeAtMs: Float64Array, serviceMs: number): number {
  const first = freeAtMs.indexOf(Math.min(...freeAtMs));
  const end = Math.max(performance.now(), freeAtMs[first] ?? 0) + serviceMs;
  freeAtMs[first] = end;
  return end;
}
