import { chmodSync, rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { type BlockRow, decodeBlock, encodeBlock } from '../../src/storage/block.ts';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { sealSegment } from '../../src/storage/sealing.ts';
import { verifyCapture } from '../../src/storage/verify.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf } from '../support/exchanges.ts';

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
