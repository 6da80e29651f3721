import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { askFor, untilStatus } from '../support/control.ts';
import { imbalance } from '../support/imbalance.ts';
import { repeated } from '../support/long-form.ts';
import { NumberedOrigin, NumberedTraffic } from '../support/numbered-traffic.ts';
import { PLANES } from '../support/planes.ts';
import { startRecording } from '../support/recording.ts';
import { methodsIn, RECORDING_SIDE } from '../support/recording-side.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PLANTED = `--import=${new URL('./planted-exceptions.ts', import.meta.url)}`;
const NOTHING = 'nothing';

const origin = await new NumberedOrigin().listen();
afterAll(() => origin.close());
const methods = (await methodsIn(RECORDING_SIDE)).map(({ name }) => name);
/** Requests of each plane. */
const REQUESTS = repeated(5_000, 500_000);
/** In CI each plane has every fourth method, and the planes have others. */
const EVERY = repeated(4, 1);

/** A recording in whose proxy exceptions can be planted. */
async function planted(flags: readonly string[]) {
  const directory = join(temporaryDirectory(), 'capture');
  const file = join(temporaryDirectory(), 'planted');
  const env = { NODE_OPTIONS: PLANTED, PLANTED_FILE: file };
  const probes = ['--probe-listen', '127.0.0.1:0'];
  const recording = await startRecording(origin.port, directory, [...flags, ...probes], { env });
  const plant = (name: string) => {
    writeFileSync(file, name);
    recording.process.child.kill('SIGUSR2');
  };
  return { recording, directory, plant };
}

/** Sends this many requests on new connections. @returns those that failed */
async function traffic(port: number, requests: number) {
  const clients = new NumberedTraffic(port, { clients: 4, thinkMs: 0 });
  while (clients.succeeded.length + clients.failed.length < requests) await sleep(5);
  await clients.stop();
  return clients;
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended because of an exception before.
  }
}

describe.each(PLANES)(
  'a recording (%s) with exceptions in every method of its own in the proxy',
  (plane, flags) => {
    it('fails no request, counts what it lost, and records again', async () => {
      const { recording, directory, plant } = await planted(flags);
      const { port, process: running } = recording;
      const [, probePort] = await running.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
      const kept = new NumberedTraffic(port, { clients: 2, thinkMs: 5 });
      let passed = 0;
      const nth = PLANES.findIndex(([name]) => name === plane) % EVERY;
      const some = methods.filter((_, index) => index % EVERY === nth);
      const each = Math.ceil(REQUESTS / some.length);
      for (const name of some) {
        plant(name);
        const first = await traffic(port, each / 2);
        // What only the start of a recorder calls throws too.
        killIfAlive(recording.children().recorder);
        const second = await traffic(port, each / 2);
        await sleep(300);
        passed += first.succeeded.length + second.succeeded.length;
        const { status: ready } = await fetch(`http://127.0.0.1:${probePort}/readyz`);
        const failed = [...first.failed, ...second.failed, ...kept.failed];
        const { exitCode } = running.child;
        plant(NOTHING);
        await sleep(50);
        // Restarts may have become rare, so an operator asks for one.
        await askFor(directory, '/pause');
        await askFor(directory, '/resume');
        expect({ name, failed, ready, exitCode }).toEqual({ name, failed: [], ready: 200, exitCode: null });
      }
      const { exchanges } = await untilStatus(directory, ({ state }) => state === 'HEALTHY');
      const last = await traffic(port, 50);
      await untilStatus(directory, (status) => status.exchanges >= exchanges + 50);
      await kept.stop();
      passed += last.succeeded.length + kept.succeeded.length;
      expect([last.failed, kept.failed]).toEqual([[], []]);
      expect(passed).toBeGreaterThanOrEqual(REQUESTS);
      const status = await untilStatus(directory, ({ pending }) => pending.turns === 0);
      expect(status.recordingFailures).toBeGreaterThan(0);
      expect(imbalance(status)).toEqual({ bytes: 0, turns: 0 });
      expect(status.seen.turns).toBe(passed);
      expect((await recording.stop()).status).toBe(0);
    });
  },
);

it.each([
  'RecorderClient.flush',
  'RecorderClient.finish',
  'RecorderSupervisor.hurry',
  'RecorderSupervisor.stop',
  'AccountKeeper.end',
])('an exception in %s does not keep a recording from ending', async (name) => {
  const { recording, plant } = await planted([]);
  await traffic(recording.port, 20);
  const { recorder } = recording.children();
  plant(name);
  await sleep(100);
  const { status, log } = await recording.stop();
  expect({ status, failures: log.filter(({ state }) => state === 'FAILED').length }).toEqual({
    status: 0,
    failures: 1,
  });
  expect(() => process.kill(recorder, 0)).toThrow();
});
