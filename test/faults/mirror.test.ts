import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { MirrorReading } from '../../src/core/accounting.ts';
import { untilStatus } from '../support/control.ts';
import { freePort } from '../support/free-port.ts';
import { repeated } from '../support/long-form.ts';
import { samplesOf } from '../support/metrics.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { runReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PER_SECOND = repeated(200, 300);
const TRAFFIC_MS = repeated(2_500, 7_000);
const RUNS = repeated(0, 7);
/** A limit that is reached: a server that hangs fills it in a moment. */
const IN_FLIGHT = 16;
const BODY_BYTES = 10_000;
const PSS_MIB = 256;
const SLOW_MS = 200;

const origin = new NumberedOrigin();
const hanging = createServer(() => undefined);
const slow = createServer((request, response) => {
  request.resume().on('end', () => setTimeout(() => response.end('{}'), SLOW_MS));
});

beforeAll(async () => {
  await origin.listen();
  for (const server of [hanging, slow]) await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterAll(async () => {
  for (const server of [hanging, slow]) {
    server.closeAllConnections();
    server.close();
  }
  await origin.close();
});

async function mirrorPort(kind: 'hangs' | 'refuses' | 'is slow'): Promise<number> {
  if (kind === 'refuses') return await freePort();
  return ((kind === 'hangs' ? hanging : slow).address() as AddressInfo).port;
}

/** MiB of a process, shared pages by their share. */
function pssMib(pid: number): number {
  const [, kib = '0'] = /^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** Records traffic, and ends. */
async function recorded(flags: readonly string[]) {
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(origin.port, directory, flags);
  const traffic = new PacedTraffic(recording.port, PER_SECOND, 'x'.repeat(BODY_BYTES));
  await sleep(TRAFFIC_MS);
  const { proxy, recorder } = recording.children();
  const memoryMib = pssMib(proxy) + pssMib(recorder);
  await traffic.stop();
  const sent = traffic.succeeded;
  const status = await untilStatus(directory, ({ exchanges }) => exchanges === sent);
  const latencies = traffic.takeLatenciesMs();
  const p99Ms = latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN;
  const { end } = await recording.stop();
  expect(traffic.failed).toEqual([]);
  expect(end).toMatchObject({ exchanges: sent, lost: {} });
  return { directory, sent, p99Ms, memoryMib, mirror: status.mirror };
}

function mirroring(port: number): string[] {
  return ['--mirror', `127.0.0.1:${port},share=100%,in-flight=${IN_FLIGHT},timeout=1s`];
}

describe('a mirror', () => {
  test.each(['hangs', 'refuses', 'is slow'] as const)(
    'that %s costs no request, no recording and no memory, and is counted',
    async (kind) => {
      const flags = mirroring(await mirrorPort(kind));
      const { directory, sent, memoryMib } = await recorded(flags);
      console.log(`${kind}: ${sent} requests, ${memoryMib.toFixed(0)} MiB`);
      expect(memoryMib).toBeLessThan(PSS_MIB);
      const path = join(directory, 'mirror.json');
      expect(statSync(path).mode & 0o777).toBe(0o600);
      const end = JSON.parse(readFileSync(path, 'utf8')) as MirrorReading & { schema: string };
      expect(end).toMatchObject({ schema: 'reprise-mirror/1', chosen: sent, inFlight: 0 });
      expect(sumOf(end.dropped) + sumOf(end.failed) + end.answered).toBe(sent);
      if (kind === 'refuses')
        expect(end).toMatchObject({ answered: 0, failed: { connect: sent - end.dropped.busy } });
      else {
        // What a server of this speed can take in the time, and not one more.
        const most = IN_FLIGHT * (Math.ceil(TRAFFIC_MS / (kind === 'hangs' ? 1_000 : SLOW_MS)) + 10);
        expect(end.dropped.busy).toBeGreaterThanOrEqual(sent - most);
        expect(end.dropped.busy).toBeGreaterThan(0);
      }
      if (kind === 'is slow') expect(end).toMatchObject({ otherStatus: 0, statuses: {} });
      const { stdout } = await runReprise(['verify', directory, '--json']);
      expect(JSON.parse(stdout)).toMatchObject({ ok: true });
    },
  );

  test('that records omits the copies, and both servers are told apart in status and metrics', async () => {
    const [behind, before] = [join(temporaryDirectory(), 'behind'), join(temporaryDirectory(), 'before')];
    const second = await startRecording(origin.port, behind);
    const flags = ['--mirror', `127.0.0.1:${second.port},share=100%`, '--probe-listen', '127.0.0.1:0'];
    const first = await startRecording(origin.port, before, flags);
    const [, probe] = await first.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
    const traffic = new PacedTraffic(first.port, 20);
    await sleep(1_000);
    await traffic.stop();
    const { mirror } = await untilStatus(before, (status) => status.mirror?.answered === traffic.succeeded);
    expect(mirror).toMatchObject({ chosen: traffic.succeeded, otherStatus: 0, inFlight: 0 });
    const metrics = samplesOf(await (await fetch(`http://127.0.0.1:${probe}/metrics`)).text());
    expect(metrics.get('reprise_mirror_requests_total{result="answered"}')).toBe(traffic.succeeded);
    expect(metrics.get('reprise_mirror_duration_seconds_count')).toBe(traffic.succeeded);
    const { stdout } = await runReprise(['status', '--dir', before]);
    expect(stdout).toMatch(
      new RegExp(`mirrored +${traffic.succeeded} chosen, ${traffic.succeeded} answered`),
    );
    await first.stop();
    const { end } = await second.stop();
    expect(end).toMatchObject({ exchanges: 0, omitted: { replay_marked: { turns: traffic.succeeded } } });
  });

  test.runIf(RUNS > 0)(
    'changes p99 by less than the runs without it differ (only in the long form)',
    async () => {
      const p99 = {
        without: [] as number[],
        hangs: [] as number[],
        refuses: [] as number[],
        'is slow': [] as number[],
      };
      for (let run = 0; run < RUNS; run += 1) {
        p99.without.push((await recorded([])).p99Ms);
        for (const kind of ['hangs', 'refuses', 'is slow'] as const)
          p99[kind].push((await recorded(mirroring(await mirrorPort(kind)))).p99Ms);
      }
      console.log(JSON.stringify(p99));
      const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
      const spread = Math.max(...p99.without) - Math.min(...p99.without);
      for (const kind of ['hangs', 'refuses', 'is slow'] as const)
        expect(median(p99[kind]) - median(p99.without), kind).toBeLessThan(spread);
    },
  );
});
