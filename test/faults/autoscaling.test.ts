import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { documentOf, replay, requestsOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const INTERVAL_MS = 200;
const REACTION_MS = 1_000;
const PROVISIONING_MS = 2_500;
const SERVICE_MS = 20;
/** Requests a second that one replica carries. */
const CARRIES = 1_000 / SERVICE_MS;

const servers: { close(): void; closeAllConnections(): void }[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

/** One request after the other in each replica; two replicas more a known time after the load rose. */
class ScaledServer {
  desired = 1;
  ready = 1;
  /** On the wall clock, milliseconds. */
  desiredAtMs = Number.NaN;
  readyAtMs = Number.NaN;
  readonly #freeAtMs: number[] = [0];
  readonly #recent: number[] = [];
  #isScaling = false;

  answerAfterMs(nowMs: number): number {
    this.#recent.push(nowMs);
    while ((this.#recent[0] ?? nowMs) < nowMs - 1_000) this.#recent.shift();
    if (!this.#isScaling && this.#recent.length > CARRIES) this.#scale();
    const least = this.#freeAtMs.indexOf(Math.min(...this.#freeAtMs));
    const doneMs = Math.max(nowMs, this.#freeAtMs[least] ?? 0) + SERVICE_MS;
    this.#freeAtMs[least] = doneMs;
    return doneMs - nowMs;
  }

  get metrics(): string {
    return `kn_revision_pods_desired ${this.desired}\nkn_revision_pods_count ${this.ready}\n`;
  }

  #scale(): void {
    this.#isScaling = true;
    setTimeout(() => {
      this.desired = 3;
      this.desiredAtMs = Date.now();
      setTimeout(() => {
        this.ready = 3;
        this.readyAtMs = Date.now();
        this.#freeAtMs.push(0, 0);
      }, PROVISIONING_MS);
    }, REACTION_MS);
  }

  async listen(): Promise<string> {
    const server = createServer((request, response) => {
      request.resume();
      if (request.url === '/metrics') response.end(this.metrics);
      else setTimeout(() => response.end('{"outputs":[]}'), this.answerAfterMs(Date.now()));
    });
    servers.push(server);
    await new Promise<void>((listening) => void server.listen(0, '127.0.0.1', listening));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
}

test('a replica that is added a known time after the load is read out within one look', {
  timeout: 60_000,
}, async () => {
  const scaled = new ScaledServer();
  const url = await scaled.listen();
  const capacity = join(temporaryDirectory(), 'capacity.json');
  writeFileSync(
    capacity,
    JSON.stringify({
      kind: 'capacity',
      breakingPoint: { passes: { multiplier: 1, ratePerSecond: CARRIES } },
      sizing: { replicas: 1 },
    }),
  );
  const result = await replay(captureOf(requestsOf(1_000, 50_000)), url, [
    ...['--json', '--scaling', 'compress', '--stages', '5s@1x,10s@4.5x'],
    ...['--monitor', 'target', '--monitor', `interval=${INTERVAL_MS}ms`, '--capacity', capacity],
    ...['--slo', 'latency: p(90)<400'],
  ]);
  const document = documentOf(result);
  const [step, ...more] = document.autoscaling?.steps ?? [];
  expect(more).toEqual([]);
  expect(step).toMatchObject({ direction: 'up', atS: 5, objective: 'met_again' });
  const stepMs = Date.parse(document.startedAt) + 5_000;
  const lateness = {
    desired: (step?.desiredS ?? Number.NaN) * 1e3 - (scaled.desiredAtMs - stepMs),
    ready: (step?.readyS ?? Number.NaN) * 1e3 - (scaled.readyAtMs - stepMs),
  };
  // A look stands at its middle, and a timer of a busy machine is late.
  for (const ms of Object.values(lateness)) {
    expect(ms).toBeGreaterThan(-50);
    expect(ms).toBeLessThan(INTERVAL_MS + 50);
  }
  expect(step?.objectiveMetS).toBeGreaterThan((step?.readyS ?? 0) - 1);
  expect(document.autoscaling?.violatedS).toBeGreaterThan(0);
  expect(document.autoscaling).toMatchObject({
    readyReplicas: { first: 1, max: 3, last: 3 },
    elasticity: { ratePerReplica: CARRIES },
  });
  expect(document.autoscaling?.elasticity?.under.timesharePercent).toBeGreaterThan(10);
});
