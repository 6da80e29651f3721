import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { peakResidentBytesOf } from '../support/measured-run.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { EquationWatch, msUntil, scrape, totalOf } from '../support/recorder-watch.ts';
import { startRecording } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import type { Burden, Weight } from './overload-clients.ts';

const MIB = 1024 * 1024;
const IDLE = 10_000;
const SLOW = 500;
const UPLOADS = 200;
/** What a process needs beside the connections of the burden: healthy ones, pipes, files. */
const SPARE_DESCRIPTORS = 600;
/** For what sockets hold of the uploads, some megabytes each, to pass. */
const STALL_LIMIT_MS = 30_000;
const SLOW_GONE_MS = 20_000;
const WARMING_MS = 1_000;
const BEFORE_MS = 6_000;
/** Stretches that are looked at where the first shows somebody hurt, and how many of them must show nobody. */
const WINDOWS_MAX = 5;
const WINDOWS_UNHURT = 3;
/** For the last of the slow clients to be heard of; how long each lived is told by those who held it. */
const SLOW_HEARD_MS = 40_000;
const PER_SECOND = 150;
/** What two runs of a shared machine differ by when nothing is wrong, ms. */
const FLOOR_MS = 10;

const helpers: ChildProcess[] = [];
const watches: EquationWatch[] = [];
afterEach(async () => {
  // Before the recorder goes: what asks a probe that is gone fails the run a second time.
  for (const watch of watches.splice(0)) await watch.stop();
  for (const helper of helpers.splice(0)) helper.kill('SIGKILL');
});

function helper(name: string): ChildProcess {
  const child = fork(`${repositoryRoot}/test/alone/${name}.ts`, { execArgv: [] });
  helpers.push(child);
  return child;
}

async function ask(child: ChildProcess, job: Weight | { count: true } | { release: true }): Promise<Burden> {
  const answered = once(child, 'message');
  child.send(job);
  return ((await answered) as [Burden])[0];
}

/** Every process of the scene has the same limit: a connection takes `each` of its descriptors in the forwarder. */
function idleThatFit(each: number): number {
  const limit = /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
  const fit = Math.floor((Number(limit ?? 1_048_576) - SPARE_DESCRIPTORS) / each) - SLOW - UPLOADS;
  return Math.min(IDLE, fit);
}

function p99Ms(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
}

interface P99s {
  readonly through: number;
  readonly direct: number;
}

/** Until what the sockets on the way hold of the uploads has passed: from here on they stand still. */
async function untilStalled(probePort: number): Promise<void> {
  let seenBytes = 0;
  await msUntil(STALL_LIMIT_MS, 'the uploads stall', async () => {
    await sleep(500);
    const beforeBytes = seenBytes;
    seenBytes = totalOf(await scrape(probePort), 'reprise_seen_bytes_total');
    return seenBytes - beforeBytes < MIB;
  });
}

interface Account {
  readonly seen: Amounts;
  readonly recorded: Amounts;
  readonly lost: Readonly<Record<string, Amounts>>;
  readonly omitted: Readonly<Record<string, Amounts>>;
}
interface Amounts {
  readonly bytes: number;
  readonly turns: number;
}

function imbalance({ seen, recorded, lost, omitted }: Account, unit: keyof Amounts): number {
  const kinds = [...Object.values(lost), ...Object.values(omitted)];
  return kinds.reduce((sum, kind) => sum - kind[unit], seen[unit] - recorded[unit]);
}

describe.each([
  // The gateway pools its connections to the server; only unread uploads hold one each. What may be in flight has
  // its room in the limit of open files.
  { plane: 'wire', flags: [], descriptorsEach: 2, slowLeft: SLOW },
  {
    plane: 'gateway',
    flags: ['--mode', 'gateway', '--max-in-flight', '2000'],
    descriptorsEach: 1,
    slowLeft: 0,
  },
])('an overload of the $plane plane', ({ flags, descriptorsEach, slowLeft }) => {
  const idle = idleThatFit(descriptorsEach);

  it(`by ${idle} idle connections, ${SLOW} slow clients and ${UPLOADS} unread uploads hurts nobody else`, async () => {
    const origin = helper('overload-origin');
    const clients = helper('overload-clients');
    const [{ port: originPort }] = (await once(origin, 'message')) as [{ port: number }];
    const recording = await startRecording(originPort, `${temporaryDirectory()}/capture`, [
      ...['--probe-listen', '127.0.0.1:0', '--max-connections', String(IDLE + SLOW + UPLOADS + 1_000)],
      ...flags,
    ]);
    const [, probe] = await recording.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
    const children = recording.children();
    const descriptors = () => readdirSync(`/proc/${children.proxy}/fd`).length;
    const descriptorsBefore = descriptors();
    const watch = new EquationWatch(Number(probe), 500);
    watches.push(watch);

    // Beside it, what the same load does to those who ask the server themselves: that is not the recorder's doing.
    const direct = new PacedTraffic(originPort, PER_SECOND);
    const healthy = new PacedTraffic(recording.port, PER_SECOND);
    const forget = () => [healthy, direct].map((traffic) => traffic.takeLatenciesMs());
    const p99sMs = (): P99s => ({
      through: p99Ms(healthy.takeLatenciesMs()),
      direct: p99Ms(direct.takeLatenciesMs()),
    });
    await sleep(WARMING_MS);
    forget();
    await sleep(BEFORE_MS);
    const before = p99sMs();

    const weight = { port: recording.port, idle: 0, slow: 0, uploads: 0 };
    expect(await ask(clients, { ...weight, idle, uploads: UPLOADS })).toMatchObject({
      idle,
      uploads: UPLOADS,
    });
    await untilStalled(Number(probe));
    const opening = p99sMs();
    expect(await ask(clients, { ...weight, slow: SLOW })).toMatchObject({ slow: SLOW });
    forget();
    await sleep(SLOW_GONE_MS);
    const meanwhile = p99sMs();
    let held = await ask(clients, { count: true });
    await msUntil(SLOW_HEARD_MS, 'the slow clients have gone', async () => {
      if (held.slow !== slowLeft) held = await ask(clients, { count: true });
      return held.slow === slowLeft;
    });
    // A neighbour of this machine may have been it for a while: then most stretches must show that it was. Harm that
    // the burden does lasts as long as the burden, and shows in all.
    const allowedMs = ({ direct: now }: P99s) =>
      2 * before.through + FLOOR_MS + Math.max(0, now - before.direct);
    const windows = [meanwhile];
    const isUnhurt = (one: P99s) => one.through < allowedMs(one);
    const unhurt = () => windows.filter(isUnhurt).length;
    while (!isUnhurt(meanwhile) && unhurt() < WINDOWS_UNHURT && windows.length < WINDOWS_MAX) {
      await sleep(BEFORE_MS);
      windows.push(p99sMs());
    }

    const connections = idle + SLOW + UPLOADS;
    const peak = {
      forwarderMib: peakResidentBytesOf(children.proxy) / MIB,
      recorderMib: peakResidentBytesOf(children.recorder) / MIB,
    };
    console.log(JSON.stringify({ connections, before, opening, windows, peak, held }));
    expect(held).toMatchObject({ idle, uploads: UPLOADS, slow: slowLeft });
    expect(held.slowLivedMs).toBeLessThan(SLOW_GONE_MS);
    expect(peak.forwarderMib).toBeLessThan(128 + 64 + connections / 16);
    expect(peak.recorderMib).toBeLessThan(384);
    expect(isUnhurt(meanwhile) || unhurt() >= WINDOWS_UNHURT, JSON.stringify(windows)).toBe(true);

    await ask(clients, { release: true });
    await direct.stop();
    await healthy.stop();
    await msUntil(10_000, 'descriptors are given back', () => descriptors() <= descriptorsBefore + 2);
    await watch.stop();
    expect(recording.children()).toEqual(children);
    const { status, log, end } = await recording.stop();
    expect(status).toBe(0);
    expect(healthy.failed).toEqual([]);
    expect(direct.failed).toEqual([]);
    expect(log.filter(({ message }) => /killing|ended|hangs/.test(message))).toEqual([]);
    expect(watch.imbalances).toEqual([]);
    expect(end).toMatchObject({ turnedAway: 0, pending: { bytes: 0, turns: 0 } });
    const account = end as unknown as Account;
    expect(imbalance(account, 'turns')).toBe(0);
    expect(imbalance(account, 'bytes')).toBe(0);
    expect(account.seen.turns).toBeGreaterThanOrEqual(healthy.succeeded + idle);
  });
});
