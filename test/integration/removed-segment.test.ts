import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { runCommand } from '../support/command-here.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

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

async function inspect(): Promise<InspectDocument> {
  return JSON.parse((await runCommand(['inspect', directory, '--json'])).stdout) as InspectDocument;
}

function removeFiles(names: RegExp): void {
  for (const file of readdirSync(directory).filter((name) => names.test(name))) rmSync(join(directory, file));
}

/** Sends traffic, removes files of the open segment while it is recorded, and stops. */
async function recordWhileRemoving(names: RegExp, remove = () => removeFiles(names)) {
  const traffic = new PacedTraffic(recording.port, 100);
  await msUntil(20_000, 'something is committed', () => storedIds(directory).length > 20);
  remove();
  const before = origin.answered.length;
  await msUntil(20_000, 'more is recorded', () => {
    return origin.answered.length > before + 100 && existsSync(directory) && storedIds(directory).length > 0;
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
    const { exchanges, missing, coverage, recorders, losses } = await inspect();
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
    expect(await inspect()).toMatchObject({ exchanges: answered, coverage: 1, missing: { exchanges: 0 } });
    expect(segments()).toHaveLength(2);
  });

  it('what was in a removed directory is counted by the account in the new one', async () => {
    const { answered } = await recordWhileRemoving(/./, () => rmSync(directory, { recursive: true }));
    const { exchanges, missing, losses, recorders } = await inspect();
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
    const { missing, recorders } = await inspect();
    expect(missing.exchanges).toBe(origin.answered.length);
    expect(recorders).toMatchObject([{ gaps: [{ kind: 'missing', segments: 1 }] }]);
  });
});
