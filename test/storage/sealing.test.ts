import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { entryPath } from '../../src/cli/entry-url.ts';
import { systemClock } from '../../src/core/clock.ts';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { CaptureWriter } from '../../src/storage/capture-writer.ts';
import { inspectCapture } from '../../src/storage/inspection.ts';
import { readManifest } from '../../src/storage/manifest.ts';
import { recoverSegment, sealSegment, settleSegment } from '../../src/storage/sealing.ts';
import { captureOf, newCapture, querySegment, writerOptions } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runProcess } from '../support/process.ts';

const UNSEALED = { onFinished: () => {} };

/** A capture of one segment that its writer ended and nobody sealed. @returns the path of the segment */
function finishedSegment(exchanges = 3): string {
  const directory = captureOf(
    Array.from({ length: exchanges }, (_, index) => exchangeOf({ arrivalUs: TEST_EPOCH_US + index })),
    UNSEALED,
  );
  return segmentsOf(directory)[0]?.path ?? '';
}

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
      formatVersion: 1,
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
    const [gap] = querySegment<{ reason: string; from_us: number; to_us: number }>(
      directory,
      'SELECT * FROM loss',
    );
    expect(gap?.reason).toBe('crash_gap');
    expect(gap?.from_us).toBeLessThanOrEqual(before);
    expect(gap?.to_us).toBeGreaterThanOrEqual(before);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 1, coverage: 1 });
  });

  it('takes a lower bound of what is missing where somebody knows one', () => {
    const path = abandonedSegment();
    expect(recoverSegment(path, systemClock, { exchanges: 3, bytes: 5_000 }).lost).toEqual({
      exchanges: 3,
      bytes: 5_000,
    });
    expect(inspectCapture(join(path, '..'))).toMatchObject({
      losses: { byReason: { crash_gap: { exchanges: 3, bytes: 5_000 } } },
      coverage: 0.25,
    });
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

  it('is what the sealer process does with each file, one line of JSON each', async () => {
    const sound = finishedSegment();
    const crashed = abandonedSegment();
    const broken = finishedSegment();
    writeFileSync(broken, 'no database at all, but long enough to be looked at');
    const absent = join(sound, '..', '20200101T00-none-0001.sqlite');
    const good = await runProcess(process.execPath, [entryPath('sealer'), sound, crashed]);
    expect(good).toMatchObject({ status: 0, stderr: '' });
    expect(
      good.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { file: basename(sound), outcome: 'sealed', exchanges: 3, problem: null },
      { file: basename(crashed), outcome: 'recovered', exchanges: 1, problem: null },
    ]);
    const bad = await runProcess(process.execPath, [entryPath('sealer'), broken, absent]);
    expect(bad.status).toBe(1);
    expect(
      bad.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { file: basename(broken), outcome: 'damaged', exchanges: 0, problem: expect.any(String) },
      { file: absent, error: expect.any(String) },
    ]);
  });
});

describe('reading what is not as it was', () => {
  const read = (directory: string) => {
    const reader = new CaptureReader(directory);
    try {
      return [...reader.rows()].map((row) => reader.payload(row)).length;
    } finally {
      reader.close();
    }
  };
  const failure = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      return error;
    }
    return null;
  };

  it('refuses a newer format by name, reading, inspecting and sealing', () => {
    const path = finishedSegment();
    const directory = join(path, '..');
    const connection = new Database(path);
    connection.pragma('user_version = 2');
    connection.close();
    for (const work of [
      () => read(directory),
      () => inspectCapture(directory),
      () => sealSegment(path, systemClock),
      () => settleSegment(path, systemClock),
    ]) {
      expect(failure(work)).toMatchObject({
        code: 'SCHEMA_TOO_NEW',
        message: expect.stringContaining(`${basename(path)} has format 2`),
        hint: expect.stringContaining('newer'),
      });
    }
    expect(existsSync(path)).toBe(true);
  });

  it('names a sealed segment that was cut short, without reading it', () => {
    const directory = captureOf([exchangeOf()]);
    const [segment] = segmentsOf(directory);
    chmodSync(segment?.path ?? '', 0o600);
    truncateSync(segment?.path ?? '', 8_192 * 3);
    for (const work of [() => read(directory), () => inspectCapture(directory)]) {
      expect(failure(work)).toMatchObject({
        code: 'CAPTURE_DAMAGED',
        message: expect.stringMatching(new RegExp(`${segment?.file} is damaged: it has 24576 bytes`)),
        hint: expect.stringContaining('restore it'),
      });
    }
  });

  it('names a segment that is no database, and one that is another program’s', () => {
    const directory = captureOf([exchangeOf()]);
    const noise = join(directory, '20261124T16-noise-0001.sqlite');
    writeFileSync(noise, Buffer.alloc(20_000, 'noise'));
    expect(failure(() => read(directory))).toMatchObject({
      code: 'CAPTURE_DAMAGED',
      message: expect.stringContaining(basename(noise)),
    });
    rmSync(noise);
    const foreign = new Database(noise);
    foreign.exec('CREATE TABLE songs (title TEXT)');
    foreign.close();
    expect(failure(() => inspectCapture(directory))).toMatchObject({
      code: 'CAPTURE_DAMAGED',
      message: expect.stringContaining('not one that Reprise wrote'),
    });
  });

  it('names a manifest that cannot be read, and the way out', () => {
    const directory = captureOf([exchangeOf()]);
    const manifest = `${segmentsOf(directory)[0]?.path}.manifest.json`;
    for (const text of ['{', '[]', 'null', '{"file":"x"}']) {
      writeFileSync(manifest, text);
      expect(failure(() => read(directory))).toMatchObject({
        code: 'CAPTURE_DAMAGED',
        message: expect.stringContaining('manifest'),
        hint: expect.stringContaining('Remove it'),
      });
    }
    rmSync(manifest);
    expect(read(directory)).toBe(1);
  });

  it('finds every flipped bit of a payload, and never hands out what changed', () => {
    const body = Buffer.from(Array.from({ length: 9_000 }, (_, index) => (index * index * 31) % 251));
    const directory = captureOf([exchangeOf({ request: requestMessage({ body }), response: null })]);
    const [segment] = segmentsOf(directory);
    const path = segment?.path ?? '';
    const sound = readFileSync(path);
    const [{ payload } = { payload: Buffer.alloc(0) }] = querySegment<{ payload: Buffer }>(
      directory,
      'SELECT payload FROM block',
    );
    // Overflow pages hold the payload in runs; its middle is in one of them whole.
    const place = sound.indexOf(payload.subarray(payload.length >> 1, (payload.length >> 1) + 64));
    expect(place).toBeGreaterThan(0);
    chmodSync(path, 0o600);
    for (let bit = 0; bit < 64 * 8; bit += 1) {
      const spoilt = Buffer.from(sound);
      spoilt.writeUInt8(spoilt.readUInt8(place + (bit >> 3)) ^ (1 << (bit & 7)), place + (bit >> 3));
      writeFileSync(path, spoilt);
      expect(failure(() => read(directory))).toMatchObject({
        code: 'CAPTURE_DAMAGED',
        message: expect.stringContaining(segment?.file ?? ''),
      });
    }
  });

  it('never answers with anything but an error that names the segment, wherever a page is overwritten', () => {
    const directory = captureOf(
      Array.from({ length: 50 }, (_, index) => exchangeOf({ arrivalUs: TEST_EPOCH_US + index })),
    );
    const [segment] = segmentsOf(directory);
    const path = segment?.path ?? '';
    const sound = readFileSync(path);
    chmodSync(path, 0o600);
    let found = 0;
    const pages = sound.length / 8_192;
    for (let page = 0; page < pages; page += 1) {
      writeFileSync(path, sound);
      overwrite(path, page * 8_192, 8_192);
      for (const work of [() => read(directory), () => inspectCapture(directory)]) {
        const error = failure(work);
        if (error === null) continue;
        found += 1;
        expect(error).toMatchObject({
          code: 'CAPTURE_DAMAGED',
          message: expect.stringContaining(segment?.file ?? ''),
        });
      }
    }
    // Pages of tables that hold nothing here are not read, and cannot be missed.
    expect(found).toBeGreaterThan(pages / 2);
  });

  it('says of a segment that went away while the capture was read that it did', () => {
    const hours = [0, 1].map((hour) => exchangeOf({ arrivalUs: TEST_EPOCH_US + hour * 3_600_000_000 }));
    const directory = captureOf(hours);
    const reader = new CaptureReader(directory);
    const rows = reader.rows();
    rows.next();
    rmSync(segmentsOf(directory)[1]?.path ?? '');
    expect(failure(() => rows.next())).toMatchObject({
      code: 'CAPTURE_NOT_FOUND',
      message: expect.stringContaining('taken away'),
    });
    reader.close();
  });
});

function overwrite(path: string, position: number, length: number): void {
  const descriptor = openSync(path, 'r+');
  try {
    writeSync(descriptor, Buffer.alloc(length, 0x5a), 0, length, position);
  } finally {
    closeSync(descriptor);
  }
}
