import { cpSync, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { segmentsOf } from '../../src/storage/capture/directory.ts';
import { CaptureReader } from '../../src/storage/capture/reader.ts';
import { settleSegment } from '../../src/storage/capture/sealing.ts';
import { captureOf, newCapture, querySegment } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';
import { RunningProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const SEALER = join(repositoryRoot, 'test', 'faults', 'sealer-process.ts');
const KILLS = repeated(10, 40);
const EXCHANGES = 1_500;
/** For a sealer to be at work. */
const START_MS = 10_000;

/** A segment that is ended, waits for its sealer, and is small enough to be rewritten by it. */
function waiting(): string {
  const random = new SeededRandom(1);
  const body = () => Array.from({ length: 100 }, () => random.nextUint32().toString(36)).join(' ');
  return captureOf(
    Array.from({ length: EXCHANGES }, (_, index) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + index,
        connection: index,
        request: requestMessage({ body: body() }),
      }),
    ),
    { onFinished: () => {} },
  );
}

interface Sealing {
  readonly directory: string;
  readonly path: string;
  readonly file: string;
  readonly sealer: RunningProcess;
}

function isAlive({ child }: RunningProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** A sealer of a copy, from the moment it works at the file: most of its time before that it starts. */
async function sealing(original: string): Promise<Sealing> {
  const directory = newCapture();
  cpSync(original, directory, { recursive: true });
  const [segment] = segmentsOf(directory);
  const { path, file } = segment ?? { path: '', file: '' };
  const sealer = new RunningProcess(process.execPath, [SEALER, path]);
  const startedMs = performance.now();
  while (!existsSync(`${path}-journal`) && performance.now() - startedMs < START_MS && isAlive(sealer)) {
    await sleep(1);
  }
  return { directory, path, file, sealer };
}

/** How long a sealer works that nobody kills: the least of three, because a busy machine only adds to it. */
async function workingMs(original: string): Promise<number> {
  const tookMs: number[] = [];
  for (let look = 0; look < 3; look += 1) {
    const { path, sealer } = await sealing(original);
    const sinceMs = performance.now();
    while (!existsSync(`${path}.manifest.json`) && isAlive(sealer)) await sleep(1);
    tookMs.push(performance.now() - sinceMs);
    await sealer.finished;
  }
  return Math.max(1, Math.round(Math.min(...tookMs)));
}

describe('a sealer that is killed', () => {
  test(`at any moment, ${KILLS} times, leaves a segment that the next one seals whole`, {
    timeout: 300_000,
  }, async () => {
    const original = waiting();
    const random = new SeededRandom(2);
    // A little longer than it works: its last steps come when the manifest is there. A fixed stretch would be over
    // before the work of a slow machine began, or go on after that of a fast one.
    const longestMs = await workingMs(original);
    let interrupted = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      const { directory, path, file, sealer } = await sealing(original);
      await sleep(random.below(Math.ceil(longestMs * 1.2) + 1));
      await sealer.kill('SIGKILL');
      if (!existsSync(`${path}.manifest.json`)) interrupted += 1;
      expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'sealed', problem: null });
      expect(readdirSync(directory)).toHaveLength(2);
      expect(statSync(path).mode & 0o777).toBe(0o400);
      expect(querySegment(directory, 'PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }]);
      const reader = new CaptureReader(directory);
      const rows = [...reader.rows()];
      expect(rows.map(({ connection }) => connection)).toEqual(rows.map((_, index) => index));
      expect(rows).toHaveLength(EXCHANGES);
      for (const row of rows.filter((_, index) => index % 97 === 0)) {
        expect(reader.payload(row)?.request?.body.kept?.byteLength).toBe(row.requestBytes);
      }
      reader.close();
      expect(existsSync(join(directory, `${file}-journal`))).toBe(false);
    }
    process.stdout.write(
      `${interrupted} of ${KILLS} kills within ${longestMs} ms came before the seal was whole\n`,
    );
    expect(interrupted).toBeGreaterThan(KILLS / 4);
  });
});
