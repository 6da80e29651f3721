import { chmodSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { carriedOut } from '../../../src/app/forget.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { segmentsOf, unsealedSegments } from '../../../src/storage/capture/directory.ts';
import { EncryptionKey } from '../../../src/storage/capture/encryption.ts';
import { forgetExchanges, removeLeftovers } from '../../../src/storage/capture/forget.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { DirectoryLock } from '../../../src/storage/capture/lock.ts';
import { SegmentExpiry } from '../../../src/storage/capture/quota.ts';
import { CaptureReader } from '../../../src/storage/capture/reader.ts';
import { readManifest, settleSegment } from '../../../src/storage/capture/sealing.ts';
import { openForFilling } from '../../../src/storage/capture/sqlite.ts';
import { SegmentCheck } from '../../../src/storage/capture/verify.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { placesOf } from '../../support/capture-bytes.ts';
import { captureOf, overwrite, querySegment, writerOptions } from '../../support/captures.ts';
import { anyExchange, exchangeOf, TEST_EPOCH_US, testHash } from '../../support/exchanges.ts';
import {
  contentOf,
  conversation,
  forget,
  HOUR_US,
  ofSession,
  session,
  verified,
} from '../../support/forgetting.ts';
import { repeated } from '../../support/long-form.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const KEY = EncryptionKey.from(Buffer.alloc(32, 1), 'a key');

describe('forgetting', () => {
  it.each([
    ['plain', null],
    ['encrypted', KEY],
  ])('leaves nothing of a session in any file or block, and everything of the others: %s', (_, key) => {
    const directory = captureOf(conversation(), { encryption: key });
    const others = contentOf(directory, key).filter(({ row }) => row.route === 'POST /chat/Ben');
    expect(placesOf(directory, 'Adalberta', key).length).toBeGreaterThan(1);
    const document = forget(directory, ofSession('Adalberta'), { encryptionKey: key });
    expect(document).toMatchObject({ complete: true, exchanges: 30, remaining: [] });
    expect(document.segments.map(({ exchanges }) => exchanges)).toEqual([15, 15]);
    expect(placesOf(directory, 'Adalberta', key)).toEqual([]);
    expect(
      querySegment(
        directory,
        `SELECT * FROM exchange WHERE session = x'${Buffer.from(session('Adalberta')).toString('hex')}'`,
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
      .filter(({ row }) => row.route === 'POST /chat/Adalberta' && row.arrivalUs < TEST_EPOCH_US + HOUR_US)
      .reduce((sum, { row }) => sum + (row.requestBytes ?? 0) + (row.responseBytes ?? 0), 0);
    const forgottenOf = () =>
      JSON.parse(
        querySegment<{ value: string }>(directory, "SELECT value FROM meta WHERE key = 'forgotten'")[0]
          ?.value ?? 'null',
      );
    forget(directory, ofSession('Adalberta'));
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

  it('is not complete where no session was looked for when it was recorded: whose they are, nobody knows', () => {
    const parts = { policy: { session: [], client: ['none'] } };
    const directory = captureOf(conversation(), parts);
    for (const kind of ['session', 'client'] as const) {
      const document = forget(directory, {
        ...ofSession('Adalberta'),
        identity: { kind, hashes: [session('Ben')] },
      });
      expect(document).toMatchObject({ exchanges: 0, complete: false });
      expect(document.remaining.map(({ why }) => why)).toContain('nobody_named');
      expect(document.remaining.reduce((sum, { exchanges }) => sum + (exchanges ?? 0), 0)).toBe(60);
    }
    const outside = { ...ofSession('Adalberta'), toUs: TEST_EPOCH_US };
    expect(forget(directory, outside)).toMatchObject({ exchanges: 0, complete: true, remaining: [] });
  });

  it('can take a stretch of time, a client, or one within the other, to the microsecond', () => {
    const from = TEST_EPOCH_US + HOUR_US / 2;
    const client = { kind: 'client' as const, hashes: [testHash.ofIdentity('client', 'Ben at home')] };
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
      { numRuns: repeated(6, 12) },
    );
  });

  it('changes nothing in a dry run, and nothing where there is nothing to forget', () => {
    const directory = captureOf(conversation());
    const before = readdirSync(directory).map((file) => [file, statSync(join(directory, file)).ino]);
    expect(forget(directory, ofSession('Adalberta'), { dryRun: true })).toMatchObject({
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
    writer.append(exchangeOf({ session: session('Adalberta') }));
    writer.append(exchangeOf({ session: session('Ben') }));
    writer.commit();
    const open = '20261124T15-live-0001.sqlite';
    const asked = forget(directory, ofSession('Adalberta'));
    expect(asked).toMatchObject({
      exchanges: 30,
      complete: false,
      remaining: [{ file: open, why: 'open', exchanges: 1 }],
    });
    writer.append(exchangeOf({ session: session('Adalberta') }));
    expect(writer.close()).toMatchObject({ lost: [], error: null });
    lock.release();
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ exchanges: 2, complete: true });
    expect(verified(directory).exchanges).toBe(31);
  });

  it('seals what a dead recorder left open, and forgets in it too', () => {
    const directory = captureOf(conversation(), { onFinished: () => {} });
    expect(segmentsOf(directory).every(({ sealed }) => !sealed)).toBe(true);
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ exchanges: 30, complete: true });
    expect(segmentsOf(directory).every(({ sealed }) => sealed)).toBe(true);
    expect(placesOf(directory, 'Adalberta')).toEqual([]);
  });

  it('leaves a reader that has the segment open what it had', () => {
    const directory = captureOf(conversation());
    const reader = new CaptureReader(directory);
    const rows = reader.rows();
    const first = rows.next().value;
    forget(directory, ofSession('Adalberta'));
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
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({
      exchanges: 0,
      complete: false,
      remaining: expect.arrayContaining([
        { file: `${second?.file}.damaged`, why: 'set_aside', exchanges: null },
        expect.objectContaining({ file: first?.file, why: 'damaged' }),
      ]),
    });
    expect(existsSync(`${first?.path}.rewriting`)).toBe(false);
    expect(
      forget(captureOf(conversation()), ofSession('Adalberta'), { hashKeyFingerprint: 'ffffffff' }),
    ).toMatchObject({
      exchanges: 0,
      remaining: [{ why: 'other_hash_key' }, { why: 'other_hash_key' }],
    });
  });

  it('needs the key of an encrypted capture, and says so before it begins', () => {
    const directory = captureOf(conversation(), { encryption: KEY });
    expect(() => forget(directory, ofSession('Adalberta'))).toThrow(
      expect.objectContaining({ code: 'CAPTURE_ENCRYPTED' }),
    );
    expect(verified(directory, KEY).exchanges).toBe(60);
  });

  it('keeps what a transaction takes back in memory: no file of it lies beside the segment', () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'new'), '');
    const connection = openForFilling(join(directory, 'new'));
    connection.exec('CREATE TABLE a (b)');
    connection.exec('BEGIN; INSERT INTO a VALUES (1)');
    expect(readdirSync(directory)).toEqual(['new']);
    connection.close();
  });

  it('is no damage to a check that had read the manifest of the old segment', () => {
    const directory = captureOf(conversation());
    const original = SegmentCheck.prototype.run;
    const run = vi.spyOn(SegmentCheck.prototype, 'run').mockImplementationOnce(function (this: SegmentCheck) {
      forget(directory, ofSession('Adalberta'));
      const report = original.call(this);
      return {
        ...report,
        problems: [{ file: report.file, kind: 'hash', what: 'not the one it was sealed with' }],
      };
    });
    try {
      expect(verified(directory)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
    } finally {
      run.mockRestore();
    }
  });

  it('lets one work at a capture at a time', () => {
    const directory = captureOf(conversation());
    const lock = DirectoryLock.acquire(directory, 'forget.lock');
    expect(() => forget(directory, ofSession('Adalberta'))).toThrow(/is being written by process/);
    lock.release();
  });
});

describe('a forget that was interrupted', () => {
  const interrupted = (how: 'before' | 'after') => {
    const directory = captureOf(conversation());
    const [segment] = segmentsOf(directory);
    const path = segment?.path ?? '';
    const anew = captureOf(conversation());
    forget(anew, ofSession('Adalberta'));
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
      forget(directory, ofSession('Adalberta'));
      expect(verified(directory)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
      expect(segmentsOf(directory).every(({ sealed }) => sealed)).toBe(true);
    },
  );

  it('is ended beside a recorder as well', () => {
    const directory = interrupted('before');
    const lock = DirectoryLock.acquire(directory);
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ exchanges: 30, complete: true });
    lock.release();
    expect(verified(directory)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
  });

  it('that was told to end leaves nothing half done, and what it had done', () => {
    const directory = captureOf(conversation());
    const steps = forgetExchanges(directory, {
      selection: ofSession('Adalberta'),
      hashKeyFingerprint: testHash.fingerprint(),
      encryptionKey: null,
      dryRun: false,
      clock: systemClock,
    });
    steps.next();
    steps.next();
    steps.return(null);
    expect(verified(directory)).toEqual({ ok: true, exchanges: 45, leftovers: [] });
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ exchanges: 15, complete: true });
  });

  it('ends by itself on a signal, after the segment at hand', async () => {
    const begun: string[] = [];
    const stop = new AbortController();
    function* steps(): Generator<string, null, undefined> {
      for (const file of ['first', 'second']) {
        begun.push(file);
        yield file;
        stop.abort();
      }
      return null;
    }
    // It is heard while the first is written; the second is not written any more.
    expect(await carriedOut(steps(), { signal: stop.signal, onSegment: () => undefined })).toBeNull();
    expect(begun).toEqual(['first', 'second']);
  });

  it('takes no room of a recorder that starts, which removes what it left; not of one that works', () => {
    const directory = interrupted('before');
    const working = DirectoryLock.acquire(directory, 'forget.lock');
    removeLeftovers(directory);
    expect(verified(directory).leftovers).toHaveLength(2);
    working.release();
    removeLeftovers(directory);
    expect(verified(directory)).toMatchObject({ exchanges: 60, leftovers: [] });
    expect(unsealedSegments(directory)).toHaveLength(1);
  });

  it('leaves nothing behind of a segment that expires', () => {
    const directory = captureOf(conversation());
    const [segment] = segmentsOf(directory);
    if (segment === undefined) throw new Error('no segment');
    writeFileSync(`${segment.path}.rewriting`, 'half a segment');
    new SegmentExpiry(directory, systemClock).expire(segment, 'quota');
    const left = readdirSync(directory).filter((file) => file.startsWith(segment.file));
    expect(left).toEqual([`${segment.file}.expired.json`]);
  });

  it('is ended by a recorder that starts, which seals what it finds', () => {
    const directory = interrupted('after');
    const [unsealed] = unsealedSegments(directory);
    expect(settleSegment(unsealed ?? '', systemClock)).toMatchObject({ outcome: 'sealed' });
    expect(readManifest(unsealed ?? '')).toMatchObject({ exchanges: 15 });
    expect(unsealedSegments(directory)).toEqual([]);
    expect(verified(directory)).toMatchObject({ ok: true, exchanges: 45 });
  });
});
