import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { EncryptionKey } from '../../../src/storage/capture/encryption.ts';
import { keyChanges, loadHashKey, readHashKey } from '../../../src/storage/capture/keys.ts';
import { newCapture } from '../../support/captures.ts';
import { testHash } from '../../support/exchanges.ts';
import { live } from '../../support/lives.ts';

const [oldText, newText] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')];
const keyOf = (...lines: readonly string[]) => EncryptionKey.from(Buffer.from(lines.join('\n')), 'a key');
const OLD = keyOf(oldText);
const hashKeyFingerprint = testHash.fingerprint();

/** A life under each of the keys (null for none), one after the other. */
function livesUnder(...keys: readonly (EncryptionKey | null)[]): string {
  const directory = newCapture();
  for (const [index, encryption] of keys.entries()) {
    live({ id: `life${index}`, directory, hours: 1, startHour: index, options: { encryption } });
  }
  return directory;
}

const messages = (directory: string, encryption: EncryptionKey | null, fingerprint = hashKeyFingerprint) =>
  keyChanges(directory, { encryption, hashKeyFingerprint: fingerprint }).map(
    ({ message, keyId }) => `${message}: ${keyId}`,
  );

describe('a recording that goes on with a capture', () => {
  it('in clear, where that was encrypted, is told of at each start and not at the first alone', () => {
    const inClear = [`this capture was encrypted until now and continues unencrypted: ${OLD.id}`];
    expect(messages(livesUnder(OLD), null)).toEqual(inClear);
    expect(messages(livesUnder(OLD, null, null), null)).toEqual(inClear);
    expect(messages(livesUnder(OLD, null), OLD)).toEqual([]);
  });

  it('under a key that does not open what is there is told of, and under one beside the earlier is not', () => {
    const directory = livesUnder(OLD);
    expect(messages(directory, keyOf(newText))).toEqual([
      `this capture continues under another encryption key, which cannot decrypt its earlier segments: ${OLD.id}`,
    ]);
    expect(messages(directory, keyOf(newText, oldText))).toEqual([]);
    expect(messages(directory, OLD)).toEqual([]);
  });

  it('under another hash key is told of, whatever is encrypted', () => {
    expect(messages(livesUnder(null), OLD, 'another')).toEqual([
      `this capture continues under another hash key: ${hashKeyFingerprint}`,
    ]);
  });

  it('as it was, or with a new one, or with one that cannot be read, is told of in no way', () => {
    expect(messages(newCapture(), null)).toEqual([]);
    expect(messages(livesUnder(null), null)).toEqual([]);
    const directory = newCapture();
    writeFileSync(`${directory}/20261124T15-life0-0001.sqlite`, 'no segment');
    expect(segmentsOf(directory)).toHaveLength(1);
    expect(messages(directory, null)).toEqual([]);
  });
});

function bytesIn(directory: string): Buffer {
  return Buffer.concat(readdirSync(directory).map((file) => readFileSync(join(directory, file))));
}

describe('the hash key of an encrypted capture', () => {
  it('does not lie there in clear, for a client is found by trying every address under it', () => {
    const directory = newCapture();
    const key = Buffer.from(loadHashKey(directory, null, keyOf(oldText)));
    expect(key.byteLength).toBe(32);
    const stored = bytesIn(directory);
    for (const form of ['latin1', 'hex', 'base64'] as const)
      expect(stored.includes(key.toString(form), 0, 'latin1')).toBe(false);
    expect(statSync(join(directory, 'hash.key')).mode & 0o777).toBe(0o600);
    expect(key.equals(loadHashKey(directory, null, keyOf(oldText)))).toBe(true);
    expect(key.equals(readHashKey(directory, null, keyOf(oldText)))).toBe(true);
  });

  it('is had by nobody without the encryption key, or with another', () => {
    const directory = newCapture();
    loadHashKey(directory, null, keyOf(oldText));
    const encrypted = expect.objectContaining({ code: 'CAPTURE_ENCRYPTED' });
    for (const read of [loadHashKey, readHashKey]) {
      expect(() => read(directory, null, null)).toThrow(encrypted);
      expect(() => read(directory, null, keyOf(newText))).toThrow(encrypted);
    }
  });

  it('is the one of before, where the capture was in clear so far, and in clear no more', () => {
    const directory = newCapture();
    const key = Buffer.from(loadHashKey(directory, null, null));
    expect(key.equals(readHashKey(directory, null, keyOf(oldText)))).toBe(true);
    expect(bytesIn(directory).includes(key)).toBe(true);
    expect(key.equals(loadHashKey(directory, null, keyOf(oldText)))).toBe(true);
    expect(bytesIn(directory).includes(key)).toBe(false);
  });

  it('stays the same under a new encryption key, which opens it alone from then on', () => {
    const directory = newCapture();
    const key = Buffer.from(loadHashKey(directory, null, keyOf(oldText)));
    expect(key.equals(loadHashKey(directory, null, keyOf(newText, oldText)))).toBe(true);
    expect(key.equals(loadHashKey(directory, null, keyOf(newText)))).toBe(true);
  });

  it('is refused when it was changed', () => {
    const directory = newCapture();
    const path = join(directory, 'hash.key');
    loadHashKey(directory, null, keyOf(oldText));
    const stored = JSON.parse(readFileSync(path, 'utf8')) as { wrappedKey: string };
    const wrappedKey = `${stored.wrappedKey.startsWith('A') ? 'B' : 'A'}${stored.wrappedKey.slice(1)}`;
    for (const content of [JSON.stringify({ ...stored, wrappedKey }), '{"keyId":', '']) {
      writeFileSync(path, content);
      expect(() => loadHashKey(directory, null, keyOf(oldText))).toThrow(
        expect.objectContaining({ code: 'OUTPUT_UNWRITABLE' }),
      );
    }
  });
});

describe('reading the hash key', () => {
  it('makes none', () => {
    const directory = newCapture();
    expect(() => readHashKey(directory, null, null)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    );
    expect(readdirSync(directory)).toEqual([]);
  });
});
