import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { spareAccountsOf } from '../../src/storage/capture/spare-account.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { runReprise } from '../support/process.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { canRefuseWrites, RefusingDisk } from './refused-writes.ts';

const PER_SECOND = 100;
/** What may pass between the last account and a kill. */
const UNKNOWN = PER_SECOND / 2;

let origin: NumberedOrigin;
let directory = '';

beforeEach(async () => {
  origin = await new NumberedOrigin().listen();
  directory = join(temporaryDirectory(), 'disk', 'capture');
});
afterEach(async () => {
  await origin.close();
});

async function inspect(): Promise<InspectDocument> {
  return JSON.parse((await runReprise(['inspect', directory, '--json'])).stdout) as InspectDocument;
}

/** Half a second of traffic is recorded. Then the disk is read-only for seconds, until the recording ends. */
async function recordedOn(disk: RefusingDisk, end: (recording: RecordingProcess) => Promise<unknown>) {
  const recording = await startRecording(origin.port, directory, [], { env: disk.env });
  const traffic = new PacedTraffic(recording.port, PER_SECOND);
  await msUntil(20_000, 'something is committed', () => storedIds(directory).length > UNKNOWN);
  disk.makeReadOnly();
  await sleep(4_000);
  await end(recording);
  await traffic.stop();
  disk.mend();
  const stored = storedIds(directory).length;
  return { truth: stored / origin.answered.length, stored, answered: origin.answered.length };
}

async function killAll(recording: RecordingProcess): Promise<void> {
  for (const pid of Object.values(recording.children())) process.kill(pid, 'SIGKILL');
  await recording.process.finished;
}

const spares = [tmpdir(), '/dev/shm'].map((root) => join(root, `reprise-${process.geteuid?.()}`)) as [
  string,
  string,
];

describe.skipIf(!canRefuseWrites)('a disk that takes no write until the recording ends', () => {
  it('hides no loss from a recording that stops cleanly', async () => {
    const disk = new RefusingDisk(dirname(directory));
    const { truth, stored } = await recordedOn(disk, (recording) => recording.stop());
    const document = await inspect();
    expect(truth).toBeLessThan(0.6);
    expect(document).toMatchObject({ exchanges: stored, killed: [], coverageIsAtMost: false });
    expect(document.coverage).toBeCloseTo(truth, 9);
    expect(document.coverageAtLeast).toBeCloseTo(truth, 9);
  });

  it('hides no loss from a recording that is killed, and the next start takes its account in', async () => {
    const disk = new RefusingDisk(dirname(directory));
    const { truth, answered, stored } = await recordedOn(disk, killAll);
    const expectTruth = (document: InspectDocument) => {
      expect(document.killed).toHaveLength(1);
      expect(document.losses.exchanges).toBeGreaterThan(answered - stored - UNKNOWN);
      expect(document.coverageAtLeast).toBeLessThanOrEqual(truth);
      expect(document.coverageAtLeast).toBeGreaterThan(truth * 0.8);
      expect(document.coverage).toBeGreaterThanOrEqual(truth);
    };
    expectTruth(await inspect());
    const next = await startRecording(origin.port, directory);
    await next.stop();
    expect(spareAccountsOf(directory)).toEqual([]);
    expectTruth(await inspect());
  });

  it('hides no loss from a recording that is killed while the disk hangs', async () => {
    const disk = new RefusingDisk(dirname(directory), ['', ''], true);
    const { truth, answered, stored } = await recordedOn(disk, killAll);
    const document = await inspect();
    expect(truth).toBeLessThan(0.6);
    expect(document.losses.exchanges).toBeGreaterThan(answered - stored - 2 * PER_SECOND);
    expect(document.coverageAtLeast).toBeLessThanOrEqual(truth);
  });

  it('leaves no lower bound where no other file system could hold the account', async () => {
    const disk = new RefusingDisk(dirname(directory), spares);
    const { truth } = await recordedOn(disk, killAll);
    const document = await inspect();
    expect(document).toMatchObject({
      coverageAtLeast: null,
      coverageIsAtMost: true,
      losses: { exact: false, uncountedAtMost: null },
    });
    expect(document.coverage ?? 1).toBeGreaterThanOrEqual(truth);
  });
});
