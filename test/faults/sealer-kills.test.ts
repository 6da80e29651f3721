import { cpSync, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { entryPath } from '../../src/cli/entry-url.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { settleSegment } from '../../src/storage/sealing.ts';
import { captureOf, newCapture, querySegment } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { RunningProcess } from '../support/process.ts';

const KILLS = 40;
const EXCHANGES = 1_500;

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

describe('a sealer that is killed', () => {
  test(`at any moment, ${KILLS} times, leaves a segment that the next one seals whole`, {
    timeout: 300_000,
  }, async () => {
    const original = waiting();
    const random = new SeededRandom(2);
    let interrupted = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      const directory = newCapture();
      cpSync(original, directory, { recursive: true });
      const [segment] = segmentsOf(directory);
      const path = segment?.path ?? '';
      const sealer = new RunningProcess(process.execPath, [entryPath('sealer'), path]);
      // From before it has the file open to after it is done; most of that time it starts.
      const startedMs = performance.now();
      while (
        !existsSync(`${path}-journal`) &&
        performance.now() - startedMs < 2_000 &&
        sealer.child.exitCode === null
      ) {
        await sleep(1);
      }
      await sleep(random.below(30));
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
      expect(existsSync(join(directory, `${segment?.file}-journal`))).toBe(false);
    }
    process.stdout.write(`${interrupted} of ${KILLS} kills came before the seal was whole\n`);
    expect(interrupted).toBeGreaterThan(KILLS / 4);
  });
});
