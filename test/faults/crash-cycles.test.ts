import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { NumberedOrigin, NumberedTraffic } from '../support/numbered-traffic.ts';
import { PLANES } from '../support/planes.ts';
import { EquationWatch, msUntil, scrape, totalOf } from '../support/recorder-watch.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CYCLES = repeated(10, 100);
const SECOND = 1_000;

/** Every file opens, and SQLite finds nothing wrong in any. */
function expectSound(directory: string): void {
  const files = readdirSync(directory);
  expect(files.filter((file) => file.includes('damaged'))).toEqual([]);
  for (const file of files.filter((name) => name.endsWith('.sqlite'))) {
    const database = new Database(join(directory, file), { readonly: true });
    expect(database.pragma('quick_check', { simple: true }), file).toBe('ok');
    database.close();
  }
}

interface Account {
  readonly seen: { readonly turns: number };
  readonly recorded: { readonly turns: number };
  readonly lost: Readonly<Record<string, { readonly turns: number }>>;
  readonly pending: object;
}

async function cycles(flags: readonly string[]) {
  const origin = await new NumberedOrigin().listen();
  const directory = join(temporaryDirectory(), 'capture');
  const recording: RecordingProcess = await startRecording(origin.port, directory, [
    ...['--probe-listen', '127.0.0.1:0', '--drain-delay', '0s'],
    ...flags,
  ]);
  const [, probe] = await recording.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
  const recorded = async () => totalOf(await scrape(Number(probe)), 'reprise_recorded_turns_total');
  const watch = new EquationWatch(Number(probe), 250);
  const traffic = new NumberedTraffic(recording.port);
  const everStored = new Set<number>();
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    const before = await recorded();
    await msUntil(20 * SECOND, `cycle ${cycle} records`, async () => (await recorded()) > before);
    if (cycle % 10 === 0) for (const id of storedIds(directory)) everStored.add(id);
    const { recorder: pid } = recording.children();
    process.kill(pid, 'SIGKILL');
    await msUntil(20 * SECOND, 'another takes its place', () => recording.children().recorder !== pid);
  }
  const before = await recorded();
  await msUntil(20 * SECOND, 'the last one records', async () => (await recorded()) > before);
  await traffic.stop();
  await watch.stop();
  const { status, end } = await recording.stop();
  await origin.close();
  expect(status).toBe(0);
  expect(watch.imbalances).toEqual([]);
  expectSound(directory);
  const ids = storedIds(directory);
  const stored = new Set(ids);
  expect(stored.size).toBe(ids.length);
  expect([...everStored].filter((id) => !stored.has(id))).toEqual([]);
  return { account: end as unknown as Account, stored, traffic };
}

function lostTurns(account: Account): number {
  return Object.values(account.lost).reduce((sum, { turns }) => sum + turns, 0);
}

describe.each(PLANES)('kill -9, again and again under traffic, %s', (_, flags) => {
  test('of the recorder: no request fails, nothing committed is lost, every gap is counted', async () => {
    const { account, stored, traffic } = await cycles(flags);
    expect(traffic.failed).toEqual([]);
    expect(account.pending).toEqual({ turns: 0, bytes: 0 });
    expect(account.seen.turns).toBe(traffic.succeeded.length);
    expect(account.recorded.turns + lostTurns(account)).toBe(account.seen.turns);
    expect(stored.size).toBe(account.recorded.turns);
  }, 600_000);
});
