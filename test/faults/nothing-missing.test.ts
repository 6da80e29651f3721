import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { PacedTraffic } from '../support/paced-traffic.ts';
import { runReprise } from '../support/process.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { startRecording } from '../support/recording.ts';
import { canRefuseWrites, RefusingDisk } from '../support/refused-writes.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const ROUNDS = 6;

/** Recorders die and disks fail, but nobody removes a file: nothing may be called missing. */
describe.skipIf(!canRefuseWrites).each([
  ['wire', 1],
  ['gateway', 2],
] as const)('a recording whose recorder dies and whose disk fails, %s, seed %i', (plane, seed) => {
  it('has no exchange missing, and rows and losses are what was answered', async () => {
    const random = new SeededRandom(seed);
    const below = (most: number) => random.nextUint32() % most;
    const origin = await new NumberedOrigin().listen();
    const directory = join(temporaryDirectory(), 'disk', 'capture');
    const disk = new RefusingDisk(dirname(directory));
    const flags = plane === 'gateway' ? ['--mode', 'gateway'] : [];
    const recording = await startRecording(origin.port, directory, flags, { env: disk.env });
    const traffic = new PacedTraffic(recording.port, 150);
    await msUntil(20_000, 'something is committed', () => storedIds(directory).length > 0);
    for (let round = 0; round < ROUNDS; round += 1) {
      await sleep(300 + below(700));
      if (below(2) === 0) {
        disk.makeReadOnly();
        await sleep(200 + below(1_500));
        if (below(2) === 0) kill(recording.children().recorder);
        disk.mend();
      } else kill(recording.children().recorder);
    }
    await sleep(2_000);
    await traffic.stop();
    await recording.stop();
    const answered = origin.answered.length;
    await origin.close();
    const { stdout } = await runReprise(['inspect', directory, '--json']);
    const document = JSON.parse(stdout) as InspectDocument;
    expect(document).toMatchObject({ missing: { exchanges: 0 }, withoutLog: [], killed: [] });
    expect(document.exchanges + document.losses.exchanges).toBe(answered);
    expect(document.recorders.flatMap(({ gaps }) => gaps.filter(({ kind }) => kind === 'missing'))).toEqual(
      [],
    );
    expect((await runReprise(['verify', directory])).status).toBe(0);
  });
});

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has died by itself meanwhile.
  }
}
