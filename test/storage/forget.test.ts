import { chmodSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import { segmentsOf, unsealedSegments } from '../../src/storage/capture-directory.ts';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { CaptureWriter } from '../../src/storage/capture-writer.ts';
import { DirectoryLock } from '../../src/storage/directory-lock.ts';
import { EncryptionKey } from '../../src/storage/encryption-key.ts';
import { type ForgetOptions, forgetExchanges } from '../../src/storage/forget.ts';
import type { ForgetSelection } from '../../src/storage/forget-selection.ts';
import { inspectCapture } from '../../src/storage/inspection.ts';
import { readManifest } from '../../src/storage/manifest.ts';
import { settleSegment } from '../../src/storage/sealing.ts';
import { verifyCapture } from '../../src/storage/verify.ts';
import { placesOf } from '../support/capture-bytes.ts';
import { captureOf, overwrite, querySegment, writerOptions } from '../support/captures.ts';
import {
  anyExchange,
  exchangeOf,
  requestMessage,
  responseMessage,
  TEST_EPOCH_US,
  testHash,
} from '../support/exchanges.ts';

const KEY = EncryptionKey.from(Buffer.alloc(32, 1), 'a key');
const HOUR_US = 3_600_000_000;

const session = (text: string) => testHash.ofIdentity('session', text);
const ofSession = (text: string): ForgetSelection => ({
  identity: { kind: 'session', hash: session(text) },
  fromUs: null,
  toUs: null,
});

function forget(directory: string, selection: ForgetSelection, parts: Partial<ForgetOptions> = {}) {
  return forgetExchanges(directory, {
    selection,
    hashKeyFingerprint: testHash.fingerprint(),
    encryptionKey: null,
    dryRun: false,
    clock: systemClock,
    onSegment: () => {},
    ...parts,
  });
}

function verified(directory: string, encryptionKey: EncryptionKey | null = null) {
  const { ok, problems, exchanges, leftovers } = verifyCapture(directory, {
    encryptionKey,
    onSegment: () => {},
  });
  expect(problems).toEqual([]);
  return { ok, exchanges, leftovers };
}

function contentOf(directory: string, encryptionKey: EncryptionKey | null = null) {
  const reader = new CaptureReader(directory, { encryptionKey });
  try {
    return [...reader.rows()].map((row) => ({ row, payload: reader.payload(row) }));
  } finally {
    reader.close();
  }
}

/** Ada and Ben over two hours, in turns: bodies of their own, one that both send, and one too large for a block. */
function conversation(): Exchange[] {
  return Array.from({ length: 60 }, (_, index) => {
    const who = index % 2 === 0 ? 'Ada' : 'Ben';
    const own = `{"prompt":"${who} asks question ${index}"}`;
    const body = index % 10 < 2 ? '{"prompt":"what both ask"}' : own;
    return exchangeOf({
      arrivalUs: TEST_EPOCH_US + index * (HOUR_US / 30),
      session: session(who),
      client: testHash.ofIdentity('client', `${who} at home`),
      route: `POST /chat/${who}`,
      status: index % 7 === 0 ? 503 : 200,
      request: requestMessage({
        target: `/chat/${who}`,
        body: index === 4 ? Buffer.from(`${own}${'Ada goes on '.repeat(30_000)}`) : body,
      }),
      response: responseMessage(200, `{"answer":"for ${who} ${index}"}`),
    });
  });
}

describe('forgetting', () => {
  it.each([
    ['plain', null],
    ['encrypted', KEY],
  ])('leaves nothing of a session in any file or block, and everything of the others: %s', (_, key) => {
    const directory = captureOf(conversation(), { encryption: key });
    const others = contentOf(directory, key).filter(({ row }) => row.route === 'POST /chat/Ben');
    expect(placesOf(directory, 'Ada', key).length).toBeGreaterThan(1);
    const document = forget(directory, ofSession('Ada'), { encryptionKey: key });
    expect(document).toMatchObject({ complete: true, exchanges: 30, remaining: [] });
    expect(document.segments.map(({ exchanges }) => exchanges)).toEqual([15, 15]);
    expect(placesOf(directory, 'Ada', key)).toEqual([]);
    expect(
      querySegment(
        directory,
        `SELECT * FROM exchange WHERE session = x'${Buffer.from(session('Ada')).toString('hex')}'`,
      ),
    ).toEqual([]);
    // What both sent stays, because Ben sent it; his ids and slots are what they were.
    expect(contentOf(directory, key)).toEqual(others);
    expect(placesOf(directory, 'what both ask', key).length).toBeGreaterThan(0);
    expect(verified(directory, key)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
  });

  it('says in each segment how much was forgotten, what for, and never whose it was', () => {
    const directory = captureOf(conversation());
    const bytes = contentOf(directory)
      .filter(({ row }) => row.route === 'POST /chat/Ada' && row.arrivalUs < TEST_EPOCH_US + HOUR_US)
      .reduce((sum, { row }) => sum + row.requestBytes + row.responseBytes, 0);
    const forgottenOf = () =>
      JSON.parse(
        querySegment<{ value: string }>(directory, "SELECT value FROM meta WHERE key = 'forgotten'")[0]
          ?.value ?? 'null',
      );
    forget(directory, ofSession('Ada'));
    expect(forgottenOf()).toEqual({ exchanges: 15, bytes, atUs: expect.any(Number), by: ['session'] });
    forget(directory, { identity: null, fromUs: null, toUs: TEST_EPOCH_US + HOUR_US / 2 });
    expect(forgottenOf()).toMatchObject({ exchanges: 22, by: ['session', 'time'] });
    expect(readManifest(segmentsOf(directory)[0]?.path ?? '').exchanges).toBe(8);
    // It was seen: what is left is a smaller share of it, and none of that is unexplained.
    expect(inspectCapture(directory)).toMatchObject({
      exchanges: 23,
      forgotten: { exchanges: 37 },
      coverage: 23 / 60,
      unexplained: 0,
    });
  });

  it('can take a stretch of time, a client, or one within the other, to the microsecond', () => {
    const from = TEST_EPOCH_US + HOUR_US / 2;
    const client = { kind: 'client' as const, hash: testHash.ofIdentity('client', 'Ben at home') };
    for (const [selection, left] of [
      [{ identity: null, fromUs: from, toUs: from + HOUR_US }, 30],
      [{ identity: client, fromUs: from, toUs: from + HOUR_US }, 45],
      [{ identity: client, fromUs: null, toUs: null }, 30],
      [{ identity: null, fromUs: null, toUs: from + 1 }, 44],
      [{ identity: null, fromUs: null, toUs: from }, 45],
      [{ identity: null, fromUs: TEST_EPOCH_US, toUs: null }, 0],
    ] as const) {
      const directory = captureOf(conversation());
      expect(forget(directory, selection).exchanges).toBe(60 - left);
      expect(verified(directory).exchanges).toBe(left);
    }
  });

  it('leaves any capture consistent, and what it was not asked for as it was', () => {
    fc.assert(
      fc.property(
        fc.array(anyExchange, { minLength: 1, maxLength: 25 }),
        fc.nat({ max: 24 }),
        (exchanges, which) => {
          const chosen = exchanges[which % exchanges.length]?.arrivalUs ?? 0;
          const directory = captureOf(exchanges.toSorted((a, b) => a.arrivalUs - b.arrivalUs));
          const kept = contentOf(directory).filter(({ row }) => row.arrivalUs !== chosen);
          forget(directory, { identity: null, fromUs: chosen, toUs: chosen + 1 });
          expect(contentOf(directory)).toEqual(kept);
          expect(verified(directory).ok).toBe(true);
        },
      ),
      { numRuns: 12 },
    );
  });

  it('changes nothing in a dry run, and nothing where there is nothing to forget', () => {
    const directory = captureOf(conversation());
    const before = readdirSync(directory).map((file) => [file, statSync(join(directory, file)).ino]);
    expect(forget(directory, ofSession('Ada'), { dryRun: true })).toMatchObject({
      dryRun: true,
      exchanges: 30,
    });
    expect(readdirSync(directory).map((file) => [file, statSync(join(directory, file)).ino])).toEqual(before);
    expect(forget(directory, ofSession('Cleo'))).toMatchObject({ exchanges: 0, complete: true });
    for (const { path } of segmentsOf(directory)) {
      expect(before).toContainEqual([path.slice(directory.length + 1), statSync(path).ino]);
    }
  });

  it('goes on beside a recorder, and says of its open segment that something is left', () => {
    const directory = captureOf(conversation());
    const lock = DirectoryLock.acquire(directory);
    const writer = new CaptureWriter(
      writerOptions(directory, { recorder: { id: 'live', host: 'h', startedUs: 0 } }),
      systemClock,
    );
    writer.append(exchangeOf({ session: session('Ada') }));
    writer.append(exchangeOf({ session: session('Ben') }));
    writer.commit();
    const open = '20261124T15-live-0001.sqlite';
    const asked = forget(directory, ofSession('Ada'));
    expect(asked).toMatchObject({
      exchanges: 30,
      complete: false,
      remaining: [{ file: open, why: 'open', exchanges: 1 }],
    });
    writer.append(exchangeOf({ session: session('Ada') }));
    expect(writer.close()).toMatchObject({ lost: 0, error: null });
    lock.release();
    expect(forget(directory, ofSession('Ada'))).toMatchObject({ exchanges: 2, complete: true });
    expect(verified(directory).exchanges).toBe(31);
  });

  it('seals what a dead recorder left open, and forgets in it too', () => {
    const directory = captureOf(conversation(), { onFinished: () => {} });
    expect(segmentsOf(directory).every(({ sealed }) => !sealed)).toBe(true);
    expect(forget(directory, ofSession('Ada'))).toMatchObject({ exchanges: 30, complete: true });
    expect(segmentsOf(directory).every(({ sealed }) => sealed)).toBe(true);
    expect(placesOf(directory, 'Ada')).toEqual([]);
  });

  it('leaves a reader that has the segment open what it had', () => {
    const directory = captureOf(conversation());
    const reader = new CaptureReader(directory);
    const rows = reader.rows();
    const first = rows.next().value;
    forget(directory, ofSession('Ada'));
    expect(first && reader.payload(first)?.request?.body.kept?.toString()).toContain('what both ask');
    expect([...rows].length).toBeGreaterThanOrEqual(29);
    reader.close();
  });

  it('does not touch what is damaged, or was hashed under another key, and says so', () => {
    const directory = captureOf(conversation());
    const [first, second] = segmentsOf(directory);
    renameSync(second?.path ?? '', `${second?.path}.damaged`);
    rmSync(`${second?.path}.manifest.json`);
    chmodSync(first?.path ?? '', 0o600);
    overwrite(first?.path ?? '', 9_000, 10);
    expect(forget(directory, ofSession('Ada'))).toMatchObject({
      exchanges: 0,
      complete: false,
      remaining: expect.arrayContaining([
        { file: `${second?.file}.damaged`, why: 'set_aside', exchanges: null },
        expect.objectContaining({ file: first?.file, why: 'damaged' }),
      ]),
    });
    expect(existsSync(`${first?.path}.rewriting`)).toBe(false);
    expect(
      forget(captureOf(conversation()), ofSession('Ada'), { hashKeyFingerprint: 'ffffffff' }),
    ).toMatchObject({
      exchanges: 0,
      remaining: [{ why: 'other_hash_key' }, { why: 'other_hash_key' }],
    });
  });

  it('needs the key of an encrypted capture, and says so before it begins', () => {
    const directory = captureOf(conversation(), { encryption: KEY });
    expect(() => forget(directory, ofSession('Ada'))).toThrow(/its payloads need a key/);
    expect(verified(directory, KEY).exchanges).toBe(60);
  });

  it('lets one work at a capture at a time', () => {
    const directory = captureOf(conversation());
    const lock = DirectoryLock.acquire(directory, 'forget.lock');
    expect(() => forget(directory, ofSession('Ada'))).toThrow(/is being written by process/);
    lock.release();
  });
});

describe('a forget that was interrupted', () => {
  const interrupted = (how: 'before' | 'after') => {
    const directory = captureOf(conversation());
    const [segment] = segmentsOf(directory);
    const path = segment?.path ?? '';
    const anew = captureOf(conversation());
    forget(anew, ofSession('Ada'));
    renameSync(`${path}.manifest.json`, `${path}.rewriting.json`);
    if (how === 'after') renameSync(segmentsOf(anew)[0]?.path ?? '', path);
    else writeFileSync(`${path}.rewriting`, 'half a segment');
    return directory;
  };

  it.each([
    ['before', 60],
    ['after', 45],
  ] as const)(
    '%s the new file took its place leaves one that can be read, and is ended by the next',
    (how, exchanges) => {
      const directory = interrupted(how);
      expect(contentOf(directory)).toHaveLength(exchanges);
      expect(verified(directory)).toMatchObject({
        exchanges,
        leftovers: expect.arrayContaining([expect.stringContaining('.rewriting')]),
      });
      forget(directory, ofSession('Ada'));
      expect(verified(directory)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
      expect(segmentsOf(directory).every(({ sealed }) => sealed)).toBe(true);
    },
  );

  it('is ended beside a recorder as well', () => {
    const directory = interrupted('before');
    const lock = DirectoryLock.acquire(directory);
    expect(forget(directory, ofSession('Ada'))).toMatchObject({ exchanges: 30, complete: true });
    lock.release();
    expect(verified(directory)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
  });

  it('is ended by a recorder that starts, which seals what it finds', () => {
    const directory = interrupted('after');
    const [unsealed] = unsealedSegments(directory);
    expect(settleSegment(unsealed ?? '', systemClock)).toMatchObject({
      outcome: 'sealed',
      manifest: { exchanges: 15 },
    });
    expect(unsealedSegments(directory)).toEqual([]);
    expect(verified(directory)).toMatchObject({ ok: true, exchanges: 45 });
  });
});
