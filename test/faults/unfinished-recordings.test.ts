import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { live } from '../support/lives.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { runReprise } from '../support/process.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PER_SECOND = 200;

let origin: NumberedOrigin;
let directory = '';
let recording: RecordingProcess;

beforeEach(async () => {
  origin = await new NumberedOrigin().listen();
  directory = join(temporaryDirectory(), 'capture');
  recording = await startRecording(origin.port, directory);
});
afterEach(async () => {
  await origin.close();
});

async function inspect(capture = directory): Promise<{ document: InspectDocument; text: string }> {
  // Both at once: each watches for seconds whether the account is still written.
  const [json, { stdout: text }] = await Promise.all([
    runReprise(['inspect', capture, '--json']),
    runReprise(['inspect', capture]),
  ]);
  return { document: JSON.parse(json.stdout) as InspectDocument, text };
}

/** All of it at once, as the kernel's memory killer or the end of a node does. */
async function killAll(): Promise<void> {
  for (const pid of Object.values(recording.children())) process.kill(pid, 'SIGKILL');
  await recording.process.finished;
}

/** @returns what was answered until all were killed */
async function trafficUntilKilled(freezing: boolean): Promise<number> {
  const traffic = new PacedTraffic(recording.port, PER_SECOND);
  await msUntil(20_000, 'something is committed', () => storedIds(directory).length > 0);
  if (freezing) process.kill(recording.children().recorder, 'SIGSTOP');
  await sleep(2_000);
  await killAll();
  await traffic.stop();
  return origin.answered.length;
}

/** Two writings and a reading: what passed in that time may be in no account. */
const UNKNOWN = PER_SECOND;

describe('a recording that was killed whole, with its supervisor', () => {
  it('is not taken for one that lost nothing: inspect tells of what it had pending, and that more is unknown', async () => {
    const passed = await trafficUntilKilled(true);
    const { document, text } = await inspect();
    const lost = document.losses.byReason.crash_gap?.exchanges ?? 0;
    expect(lost).toBeGreaterThan(PER_SECOND);
    expect(document.exchanges + lost).toBeGreaterThan(passed - UNKNOWN);
    expect(document.exchanges + lost).toBeLessThanOrEqual(passed);
    expect(document.killed).toMatchObject([{ knownUntil: expect.any(String), foundAt: null }]);
    expect(document).toMatchObject({ coverageIsAtMost: true, recorders: [{ end: 'killed', endedAt: null }] });
    expect(text).toMatch(/^coverage +at most \d+\.\d\d %, at least \d+\.\d\d %$/m);
    expect(text).toMatch(/^killed +the recording started .*: nothing is known of what passed after /m);
    const profile = await runReprise(['profile', directory, '--json']);
    expect(JSON.parse(profile.stdout)).toMatchObject({
      coverage: null,
      coverageUnexplained: null,
      notes: [expect.stringMatching(/^a recording was killed.* at least \d/)],
    });
  });

  it('is told of for ever after, and counts nothing as lost that was committed', async () => {
    const passed = await trafficUntilKilled(false);
    recording = await startRecording(origin.port, directory);
    expect((await recording.stop()).status).toBe(0);
    const { document, text } = await inspect();
    expect(document.killed).toMatchObject([{ foundAt: expect.any(String) }]);
    expect(document.coverageIsAtMost).toBe(true);
    // Of a kill right after a commit nothing is known to be missing, and the coverage has no upper bound but 100 %.
    const lost = document.losses.byReason.crash_gap?.exchanges ?? 0;
    expect(text).toMatch(
      lost === 0 ? /^coverage +not known, at least \d+\.\d\d %$/m : /^coverage +at most /m,
    );
    expect(document.exchanges + lost).toBeGreaterThan(passed - UNKNOWN);
    expect(document.exchanges + lost).toBeLessThanOrEqual(passed);
  });
});

describe('a recording that runs', () => {
  it('is copied by an export, with what is in the write-ahead log, and another beside it', async () => {
    const out = join(temporaryDirectory(), 'all');
    const traffic = new PacedTraffic(recording.port, 100);
    await msUntil(20_000, 'something is committed', () => storedIds(directory).length > 50);
    await traffic.stop();
    const least = storedIds(directory).length;
    const other = live({ id: 'aa', hours: 2, account: {} });
    const { status, stdout } = await runReprise([
      'export',
      'capture',
      directory,
      other,
      '--out',
      out,
      '--json',
    ]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ format: 'capture', segments: 3, open: 1, duplicates: 0 });
    expect(readdirSync(out).filter((file) => /-wal|-shm|hash\.key/.test(file))).toEqual([]);
    const copy = (await inspect(out)).document;
    expect(copy.exchanges).toBeGreaterThanOrEqual(least + 20);
    expect(copy).toMatchObject({
      coverage: 1,
      killed: [],
      withoutLog: [],
      missing: { exchanges: 0 },
      recorders: { length: 2 },
    });
    expect((await runReprise(['verify', out])).status).toBe(0);
    await recording.stop();
  });

  it('is not called killed, whether it records or is paused', async () => {
    const traffic = new PacedTraffic(recording.port, PER_SECOND);
    await sleep(500);
    const running = await inspect();
    await runReprise(['pause', directory]);
    const paused = await inspect();
    await traffic.stop();
    await recording.stop();
    const ended = await inspect();
    for (const { document, text } of [running, paused, ended]) {
      expect(document).toMatchObject({ killed: [], coverageIsAtMost: false });
      expect(text).not.toContain('at most');
    }
  });
});

function removeFiles(names: RegExp): void {
  for (const file of readdirSync(directory).filter((name) => names.test(name))) rmSync(join(directory, file));
}

/** Whether anything is; a segment whose files are just being removed cannot be read. */
function isStored(): boolean {
  try {
    return storedIds(directory).length > 0;
  } catch {
    return false;
  }
}

/** Sends traffic, removes files of the open segment while it is recorded, and stops. */
async function recordWhileRemoving(names: RegExp, remove = () => removeFiles(names)) {
  const traffic = new PacedTraffic(recording.port, 100);
  await msUntil(20_000, 'something is committed', () => storedIds(directory).length > 20);
  remove();
  const before = origin.answered.length;
  await msUntil(20_000, 'more is recorded', () => {
    return origin.answered.length > before + 100 && isStored();
  });
  await traffic.stop();
  const { log } = await recording.stop();
  return { log, answered: origin.answered.length, failed: traffic.failed };
}

const segments = () => readdirSync(directory).filter((name) => name.endsWith('.sqlite'));

describe('the open segment is removed while it is recorded', () => {
  it('the recorder says so and begins the next, and what was in it is missing and counted', async () => {
    const { log, answered, failed } = await recordWhileRemoving(/\.sqlite(-wal|-shm)?$/);
    expect(failed).toEqual([]);
    const lines = log.filter(({ file, level }) => level === 'error' && file !== undefined);
    expect(lines).toMatchObject([{ exchanges: expect.any(Number) }]);
    expect(segments()).toMatchObject([expect.stringMatching(/-0002\.sqlite$/)]);
    const { exchanges, missing, coverage, recorders, losses } = (await inspect()).document;
    expect(missing.exchanges).toBe(lines[0]?.['exchanges']);
    expect(missing.exchanges).toBeGreaterThan(20);
    expect(exchanges).toBeGreaterThanOrEqual(100);
    expect(exchanges + (missing.exchanges ?? 0) + losses.exchanges).toBe(answered);
    expect(coverage).toBeCloseTo(exchanges / answered, 9);
    expect(recorders).toMatchObject([{ gaps: [{ kind: 'missing', segments: 1 }] }]);
  });

  it('nothing is lost if only its write-ahead log was removed', async () => {
    const { log, answered } = await recordWhileRemoving(/\.sqlite-wal$/);
    expect(log.filter(({ file, level }) => level === 'error' && file !== undefined)).toHaveLength(1);
    expect((await inspect()).document).toMatchObject({
      exchanges: answered,
      coverage: 1,
      missing: { exchanges: 0 },
    });
    expect(segments()).toHaveLength(2);
  });

  it('what was in a removed directory is counted by the account in the new one', async () => {
    const { answered } = await recordWhileRemoving(/./, () => rmSync(directory, { recursive: true }));
    const { exchanges, missing, losses, recorders } = (await inspect()).document;
    expect(missing.exchanges).toBeGreaterThan(20);
    expect(exchanges).toBeGreaterThan(0);
    expect(exchanges + (missing.exchanges ?? 0) + losses.exchanges).toBe(answered);
    expect(recorders).toMatchObject([{ segments: 1, gaps: [{ kind: 'missing', segments: 1 }] }]);
    expect(segments()).toMatchObject([expect.stringMatching(/-0002\.sqlite$/)]);
  });

  it('the account names a last segment that nothing followed', async () => {
    const traffic = new PacedTraffic(recording.port, 100);
    await msUntil(20_000, 'something is committed', () => storedIds(directory).length > 20);
    await traffic.stop();
    await recording.stop();
    const [file = ''] = segments();
    rmSync(join(directory, file));
    rmSync(join(directory, `${file}.manifest.json`));
    const { missing, recorders } = (await inspect()).document;
    expect(missing.exchanges).toBe(origin.answered.length);
    expect(recorders).toMatchObject([{ gaps: [{ kind: 'missing', segments: 1 }] }]);
  });
});
