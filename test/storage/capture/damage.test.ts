import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { type BlockRow, decodeBlock, encodeBlock } from '../../../src/storage/capture/blocks.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { CaptureReader } from '../../../src/storage/capture/reader.ts';
import { FORMAT_VERSION } from '../../../src/storage/capture/schema.ts';
import { sealSegment, settleSegment } from '../../../src/storage/capture/sealing.ts';
import { verifyCapture } from '../../../src/storage/capture/verify.ts';
import { captureOf, finishedSegment, overwrite, querySegment } from '../../support/captures.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { forget, ofSession } from '../../support/forgetting.ts';
import { repeated } from '../../support/long-form.ts';

describe('reading what is not as it was', () => {
  const read = (directory: string) => {
    const reader = new CaptureReader(directory);
    try {
      return [...reader.rows()].map((row) => reader.payload(row)?.response).length;
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

  it.each([
    [7, ['cached_tokens']],
    [6, ['cached_tokens', 'number', 'links']],
    [5, ['cached_tokens', 'number', 'links', 'grpc_status', 'request_messages', 'response_messages']],
    [
      4,
      [
        'cached_tokens',
        'number',
        'links',
        'grpc_status',
        'request_messages',
        'response_messages',
        'finish_reason',
      ],
    ],
  ])(
    'reads, seals and forgets a segment of version %i, without what it does not keep',
    (version, lacking) => {
      const path = finishedSegment();
      const directory = join(path, '..');
      const before = read(directory);
      const connection = new Database(path);
      connection.exec('DROP VIEW exchanges');
      for (const column of lacking) connection.exec(`ALTER TABLE exchange DROP COLUMN ${column}`);
      connection.pragma(`user_version = ${version}`);
      connection.close();
      expect(read(directory)).toBe(before);
      expect(sealSegment(path, systemClock).formatVersion).toBe(version);
      expect(read(directory)).toBe(before);
      forget(directory, { identity: null, fromUs: null, toUs: TEST_EPOCH_US + 1 });
      expect(read(directory)).toBe(before - 1);
    },
  );

  it.each([
    [FORMAT_VERSION + 1, 'SCHEMA_TOO_NEW', /newer/],
    [3, 'SCHEMA_TOO_OLD', /record again/],
  ])('refuses format %i by name, reading, inspecting, sealing and forgetting', (version, code, hint) => {
    const path = finishedSegment();
    const directory = join(path, '..');
    const connection = new Database(path);
    connection.pragma(`user_version = ${version}`);
    connection.close();
    for (const work of [
      () => read(directory),
      () => inspectCapture(directory),
      () => sealSegment(path, systemClock),
      () => settleSegment(path, systemClock),
      () => forget(directory, ofSession('Adalberta')),
    ]) {
      expect(failure(work)).toMatchObject({
        code,
        message: expect.stringContaining(`${basename(path)} has format ${version}`),
        hint: expect.stringMatching(hint),
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
      message: expect.stringContaining('that Reprise did not write'),
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
    for (let bit = 0; bit < 64 * 8; bit += repeated(7, 1)) {
      const spoilt = Buffer.from(sound);
      spoilt.writeUInt8(spoilt.readUInt8(place + (bit >> 3)) ^ (1 << (bit & 7)), place + (bit >> 3));
      writeFileSync(path, spoilt);
      expect(failure(() => read(directory))).toMatchObject({
        code: 'CAPTURE_DAMAGED',
        message: expect.stringContaining(segment?.file ?? ''),
      });
    }
  });

  it('gives the request of an exchange whose answer is spoilt, and names the segment to who asks for that', () => {
    const response = responseMessage(200, randomBytes(300_000));
    const directory = captureOf([exchangeOf({ response })]);
    const [segment] = segmentsOf(directory);
    chmodSync(segment?.path ?? '', 0o600);
    const connection = new Database(segment?.path ?? '');
    // A body of that size has a row of its own.
    expect(connection.prepare('UPDATE block SET crc32 = crc32 + 1 WHERE first_slot < 0').run().changes).toBe(
      1,
    );
    connection.close();
    const reader = new CaptureReader(directory);
    const [row] = [...reader.rows()];
    const payload = row === undefined ? null : reader.payload(row);
    expect(payload?.request?.body.kept?.byteLength).toBeGreaterThan(0);
    expect(failure(() => payload?.response)).toMatchObject({
      code: 'CAPTURE_DAMAGED',
      message: expect.stringContaining(segment?.file ?? ''),
    });
    reader.close();
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
      message: expect.stringContaining('was removed'),
    });
    reader.close();
  });
});

/** A capture of one exchange whose heads were changed by somebody who then made every checksum fit. */
function captureWithHeads(change: (heads: Buffer) => Buffer): string {
  const directory = captureOf([exchangeOf()]);
  const path = segmentsOf(directory)[0]?.path ?? '';
  chmodSync(path, 0o600);
  const connection = new Database(path);
  const heads = connection.prepare<[], number>('SELECT heads_slot FROM exchange').pluck().get() as number;
  const row = connection
    .prepare<[], BlockRow>(
      'SELECT first_slot AS firstSlot, slots, raw_bytes AS rawBytes, codec, crc32, payload FROM block',
    )
    .get() as BlockRow;
  const slots = [...decodeBlock(row, path, null)].map((slot, at) =>
    at === heads - row.firstSlot ? change(Buffer.from(slot)) : slot,
  );
  const { rawBytes, codec, crc32, payload } = encodeBlock(row.firstSlot, slots, null);
  connection
    .prepare('UPDATE block SET raw_bytes = ?, codec = ?, crc32 = ?, payload = ?')
    .run(rawBytes, codec, crc32, payload);
  connection.close();
  rmSync(`${path}.manifest.json`);
  sealSegment(path, systemClock);
  return directory;
}

describe('heads that were changed', () => {
  it.each([
    ['have a byte too many', (heads: Buffer) => Buffer.concat([heads, Buffer.from([0xc0])])],
    ['are cut off', (heads: Buffer) => heads.subarray(0, -1)],
    // The times of the response: an empty array, in place of which nil stands.
    ['hold something else', (heads: Buffer) => Buffer.concat([heads.subarray(0, -1), Buffer.from([0xc0])])],
  ])('are refused each time, and are found by verify: they %s', (_, change) => {
    const directory = captureWithHeads(change);
    const reader = new CaptureReader(directory);
    const [row] = [...reader.rows()];
    for (let time = 0; time < 2; time += 1) {
      expect(() => row && reader.payload(row)).toThrow(expect.objectContaining({ code: 'CAPTURE_DAMAGED' }));
    }
    reader.close();
    expect(verifyCapture(directory, { encryptionKey: null, onSegment: () => {} })).toMatchObject({
      ok: false,
      problems: [{ kind: 'payload', what: expect.stringContaining('the heads of an exchange') }],
    });
  });

  it('are sound where nothing was changed', () => {
    const directory = captureWithHeads((heads) => heads);
    expect(verifyCapture(directory, { encryptionKey: null, onSegment: () => {} })).toMatchObject({
      ok: true,
    });
  });
});
