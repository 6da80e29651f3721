import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Body } from '../../../src/core/exchange.ts';
import { BlockWriter } from '../../../src/storage/capture/blocks.ts';
import { createSchema } from '../../../src/storage/capture/schema.ts';
import { BodyStore } from '../../../src/storage/capture/segment-writer.ts';
import { type Connection, openForWriting } from '../../../src/storage/capture/sqlite.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const hashOf = (index: number) => createHash('sha256').update(`${index}`).digest().subarray(0, 16);

function bodyOf(index: number, keptBytes: number | null = 1): Body {
  const kept = keptBytes === null ? null : new Uint8Array(keptBytes);
  return { bytes: 100, kept, truncated: kept !== null, hash: hashOf(index) };
}

function newStore() {
  return storeOn(newSegment());
}

function newSegment() {
  const connection = openForWriting(`${temporaryDirectory()}/segment.sqlite`, 'seal');
  createSchema(connection);
  return connection;
}

function storeOn(connection: Connection) {
  return new BodyStore(connection, new BlockWriter(connection, null));
}

describe('the bodies of a segment', () => {
  it('are stored once, told apart by their hash and by how much was kept of them', () => {
    const store = newStore();
    const ids = [bodyOf(1), bodyOf(2), bodyOf(1), bodyOf(1, 2), bodyOf(1, null), bodyOf(1, 2)];
    expect(ids.map((body) => store.idOf(body))).toEqual([1, 2, 1, 3, 4, 3]);
  });

  it('need no row where they are empty, and one each where nobody hashed them', () => {
    const store = newStore();
    const unhashed: Body = { bytes: 1, kept: new Uint8Array(1), truncated: false, hash: null };
    const empty: Body = { bytes: 0, kept: new Uint8Array(0), truncated: false, hash: null };
    expect([empty, unhashed, unhashed].map((body) => store.idOf(body))).toEqual([null, 1, 2]);
  });

  it('that were rolled back are forgotten, and their ids are given to others', () => {
    const connection = newSegment();
    const store = storeOn(connection);
    store.idOf(bodyOf(1));
    store.committed();
    expect(() =>
      connection.transaction(() => {
        store.idOf(bodyOf(2));
        throw new Error('the disk is full');
      })(),
    ).toThrow('the disk is full');
    store.rolledBack();
    expect([bodyOf(3), bodyOf(2), bodyOf(1)].map((body) => store.idOf(body))).toEqual([2, 3, 1]);
  });

  it('are remembered for at least the 131,072 that follow, and not without end', () => {
    const connection = newSegment();
    const store = storeOn(connection);
    const hash = Buffer.alloc(16);
    const idOf = (index: number) => {
      hash.writeUInt32LE(index, 0);
      return store.idOf({ bytes: 1, kept: null, truncated: false, hash });
    };
    connection.transaction(() => {
      for (let index = 1; index <= 131_073; index += 1) idOf(index);
      expect(idOf(1)).toBe(1);
      for (let index = 131_074; index <= 300_000; index += 1) idOf(index);
      expect(idOf(300_000 - 131_071)).toBe(300_000 - 131_071);
      expect(idOf(2)).toBe(300_001);
    })();
  });
});
