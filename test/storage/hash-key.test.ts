import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EncryptionKey } from '../../src/storage/encryption-key.ts';
import { loadHashKey, readHashKey } from '../../src/storage/hash-key.ts';
import { newCapture } from '../support/captures.ts';

const [OLD, NEW] = ['1'.repeat(64), '2'.repeat(64)];
const keyOf = (...lines: readonly string[]) => EncryptionKey.from(Buffer.from(lines.join('\n')), 'a key');

function bytesIn(directory: string): Buffer {
  return Buffer.concat(readdirSync(directory).map((file) => readFileSync(join(directory, file))));
}

describe('the hash key of an encrypted capture', () => {
  it('does not lie there in clear, for a client is found by trying every address under it', () => {
    const directory = newCapture();
    const key = Buffer.from(loadHashKey(directory, null, keyOf(OLD)));
    expect(key.byteLength).toBe(32);
    const stored = bytesIn(directory);
    for (const form of ['latin1', 'hex', 'base64'] as const)
      expect(stored.includes(key.toString(form), 0, 'latin1')).toBe(false);
    expect(statSync(join(directory, 'hash.key')).mode & 0o777).toBe(0o600);
    expect(key.equals(loadHashKey(directory, null, keyOf(OLD)))).toBe(true);
    expect(key.equals(readHashKey(directory, null, keyOf(OLD)))).toBe(true);
  });

  it('is had by nobody without the encryption key, or with another', () => {
    const directory = newCapture();
    loadHashKey(directory, null, keyOf(OLD));
    const encrypted = expect.objectContaining({ code: 'CAPTURE_ENCRYPTED' });
    for (const read of [loadHashKey, readHashKey]) {
      expect(() => read(directory, null, null)).toThrow(encrypted);
      expect(() => read(directory, null, keyOf(NEW))).toThrow(encrypted);
    }
  });

  it('is the one of before, where the capture was in clear so far, and in clear no more', () => {
    const directory = newCapture();
    const key = Buffer.from(loadHashKey(directory, null, null));
    expect(key.equals(readHashKey(directory, null, keyOf(OLD)))).toBe(true);
    expect(bytesIn(directory).includes(key)).toBe(true);
    expect(key.equals(loadHashKey(directory, null, keyOf(OLD)))).toBe(true);
    expect(bytesIn(directory).includes(key)).toBe(false);
  });

  it('stays the same under a new encryption key, which opens it alone from then on', () => {
    const directory = newCapture();
    const key = Buffer.from(loadHashKey(directory, null, keyOf(OLD)));
    expect(key.equals(loadHashKey(directory, null, keyOf(NEW, OLD)))).toBe(true);
    expect(key.equals(loadHashKey(directory, null, keyOf(NEW)))).toBe(true);
  });

  it('is refused when it was changed', () => {
    const directory = newCapture();
    const path = join(directory, 'hash.key');
    loadHashKey(directory, null, keyOf(OLD));
    const stored = JSON.parse(readFileSync(path, 'utf8')) as { wrappedKey: string };
    const wrappedKey = `${stored.wrappedKey.startsWith('A') ? 'B' : 'A'}${stored.wrappedKey.slice(1)}`;
    for (const content of [JSON.stringify({ ...stored, wrappedKey }), '{"keyId":', '']) {
      writeFileSync(path, content);
      expect(() => loadHashKey(directory, null, keyOf(OLD))).toThrow(
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
