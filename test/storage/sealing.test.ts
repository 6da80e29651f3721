import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { CaptureWriter } from '../../src/storage/capture-writer.ts';
import { inspectCapture } from '../../src/storage/inspection.ts';
import { readManifest } from '../../src/storage/manifest.ts';
import { FORMAT_VERSION } from '../../src/storage/schema.ts';
import { recoverSegment, sealSegment, settleSegment } from '../../src/storage/sealing.ts';
import { captureOf, finishedSegment, newCapture, overwrite, writerOptions } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';

/** A segment that looks as after a crash: committed to, and never ended. */
function abandonedSegment(): string {
  const directory = newCapture();
  const writer = new CaptureWriter(writerOptions(directory), systemClock);
  writer.append(exchangeOf());
  writer.commit();
  // The writer is left alone with its file and log as they are; copies stand for what a crash leaves behind.
  const copy = newCapture();
  for (const file of readdirSync(directory)) {
    if (!file.endsWith('-shm')) writeFileSync(join(copy, file), readFileSync(join(directory, file)));
  }
  writer.close();
  return segmentsOf(copy)[0]?.path ?? '';
}

describe('sealing', () => {
  it('leaves one read-only file and a manifest with its hash, sums and ends', () => {
    const path = finishedSegment();
    const manifest = sealSegment(path, systemClock);
    expect(readdirSync(join(path, '..')).toSorted()).toEqual([
      basename(path),
      `${basename(path)}.manifest.json`,
    ]);
    expect(readManifest(path)).toEqual(manifest);
    expect(manifest).toMatchObject({
      formatVersion: FORMAT_VERSION,
      file: basename(path),
      recorder: '7f3a9c21',
      firstArrivalUs: TEST_EPOCH_US,
      lastArrivalUs: TEST_EPOCH_US + 2,
      exchanges: 3,
      requestBytes: 39,
      responseBytes: 42,
      lost: { exchanges: 0, bytes: 0 },
      quickCheck: 'ok',
      recovered: false,
      sha256: createHash('sha256').update(readFileSync(path)).digest('hex'),
      fileBytes: readFileSync(path).byteLength,
    });
  });

  it('can be repeated: what is sealed stays as it is', () => {
    const path = finishedSegment();
    const manifest = sealSegment(path, systemClock);
    expect(sealSegment(path, systemClock)).toEqual(manifest);
    expect(recoverSegment(path, systemClock)).toEqual(manifest);
    expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'sealed', manifest });
  });

  it('goes on after a crash between making the file read-only and writing the manifest', () => {
    const path = finishedSegment();
    const { sha256 } = sealSegment(path, systemClock);
    rmSync(`${path}.manifest.json`);
    expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'sealed', manifest: { sha256 } });
  });

  it('waits for a reader that is in the segment, and says so when it does not go', {
    timeout: 60_000,
  }, () => {
    const path = finishedSegment();
    const reader = new Database(path, { readonly: true });
    reader.pragma('journal_mode');
    const rows = reader.prepare('SELECT * FROM exchange').iterate();
    rows.next();
    expect(() => sealSegment(path, systemClock, 2)).toThrow(/in use and was not sealed/);
    expect(existsSync(`${path}.damaged`)).toBe(false);
    rows.return?.();
    reader.close();
    expect(sealSegment(path, systemClock).exchanges).toBe(3);
  });
});

describe('recovery', () => {
  it('keeps what was committed and notes a gap from the last commit to now', () => {
    const path = abandonedSegment();
    const before = systemClock.epochUs();
    expect(settleSegment(path, systemClock)).toMatchObject({
      outcome: 'recovered',
      manifest: { exchanges: 1, recovered: true },
    });
    const directory = join(path, '..');
    const [life] = inspectCapture(directory).recorders;
    expect(life?.gaps).toMatchObject([{ kind: 'crash', exchanges: 0 }]);
    expect(Date.parse(life?.gaps[0]?.to ?? '') * 1_000).toBeGreaterThanOrEqual(before);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 1, coverage: 1 });
  });

  it('removes a segment whose writer died before it had tables; until then it reads as empty', () => {
    const directory = captureOf([exchangeOf()]);
    const path = join(directory, '20261124T15-00000000-0001.sqlite');
    writeFileSync(path, '');
    expect(inspectCapture(directory).exchanges).toBe(1);
    const reader = new CaptureReader(directory);
    expect([...reader.rows()]).toHaveLength(1);
    reader.close();
    expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'empty', manifest: null });
    expect(existsSync(path)).toBe(false);
  });

  it('sets a damaged segment aside, whole, so that the rest stays readable', () => {
    const path = finishedSegment();
    const directory = join(path, '..');
    captureOf([exchangeOf()], { directory, recorder: { id: 'other', host: 'h', startedUs: 0 } });
    overwrite(path, 8_192 * 4, 8_192 * 3);
    const bytes = readFileSync(path);
    expect(settleSegment(path, systemClock)).toMatchObject({
      outcome: 'damaged',
      manifest: null,
      problem: expect.stringContaining(basename(path)),
    });
    expect(readFileSync(`${path}.damaged`).equals(bytes)).toBe(true);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 1, damaged: [`${basename(path)}.damaged`] });
  });
});
