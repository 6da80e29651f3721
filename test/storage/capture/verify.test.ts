import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { EncryptionKey } from '../../../src/storage/capture/encryption.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { SegmentExpiry } from '../../../src/storage/capture/quota.ts';
import { CaptureReader } from '../../../src/storage/capture/reader.ts';
import { sealSegment } from '../../../src/storage/capture/sealing.ts';
import { type VerifyDocument, verifyCapture } from '../../../src/storage/capture/verify.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { flipBits } from '../../support/bit-flips.ts';
import { captureOf, finishedSegment, newCapture, writerOptions } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { arrivalAlone, exchangeOf, requestMessage, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { live } from '../../support/lives.ts';
import { repeated } from '../../support/long-form.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const KEY = EncryptionKey.from(Buffer.alloc(32, 1), 'a key');
const MINUTE_US = 60_000_000;

function verify(directory: string, encryptionKey: EncryptionKey | null = null): VerifyDocument {
  return verifyCapture(directory, { encryptionKey, onSegment: () => {} });
}

const originals = new Map<EncryptionKey | null, string>();

/** A copy of a capture that is written once. */
function mixedCapture(encryption: EncryptionKey | null = null): string {
  const original = originals.get(encryption) ?? writtenCapture(encryption);
  originals.set(encryption, original);
  const copy = join(temporaryDirectory(), 'capture');
  cpSync(original, copy, { recursive: true });
  return copy;
}

/** Two hours of requests, some of which repeat, one too large for a shared block, and some arrivals alone. */
function writtenCapture(encryption: EncryptionKey | null): string {
  const exchanges = Array.from({ length: 90 }, (_, index) => {
    const arrivalUs = TEST_EPOCH_US + index * MINUTE_US;
    if (index % 9 === 0) return arrivalAlone(arrivalUs);
    const body = index === 40 ? Buffer.alloc(300_000, 'large') : `{"prompt":"question ${index % 30}"}`;
    return exchangeOf({ arrivalUs, status: index % 7 === 0 ? 503 : 200, request: requestMessage({ body }) });
  });
  return captureOf(exchanges, { encryption });
}

/** Changes a sealed segment as only somebody can who then seals it anew: nothing but its content tells. */
function resealed(directory: string, sql: string): string {
  const path = segmentsOf(directory)[0]?.path ?? '';
  chmodSync(path, 0o600);
  const connection = new Database(path);
  connection.exec(sql);
  connection.close();
  rmSync(`${path}.manifest.json`);
  sealSegment(path, systemClock);
  return directory;
}

describe('verifying a capture', () => {
  it('finds nothing in what was written, encrypted or not', () => {
    const plain = verify(mixedCapture());
    expect(plain).toMatchObject({ ok: true, exchanges: 90, problems: [] });
    expect(plain.segments).toMatchObject([
      { sealed: true, exchanges: 60, encrypted: false, decoded: true, problems: 0 },
      { sealed: true, exchanges: 30, encrypted: false, decoded: true, problems: 0 },
    ]);
    const encrypted = mixedCapture(KEY);
    expect(verify(encrypted, KEY)).toMatchObject({
      ok: true,
      segments: [{ decoded: true }, { decoded: true }],
    });
    expect(verify(encrypted)).toMatchObject({ ok: true, segments: [{ decoded: false }, { decoded: false }] });
    expect(() => verify(encrypted, EncryptionKey.from(Buffer.alloc(32, 9), 'another'))).toThrow(
      /encrypted under the key/,
    );
  });

  it.each([
    ['plain', null],
    ['encrypted', KEY],
  ])('finds one flipped bit wherever it lies in a segment or its manifest: %s', (_, key) => {
    const directory = captureOf(
      Array.from({ length: 40 }, (_, index) => exchangeOf({ arrivalUs: TEST_EPOCH_US + index })),
      { encryption: key },
    );
    const path = segmentsOf(directory)[0]?.path ?? '';
    // A manifest is small beside its segment; half of the flips are meant for it.
    const segment = flipBits([path], repeated(25, 100), 1, () => !verify(directory, key).ok);
    const manifest = flipBits(
      [`${path}.manifest.json`],
      repeated(25, 100),
      2,
      () => !verify(directory, key).ok,
    );
    expect([...segment.missed, ...manifest.missed]).toEqual([]);
    expect(verify(directory, key).ok).toBe(true);
  });

  it.each([
    ['block', 'UPDATE block SET crc32 = crc32 + 1'],
    ['block', 'UPDATE block SET slots = slots + 1'],
    ['payload', 'UPDATE exchange SET heads_slot = heads_slot + 100000 WHERE id = 5'],
    ['payload', 'UPDATE body SET slot = slot + 100000 WHERE id = 3'],
    ['payload', 'UPDATE body SET kept_bytes = kept_bytes + 1 WHERE id = 3'],
    ['payload', 'DELETE FROM block WHERE first_slot < 0'],
    ['reference', 'DELETE FROM body WHERE id = 3'],
    ['reference', 'DELETE FROM name WHERE id = 2'],
    ['reference', 'UPDATE exchange SET outcome = 17 WHERE id = 4'],
    ['roll_ups', 'UPDATE second SET latency_max_us = latency_max_us + 1 WHERE second % 2 = 0'],
    ['roll_ups', 'DELETE FROM second WHERE second % 60 = 0'],
    ['roll_ups', 'UPDATE hour SET completed = completed - 1, client_aborted = client_aborted + 1'],
  ])('finds what no hash can: %s after %s', (kind, sql) => {
    const { ok, problems } = verify(resealed(mixedCapture(), sql));
    expect(ok).toBe(false);
    expect(problems.map((problem) => problem.kind)).toContain(kind);
  });

  it('finds a manifest that counts otherwise, and one whose segment is gone', () => {
    const directory = mixedCapture();
    const [first, second] = segmentsOf(directory);
    const manifest = `${first?.path}.manifest.json`;
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(/"exchanges": 60/, '"exchanges": 61'));
    rmSync(second?.path ?? '');
    expect(verify(directory).problems).toMatchObject([
      { file: first?.file, kind: 'manifest' },
      { file: first?.file, kind: 'counts', what: expect.stringContaining('exchanges is 60') },
      { file: second?.file, kind: 'missing' },
    ]);
  });

  it.each([
    ['of another recorder', '20261124T15-ffffffff-0001.sqlite', 'it is a segment of recorder 7f3a9c21'],
    ['of another number', '20261124T15-7f3a9c21-0007.sqlite', 'it is the same segment as'],
  ])('finds a copy of a segment under a name %s, which nobody counts twice', (_, copy, what) => {
    const directory = mixedCapture();
    const [first] = segmentsOf(directory);
    cpSync(first?.path ?? '', join(directory, copy));
    const problems = [{ file: copy, kind: 'name', what: expect.stringContaining(what) }];
    expect(verify(directory)).toMatchObject({ ok: false, problems });
    const read = () => [...new CaptureReader(directory).rows()];
    for (const reading of [read, () => inspectCapture(directory)]) {
      expect(reading).toThrow(`segment ${copy} is damaged: ${what}`);
    }
    // With its manifest it is no better.
    cpSync(`${first?.path}.manifest.json`, join(directory, `${copy}.manifest.json`));
    expect(verify(directory).ok).toBe(false);
    for (const reading of [read, () => inspectCapture(directory)]) {
      expect(reading).toThrow(`segment ${copy} is damaged: its manifest belongs to ${first?.file}`);
    }
  });

  it('tells of segments that are gone with their manifests, but of none that were handed over or expired', () => {
    const directory = live({ id: 'a', hours: 6 });
    const [, second, third, fourth, fifth] = segmentsOf(directory);
    for (const gone of [second, third, fifth]) {
      rmSync(gone?.path ?? '');
      rmSync(`${gone?.path}.manifest.json`);
    }
    writeFileSync(`${fifth?.path}.handed`, '');
    expect(verify(directory)).toMatchObject({ ok: true, missing: [{ recorder: 'a', from: 2, to: 3 }] });
    writeFileSync(`${third?.path}.damaged`, '');
    expect(verify(directory)).toMatchObject({ ok: false, missing: [{ recorder: 'a', from: 2, to: 2 }] });
    renameSync(`${fourth?.path}.manifest.json`, `${fourth?.path}.expired.json`);
    expect(verify(directory).missing).toEqual([{ recorder: 'a', from: 2, to: 2 }]);
  });

  it('misses none that a recorder made, and took away, while it was checked', () => {
    const directory = live({ id: 'a', hours: 3 });
    const later =
      segmentsOf(directory)
        .at(-1)
        ?.path.replace(/0003\.sqlite$/, '0009.sqlite') ?? '';
    const { missing } = verifyCapture(directory, {
      encryptionKey: null,
      onSegment: () => writeFileSync(later, ''),
    });
    expect(existsSync(later)).toBe(true);
    expect(missing).toEqual([]);
  });

  it('names a manifest that is a directory, and an expiry takes it', () => {
    const directory = mixedCapture();
    const [first] = segmentsOf(directory);
    if (first === undefined) throw new Error('no segment');
    rmSync(`${first.path}.manifest.json`);
    mkdirSync(`${first.path}.manifest.json`);
    expect(verify(directory).problems).toMatchObject([
      { file: first.file, kind: 'manifest', what: expect.stringContaining('it is a directory') },
    ]);
    expect(() => inspectCapture(directory)).toThrow(/manifest .* cannot be read: it is a directory/);
    const expiry = new SegmentExpiry(directory, systemClock);
    expect(expiry.expire(first, 'quota')).toBe(true);
    expect(expiry.pending).toMatchObject([{ file: first.file, exchanges: 0 }]);
    expiry.recorded();
    expect(verify(directory)).toMatchObject({ ok: true, exchanges: 30 });
  });

  it('tells of segments set aside and of expiries that nobody recorded', () => {
    const directory = mixedCapture();
    const [first, second] = segmentsOf(directory);
    renameSync(first?.path ?? '', `${first?.path}.damaged`);
    rmSync(`${first?.path}.manifest.json`);
    renameSync(`${second?.path}.manifest.json`, `${second?.path}.expired.json`);
    expect(verify(directory)).toMatchObject({
      ok: false,
      problems: [{ file: `${first?.file}.damaged`, kind: 'set_aside' }],
      expiring: [`${second?.file}.expired.json`],
    });
  });

  it('holds a segment that is being written against itself', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    for (let index = 0; index < 5; index += 1)
      writer.append(exchangeOf({ arrivalUs: TEST_EPOCH_US + index }));
    writer.commit();
    expect(verify(directory)).toMatchObject({ ok: true, exchanges: 5, segments: [{ sealed: false }] });
    writer.close();
  });
});

describe('reprise verify', () => {
  it('ends with 0 for a sound capture and says what it read', async () => {
    const { status, stdout, stderr } = await runCommand(['verify', mixedCapture()]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^2 segments, 90 exchanges, \d+ blocks: no damage found\n$/);
  });

  it('ends with 3 for a damaged one, a line for each problem', async () => {
    const directory = resealed(mixedCapture(), 'DELETE FROM body WHERE id = 3');
    const { status, stdout } = await runCommand(['verify', directory]);
    expect(status).toBe(3);
    expect(stdout).toMatch(
      /^20261124T15-7f3a9c21-0001\.sqlite: reference: \d+ exchanges name a missing request_body/m,
    );
    const json = await runCommand(['verify', directory, '--json']);
    expect(json.status).toBe(3);
    expect(JSON.parse(json.stdout)).toMatchObject({ schemaVersion: 1, ok: false });
  });

  it('says of an open segment that it has no hash, and of an encrypted one what was not read', async () => {
    const open = finishedSegment();
    const { status, stdout } = await runCommand(['verify', join(open, '..')]);
    expect(status).toBe(0);
    expect(stdout).toContain(`${basename(open)}: not sealed yet`);
    const encrypted = mixedCapture(KEY);
    expect((await runCommand(['verify', encrypted])).stdout).toContain('encrypted: checksums only');
    const keyFile = join(temporaryDirectory(), 'key');
    writeFileSync(keyFile, Buffer.alloc(32, 2));
    const wrong = await runCommand(['verify', encrypted, '--encryption-key-file', keyFile]);
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toContain('is encrypted under the key');
  });
});
