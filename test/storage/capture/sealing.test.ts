import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { CaptureReader } from '../../../src/storage/capture/reader.ts';
import { FORMAT_VERSION } from '../../../src/storage/capture/schema.ts';
import { readManifest, sealSegment, settleSegment } from '../../../src/storage/capture/sealing.ts';
import { openForSealing } from '../../../src/storage/capture/sqlite.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import {
  captureOf,
  finishedSegment,
  newCapture,
  overwrite,
  querySegment,
  writerOptions,
} from '../../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US, wholeBody } from '../../support/exchanges.ts';

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
    expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'sealed' });
    expect(readManifest(path)).toEqual(manifest);
  });

  it('goes on after a crash between making the file read-only and writing the manifest', () => {
    const path = finishedSegment();
    const { sha256 } = sealSegment(path, systemClock);
    rmSync(`${path}.manifest.json`);
    expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'sealed' });
    expect(readManifest(path)).toMatchObject({ sha256 });
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
    expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'recovered' });
    expect(readManifest(path)).toMatchObject({ exchanges: 1, recovered: true });
    const directory = join(path, '..');
    const [life] = inspectCapture(directory).recorders;
    expect(life?.gaps).toMatchObject([{ kind: 'crash', exchanges: 0 }]);
    expect(Date.parse(life?.gaps[0]?.to ?? '') * 1_000).toBeGreaterThanOrEqual(before);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 1, coverage: null });
  });

  it('removes a segment whose writer died before it had tables; until then it reads as empty', () => {
    const directory = captureOf([exchangeOf()]);
    const path = join(directory, '20261124T15-00000000-0001.sqlite');
    writeFileSync(path, '');
    expect(inspectCapture(directory).exchanges).toBe(1);
    const reader = new CaptureReader(directory);
    expect([...reader.rows()]).toHaveLength(1);
    reader.close();
    expect(settleSegment(path, systemClock)).toMatchObject({ outcome: 'empty' });
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
      problem: expect.stringContaining(basename(path)),
    });
    expect(readFileSync(`${path}.damaged`).equals(bytes)).toBe(true);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 1, damaged: [`${basename(path)}.damaged`] });
  });
});

const EXCHANGES = 300;

/** What a sealer leaves that is killed while it rewrites a segment: pages half written, and the journal of it. */
function halfRewritten(): string {
  const path = finishedSegment(EXCHANGES);
  const sealer = openForSealing(path);
  sealer.pragma('journal_mode = DELETE');
  sealer.pragma('cache_size = 5');
  sealer.exec('BEGIN');
  sealer.exec('UPDATE exchange SET status = 599');
  sealer.exec('CREATE TABLE more (content)');
  sealer.exec('INSERT INTO more SELECT randomblob(3000) FROM exchange');
  const directory = newCapture();
  for (const suffix of ['', '-journal']) {
    copyFileSync(`${path}${suffix}`, join(directory, `${basename(path)}${suffix}`));
  }
  sealer.close();
  expect(existsSync(join(directory, `${basename(path)}-journal`))).toBe(true);
  return directory;
}

describe('a segment whose sealer was killed while it rewrote it', () => {
  it('is read as it was before, by whoever comes first', () => {
    const reader = new CaptureReader(halfRewritten());
    const rows = [...reader.rows()];
    reader.close();
    expect(rows).toHaveLength(EXCHANGES);
    expect(rows.every(({ status }) => status === 200)).toBe(true);
  });

  it('does not keep the capture from being inspected', () => {
    expect(inspectCapture(halfRewritten())).toMatchObject({ exchanges: EXCHANGES, damaged: [] });
  });
});

/** Sentences that come again, a word changed here and there: what packing harder finds and a quick look does not. */
function prompts(count: number) {
  const random = new SeededRandom(3);
  const pick = (from: readonly string[]) => from[random.below(from.length)] ?? '';
  const words = Array.from({ length: 400 }, () => random.nextUint32().toString(36));
  const sentences = Array.from({ length: 200 }, () => Array.from({ length: 12 }, () => pick(words)));
  const sentence = () => {
    const chosen = [...(sentences[random.below(sentences.length)] ?? [])];
    chosen[random.below(chosen.length)] = pick(words);
    return chosen.join(' ');
  };
  return Array.from({ length: count }, (_, index) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + index * 500_000,
      request: requestMessage({ body: Array.from({ length: 8 }, sentence).join('. ') }),
    }),
  );
}

describe('the segment of a quiet hour', () => {
  it('takes as much as is in it, not a page of 8 KiB for each table', () => {
    const path = finishedSegment();
    const before = statSync(path).size;
    const { fileBytes } = sealSegment(path, systemClock);
    expect(before).toBeGreaterThan(100_000);
    expect(fileBytes).toBe(statSync(path).size);
    expect(fileBytes).toBeLessThan(24_000);
  });

  it('is packed harder, and reads as before', () => {
    const exchanges = prompts(600);
    const loose = captureOf(exchanges, { onFinished: () => {} });
    const read = (directory: string) => {
      const reader = new CaptureReader(directory);
      try {
        return [...reader.rows()].map((row) =>
          Buffer.from(reader.payload(row)?.request?.body.kept ?? []).toString(),
        );
      } finally {
        reader.close();
      }
    };
    const payload = (directory: string) =>
      querySegment<{ bytes: number }>(directory, 'SELECT sum(length(payload)) AS bytes FROM block')[0]
        ?.bytes ?? 0;
    const before = { bodies: read(loose), bytes: payload(loose) };
    sealSegment(segmentsOf(loose)[0]?.path ?? '', systemClock);
    expect(read(loose)).toEqual(before.bodies);
    expect(payload(loose)).toBeLessThan(before.bytes * 0.95);
    expect(querySegment(loose, 'PRAGMA quick_check')).toEqual([{ quick_check: 'ok' }]);
  });

  it('is told by its size: a large segment is left as it is', () => {
    const random = new SeededRandom(4);
    const noise = () => Buffer.from(Array.from({ length: 150_000 }, () => random.below(256)));
    const directory = captureOf(
      Array.from({ length: 20 }, (_, index) =>
        exchangeOf({
          arrivalUs: TEST_EPOCH_US + index,
          request: { ...requestMessage(), body: wholeBody(noise()) },
        }),
      ),
    );
    const [segment] = segmentsOf(directory);
    expect(statSync(segment?.path ?? '').size).toBeGreaterThan(LIMITS.compactedSegmentBytes);
    expect(querySegment(directory, 'PRAGMA page_size')).toEqual([{ page_size: 8_192 }]);
  });
});
