import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { afterwards } from '../support/leftovers.ts';
import { NumberedOrigin, NumberedTraffic, type TrafficOptions } from '../support/numbered-traffic.ts';
import { EquationWatch, msUntil, scrape, totalOf } from '../support/recorder-watch.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Recording must continue this soon after a fault, in addition to the time of a start on this host. */
const RECOVERY_MS = 5_000;
/** Scrapes after a fault that must find the account balanced. */
const LATER_SCRAPES = 5;

/** A separate file system that can be filled and made unwritable. Needs root. */
export function smallDisk(megabytes: number): string {
  const directory = join(temporaryDirectory(), 'disk');
  mkdirSync(directory);
  const flags = ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'none', directory];
  const { status, stderr } = spawnSync('mount', flags, { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  afterwards(() => spawnSync('umount', ['-l', directory]));
  return directory;
}

export interface Scene {
  readonly directory: string;
  readonly recording: RecordingProcess;
  readonly traffic: NumberedTraffic;
  /** Number of recorded turns so far. */
  readonly committed: () => Promise<number>;
}

export interface SceneOptions extends TrafficOptions {
  readonly flags?: readonly string[];
  readonly capture?: string;
}

export interface SceneEnd {
  readonly lost: Readonly<Record<string, { readonly turns: number } | undefined>>;
  readonly recorded: number;
  readonly stored: number;
  readonly succeeded: number;
}

/**
 * Runs traffic through a recorder during a fault, which ends when `fault` returns. Then it checks: no request failed,
 * recording continues in time, the account was balanced in every scrape and at the end, and every request is stored
 * once or counted as not stored.
 */
export async function survives(
  fault: (scene: Scene) => Promise<void>,
  options: SceneOptions = {},
): Promise<SceneEnd> {
  const origin = await new NumberedOrigin().listen();
  const directory = options.capture ?? join(temporaryDirectory(), 'capture');
  const sinceMs = performance.now();
  const recording = await startRecording(origin.port, directory, [
    ...['--probe-listen', '127.0.0.1:0', '--drain-delay', '0s'],
    ...(options.flags ?? []),
  ]);
  const [, probe] = await recording.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
  const committed = async () => totalOf(await scrape(Number(probe)), 'reprise_recorded_turns_total');
  const watch = new EquationWatch(Number(probe));
  const traffic = new NumberedTraffic(recording.port, options);
  await msUntil(30_000, 'the first commit', async () => (await committed()) > 20);
  // A restarted recorder needs at most the time that both processes needed; on a busy host that is seconds.
  const startMs = performance.now() - sinceMs;

  await fault({ directory, recording, traffic, committed });
  const atEnd = await committed();
  await msUntil(RECOVERY_MS + startMs, 'recording goes on', async () => (await committed()) > atEnd);
  // The repaired recorder is also scraped for a while, even if it answers slowly.
  const scrapes = watch.scrapes;
  await msUntil(20_000, 'more scrapes', () => watch.scrapes > scrapes + LATER_SCRAPES);

  await traffic.stop();
  await watch.stop();
  const { status, end } = await recording.stop();
  await origin.close();
  expect(status).toBe(0);
  expect(traffic.failed).toEqual([]);
  expect(new Set(origin.answered)).toEqual(new Set(traffic.succeeded));
  expect(watch.imbalances).toEqual([]);
  return judged(
    end as unknown as Account,
    existsSync(directory) ? storedIds(directory) : [],
    traffic.succeeded,
  );
}

interface Account {
  readonly seen: { readonly turns: number };
  readonly recorded: { readonly turns: number };
  readonly lost: Readonly<Record<string, { readonly turns: number }>>;
  readonly pending: object;
}

function judged(account: Account, ids: readonly number[], succeeded: readonly number[]): SceneEnd {
  const lost = Object.values(account.lost).reduce((sum, { turns }) => sum + turns, 0);
  expect(account.pending).toEqual({ turns: 0, bytes: 0 });
  expect(account.seen.turns).toBe(succeeded.length);
  expect(account.recorded.turns + lost).toBe(account.seen.turns);
  const known = new Set(succeeded);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.filter((id) => !known.has(id))).toEqual([]);
  return {
    lost: account.lost,
    recorded: account.recorded.turns,
    stored: ids.length,
    succeeded: succeeded.length,
  };
}
