import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { freePort } from '../support/free-port.ts';
import { repeated } from '../support/long-form.ts';
import { NumberedOrigin, NumberedTraffic } from '../support/numbered-traffic.ts';
import { PLANES } from '../support/planes.ts';
import { type RunningProcess, runReprise, startReprise } from '../support/process.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const KILLS = repeated(10, 30);
/** A start takes half of it. */
const LIVES_MS = 2_000;

let origin: NumberedOrigin;
let directory = '';
let port = 0;

beforeEach(async () => {
  origin = await new NumberedOrigin().listen();
  directory = join(temporaryDirectory(), 'capture');
  port = await freePort();
});
afterEach(async () => {
  await origin.close();
});

function start(flags: readonly string[]): RunningProcess {
  const at = ['--target', `127.0.0.1:${origin.port}`, '--listen', `127.0.0.1:${port}`, '--dir', directory];
  const quick = ['--drain-delay', '0s', '--probe-listen', 'off', ...flags];
  return startReprise(['--log-format', 'json', 'record', ...at, ...quick], { ownGroup: true });
}

/** All processes of it at once, as the kernel's memory killer or the end of a node does. */
async function killAll(recording: RunningProcess): Promise<void> {
  process.kill(-(recording.child.pid as number), 'SIGKILL');
  await recording.finished;
}

/** Null if there is no capture yet. */
async function inspect(): Promise<InspectDocument | null> {
  const { status, stdout, stderr } = await runReprise(['inspect', directory, '--json']);
  if (status === 0) return JSON.parse(stdout) as InspectDocument;
  expect(stderr).toContain('is not a capture');
  return null;
}

/** What the recorder must and what it may have seen: of a request that failed nobody knows. */
interface Passed {
  readonly least: number;
  readonly most: number;
}

function expectAccounted(document: InspectDocument, { least, most }: Passed, what: string): void {
  const { exchanges, losses, coverage, coverageAtLeast } = document;
  const counted = exchanges + losses.exchanges;
  expect(counted, what).toBeLessThanOrEqual(most);
  expect(counted + (losses.uncountedAtMost ?? Number.NaN), what).toBeGreaterThanOrEqual(least);
  if (exchanges < least) expect(coverage ?? 0, what).toBeLessThan(1);
  if (least === 0) return;
  expect(coverage ?? 1, what).toBeGreaterThanOrEqual(exchanges / most);
  expect(coverageAtLeast, what).toBeLessThanOrEqual(exchanges / least);
}

describe.each(PLANES)('kill -9 of all processes at random instants, the start included, %s', (_, flags) => {
  test('inspect accounts for what the clients sent, never claims all of it, and counts nothing twice', async () => {
    const traffic = new NumberedTraffic(port, { thinkMs: 10 });
    /** A connection that was refused carried no request. */
    const passed = () => {
      const unclear = traffic.failed.filter(({ reason }) => !reason.includes('ECONNREFUSED'));
      return { least: traffic.succeeded.length, most: traffic.succeeded.length + unclear.length };
    };
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const recording = start(flags);
      const lifeMs = Math.random() * LIVES_MS;
      await sleep(lifeMs);
      await killAll(recording);
      // What was under way has failed by then.
      await sleep(50);
      const document = await inspect();
      if (document === null) expect(passed().most).toBe(0);
      else expectAccounted(document, passed(), `kill ${kill} after ${Math.round(lifeMs)} ms`);
    }
    const last = start(flags);
    await last.waitFor('stderr', /"state":"HEALTHY"/);
    await sleep(500);
    await traffic.stop();
    last.child.kill('SIGTERM');
    expect((await last.finished).status).toBe(0);
    const document = (await inspect()) as InspectDocument;
    expectAccounted(document, passed(), 'at the end');
    expect(document.killed.every(({ foundAt }) => foundAt !== null)).toBe(true);
    const ids = storedIds(directory);
    expect(new Set(ids).size).toBe(ids.length);
    expect(document.exchanges).toBe(ids.length);
    const succeeded = new Set(traffic.succeeded);
    expect(ids.filter((id) => succeeded.has(id)).length).toBeGreaterThan(0);
  }, 600_000);
});
