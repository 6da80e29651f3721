import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Exchange } from '../../../src/core/exchange.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { EncryptionKey } from '../../../src/storage/capture/encryption.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { CaptureReader, openCapture } from '../../../src/storage/capture/reader.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { captureOf, newCapture, querySegment, writerOptions } from '../../support/captures.ts';
import { anyExchange, exchangeOf, requestMessage, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { repeated } from '../../support/long-form.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { wholePayload } from '../../support/whole-payload.ts';

const KEY = EncryptionKey.from(Buffer.alloc(32, 1), 'a key');
const OTHER = EncryptionKey.from(Buffer.alloc(32, 2), 'another key');
const SECRET = 'the patient in room 12 is called Ada';

function payloadsOf(directory: string, encryptionKey: EncryptionKey | null) {
  const reader = openCapture(directory, { encryptionKey });
  try {
    return [...reader.rows()].map((row) => wholePayload(reader.payload(row)));
  } finally {
    reader.close();
  }
}

function secretExchange(arrivalUs = TEST_EPOCH_US): Exchange {
  return exchangeOf({ arrivalUs, request: requestMessage({ body: SECRET.repeat(20) }) });
}

function failure(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

describe('an encrypted capture', () => {
  it('gives back with the key what was put in, whatever it was', () => {
    fc.assert(
      fc.property(fc.array(anyExchange, { minLength: 1, maxLength: 12 }), (exchanges) => {
        const inOrder = exchanges.toSorted((a, b) => a.arrivalUs - b.arrivalUs);
        const plain = payloadsOf(captureOf(inOrder), null);
        expect(payloadsOf(captureOf(inOrder, { encryption: KEY }), KEY)).toEqual(plain);
      }),
      { numRuns: repeated(8, 15) },
    );
  });

  it('keeps every payload through tails that are rewritten into full blocks, and no nonce twice', () => {
    const clock = new ManualClock();
    const directory = newCapture();
    const writer = new CaptureWriter(
      writerOptions(directory, { encryption: KEY, onFinished: () => {} }),
      clock,
    );
    const nonces = new Set<string>();
    let commits = 0;
    for (let number = 0; number < 700; number += 1) {
      writer.append(secretExchange(TEST_EPOCH_US + number));
      if (number % 50 !== 0) continue;
      expect(writer.commit()).toMatchObject({ lost: [] });
      for (const { nonce } of querySegment<{ nonce: Buffer }>(
        directory,
        'SELECT substr(payload, 1, 12) AS nonce FROM block',
      )) {
        nonces.add(nonce.toString('hex'));
      }
      commits += 1;
    }
    writer.close();
    expect(nonces.size).toBeGreaterThanOrEqual(commits);
    const payloads = payloadsOf(directory, KEY);
    expect(payloads).toHaveLength(700);
    expect(payloads.every((payload) => String(payload?.request?.body.kept).startsWith(SECRET))).toBe(true);
  });

  it('holds nothing of a payload in any of its files, log included, while facts stay readable', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory, { encryption: KEY }), new ManualClock());
    writer.append(secretExchange());
    writer.commit();
    const [segment] = segmentsOf(directory);
    for (const suffix of ['', '-wal']) {
      const bytes = readFileSync(`${segment?.path}${suffix}`);
      expect(bytes.includes('the patient')).toBe(false);
      // The head of the request too; a body that repeats is stored once and would be found compressed.
      expect(bytes.includes('Content-Length')).toBe(false);
    }
    writer.close();
    expect(inspectCapture(directory)).toMatchObject({
      exchanges: 1,
      encrypted: { segments: 1, keys: [KEY.id] },
    });
    expect(querySegment(directory, 'SELECT route, model FROM exchanges')).toEqual([
      { route: 'POST /v2/models/{model}/infer', model: 'resnet' },
    ]);
  });

  it('refuses payloads without the key, and a wrong key at opening', () => {
    const directory = captureOf([secretExchange()], { encryption: KEY });
    expect(failure(() => payloadsOf(directory, null))).toMatchObject({
      code: 'CAPTURE_ENCRYPTED',
      hint: expect.stringContaining('--encryption-key-file'),
    });
    expect(failure(() => openCapture(directory, { encryptionKey: OTHER }))).toMatchObject({
      code: 'CAPTURE_ENCRYPTED',
      message: expect.stringMatching(new RegExp(`under the key ${KEY.id}, and the key given is ${OTHER.id}`)),
    });
    const rows = new CaptureReader(directory);
    expect([...rows.rows()]).toHaveLength(1);
    rows.close();
  });

  it('reads segments under an old and a new key, and plain ones, with one file of keys', () => {
    const directory = newCapture();
    const recorder = (id: string) => ({ id, host: 'h', startedUs: TEST_EPOCH_US });
    captureOf([secretExchange()], { directory, encryption: KEY, recorder: recorder('a') });
    captureOf([secretExchange()], { directory, encryption: OTHER, recorder: recorder('b') });
    captureOf([secretExchange()], { directory, recorder: recorder('c') });
    const both = EncryptionKey.from(
      Buffer.from(`${Buffer.alloc(32, 2).toString('hex')}\n${Buffer.alloc(32, 1).toString('base64')}\n`),
      'both',
    );
    expect(both.id).toBe(OTHER.id);
    expect(payloadsOf(directory, both)).toHaveLength(3);
  });

  it.each([
    ['a block in another one’s place', 'UPDATE block SET first_slot = first_slot + 1000'],
    ['a block from a segment of the same key', null],
    ['a plain block among encrypted ones', 'UPDATE block SET codec = codec - 2'],
    ['another wrapped key', 'UPDATE meta SET value = replace(value, \'"segment":"\', \'"segment":"0\')'],
  ])('refuses %s', (_, sql) => {
    const directory = captureOf([secretExchange()], { encryption: KEY });
    const path = segmentsOf(directory)[0]?.path ?? '';
    chmodSync(path, 0o600);
    const connection = new Database(path);
    if (sql === null) {
      const donor = segmentsOf(captureOf([secretExchange()], { encryption: KEY }))[0]?.path;
      connection.exec(
        `ATTACH '${donor}' AS donor; DELETE FROM block; INSERT INTO block SELECT * FROM donor.block`,
      );
    } else {
      connection.exec(sql);
      connection.exec(
        'UPDATE exchange SET heads_slot = heads_slot + 1000 WHERE (SELECT min(first_slot) FROM block) > 999',
      );
    }
    connection.close();
    expect(failure(() => payloadsOf(directory, KEY))).toMatchObject({ code: 'CAPTURE_DAMAGED' });
  });
});

describe('the cipher of a segment', () => {
  const place = { firstSlot: 512, slots: 3, rawBytes: 4, codec: 2 };

  it.each(['firstSlot', 'slots', 'rawBytes', 'codec'] as const)(
    'binds a block to its place: refuses it with another %s',
    (name) => {
      const { cipher } = KEY.newSegment();
      const payload = cipher.encrypt(Buffer.from('data'), place);
      expect(cipher.decrypt(payload, place, 'a segment').toString()).toBe('data');
      const moved = { ...place, [name]: place[name] + 1 };
      expect(failure(() => cipher.decrypt(payload, moved, 'a segment'))).toMatchObject({
        code: 'CAPTURE_DAMAGED',
      });
    },
  );

  it('has a key of its own, which is no constant', () => {
    const keys = Array.from({ length: 8 }, () => {
      const { encryption } = KEY.newSegment();
      return KEY.unwrap(encryption, `reprise segment key ${encryption.segment}`).toString('hex');
    });
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe('an encryption key file', () => {
  const key = randomBytes(32);
  const load = (content: string | Uint8Array): EncryptionKey => {
    const file = join(temporaryDirectory(), 'key');
    writeFileSync(file, content);
    return EncryptionKey.load(file);
  };

  it.each([
    ['raw', key],
    ['hexadecimal', key.toString('hex')],
    ['hexadecimal, capital, with a line end', `${key.toString('hex').toUpperCase()}\n`],
    ['base64', `${key.toString('base64')}\n`],
    ['base64url', key.toString('base64url')],
  ])('holds the same key %s', (_, content) => {
    expect(load(content).id).toBe(EncryptionKey.from(key, 'a key').id);
  });

  it('may be a link to a link, as mounted secrets are', () => {
    const mount = temporaryDirectory();
    mkdirSync(join(mount, '..2026_11_24'));
    writeFileSync(join(mount, '..2026_11_24', 'key'), key);
    symlinkSync('..2026_11_24', join(mount, '..data'));
    symlinkSync(join('..data', 'key'), join(mount, 'key'));
    expect(EncryptionKey.load(join(mount, 'key')).id).toBe(EncryptionKey.from(key, 'a key').id);
  });

  it.each([
    ['nothing', '', /is empty/],
    ['a password', 'correct horse battery staple', /holds 28 characters in line 1/],
    ['a key cut short', key.subarray(0, 31), /no key/],
    ['too much', Buffer.alloc(10_000, 'a'), /over 4096 bytes/],
    ['too many keys', `${key.toString('hex')}\n`.repeat(17), /17 lines/],
  ])('is refused when it holds %s', (_, content, message) => {
    expect(failure(() => load(content))).toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(message),
      hint: expect.stringContaining('openssl rand'),
    });
  });

  it('is refused when it is not there', () => {
    expect(failure(() => EncryptionKey.load('/nowhere/key'))).toMatchObject({ code: 'OPTION_INVALID' });
  });
});
