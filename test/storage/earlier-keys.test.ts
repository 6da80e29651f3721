import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { earlierKeysOf, keyChanges } from '../../src/storage/earlier-keys.ts';
import { EncryptionKey } from '../../src/storage/encryption-key.ts';
import { newCapture } from '../support/captures.ts';
import { testHash } from '../support/exchanges.ts';
import { live } from '../support/lives.ts';

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
  keyChanges(earlierKeysOf(directory), { encryption, hashKeyFingerprint: fingerprint }).map(
    ({ message, keyId }) => `${message}: ${keyId}`,
  );

describe('a recording that goes on with a capture', () => {
  it('in clear, where that was encrypted, is told of at each start and not at the first alone', () => {
    const inClear = [`this capture was encrypted so far, and goes on in clear: ${OLD.id}`];
    expect(messages(livesUnder(OLD), null)).toEqual(inClear);
    expect(messages(livesUnder(OLD, null, null), null)).toEqual(inClear);
    expect(messages(livesUnder(OLD, null), OLD)).toEqual([]);
  });

  it('under a key that does not open what is there is told of, and under one beside the earlier is not', () => {
    const directory = livesUnder(OLD);
    expect(messages(directory, keyOf(newText))).toEqual([
      `this capture goes on under another encryption key, which does not open what is there: ${OLD.id}`,
    ]);
    expect(messages(directory, keyOf(newText, oldText))).toEqual([]);
    expect(messages(directory, OLD)).toEqual([]);
  });

  it('under another hash key is told of, whatever is encrypted', () => {
    expect(messages(livesUnder(null), OLD, 'another')).toEqual([
      `this capture goes on under another hash key: ${hashKeyFingerprint}`,
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
