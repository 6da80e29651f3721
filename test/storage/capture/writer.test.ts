import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { EncryptionKey } from '../../../src/storage/capture/encryption.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { CaptureReader, openCapture } from '../../../src/storage/capture/reader.ts';
import { sealSegment } from '../../../src/storage/capture/sealing.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { accountOf } from '../../support/accounts.ts';
import { captureOf, newCapture, querySegment, writerOptions } from '../../support/captures.ts';
import { arrivalAlone, exchangeOf, requestMessage, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { StandingClock } from '../../support/standing-clock.ts';

const HOUR_US = 3_600_000_000;

function exchangesOfSegments(directory: string): Record<string, number> {
  const { segments } = inspectCapture(directory);
  return Object.fromEntries(segments.map(({ file, exchanges }) => [file, exchanges]));
}

describe('commits', () => {
  it('are due when the oldest exchange has waited, or when the blocks of a commit are full, not before', () => {
    const clock = new StandingClock();
    const writer = new CaptureWriter(writerOptions(newCapture()), clock);
    expect(writer.due(1e12)).toBe(false);
    writer.append(arrivalAlone(TEST_EPOCH_US));
    clock.monotonicNs = 10;
    writer.append(arrivalAlone(TEST_EPOCH_US));
    expect(writer.due(LIMITS.commitDelayMs * 1e6 - 1)).toBe(false);
    expect(writer.due(LIMITS.commitDelayMs * 1e6)).toBe(true);
    expect(writer.commit()).toEqual({ committed: 2, lost: [], reason: null, error: null });
    expect(writer.due(1e12)).toBe(false);
    const body = Buffer.alloc(LIMITS.commitBlocks * LIMITS.blockBytes);
    writer.append(exchangeOf({ request: requestMessage({ body }) }));
    expect(writer.due(10)).toBe(true);
    writer.commit();
    for (let count = 0; count < LIMITS.commitBlocks * LIMITS.blockSlots; count += 1) {
      expect(writer.due(10)).toBe(false);
      writer.append(exchangeOf());
    }
    expect(writer.due(10)).toBe(true);
    writer.close();
  });

  it.each([
    ['come as before on a quick disk', 1, LIMITS.commitSpacingMs, 1],
    ['wait on a slow disk for as long as the last one took', 100, 100, 1],
    ['are larger on a disk that is slower than they may wait', 1_000, LIMITS.commitDelayMs, 4],
  ])('%s', (_, commitMs, waitMs, factor) => {
    const clock = new (class extends StandingClock {
      override epochUs(): number {
        // Asked for the time of the commit, within it.
        this.monotonicNs += commitMs * 1e6;
        return super.epochUs();
      }
    })();
    const writer = new CaptureWriter(writerOptions(newCapture()), clock);
    writer.append(exchangeOf());
    writer.commit();
    // The first one also opened the segment, and took twice as long.
    writer.append(exchangeOf());
    writer.commit();
    const sinceNs = clock.monotonicNs;
    for (let count = 0; count < LIMITS.commitExchanges; count += 1) writer.append(exchangeOf());
    expect(writer.due(sinceNs + waitMs * 1e6 - 1)).toBe(false);
    expect(writer.due(sinceNs + waitMs * 1e6)).toBe(true);
    const most = factor * LIMITS.commitBlocks * LIMITS.blockSlots;
    for (let count = LIMITS.commitExchanges; count < most - 1; count += 1) writer.append(exchangeOf());
    expect(writer.due(sinceNs)).toBe(false);
    writer.append(exchangeOf());
    expect(writer.due(sinceNs)).toBe(true);
    writer.close();
  });

  it('write nothing, not even a file, when there is nothing', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), new StandingClock());
    expect(writer.commit().committed).toBe(0);
    expect(writer.close()).toMatchObject({ committed: 0, lost: [], error: null });
    expect(readdirSync(directory)).toEqual([]);
  });

  it('lose the exchanges that cannot be written, and say so, not their neighbours', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), new StandingClock());
    writer.append(exchangeOf({ connection: 1 }));
    // SQLite refuses the first by the type of its column; the second cannot be bound.
    writer.append(exchangeOf({ lastByteOffsetUs: 0.5 }));
    writer.append(exchangeOf({ connection: 2, client: {} as Uint8Array }));
    writer.append(exchangeOf({ connection: 3 }));
    expect(writer.commit()).toMatchObject({
      committed: 2,
      lost: [{ reason: 'encode_failed' }, { reason: 'encode_failed' }],
      reason: 'encode_failed',
    });
    writer.append(exchangeOf({ connection: 4 }));
    expect(writer.commit()).toMatchObject({ committed: 1, lost: [], reason: null });
    writer.close();
    expect(inspectCapture(directory).exchanges).toBe(3);
    expect(querySegment(directory, 'SELECT connection FROM exchange ORDER BY id')).toEqual(
      [1, 3, 4].map((connection) => ({ connection })),
    );
  });

  it('are whole after one whose transaction failed as it ended, when its blocks were written', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), new StandingClock());
    const append = (connection: number) =>
      writer.append(exchangeOf({ connection, request: requestMessage({ body: `body ${connection}` }) }));
    append(1);
    expect(writer.commit()).toMatchObject({ committed: 1, lost: [] });
    const other = new Database(segmentsOf(directory)[0]?.path);
    // A deferred constraint is checked as the transaction ends, where a full disk is noticed too.
    other.exec(`
      CREATE TABLE parent (id INTEGER PRIMARY KEY);
      CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
      CREATE TRIGGER refuse AFTER INSERT ON block BEGIN INSERT INTO child VALUES (1); END;`);
    append(2);
    expect(writer.commit()).toMatchObject({ committed: 0, lost: [{}] });
    other.exec('DROP TRIGGER refuse; DROP TABLE child; DROP TABLE parent');
    other.close();
    append(3);
    append(4);
    expect(writer.commit()).toMatchObject({ committed: 2, lost: [] });
    writer.close();
    const reader = openCapture(directory);
    const bodies = [...reader.rows()].map((row) => String(reader.payload(row)?.request?.body.kept));
    reader.close();
    expect(bodies).toEqual(['body 1', 'body 3', 'body 4']);
  });

  it('know nothing of an exchange that cannot be packed: whoever appends it is told', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), new StandingClock());
    // No MessagePack holds such a number.
    const unpackable = exchangeOf({ requestChunks: [(10n ** 30n) as unknown as number] });
    expect([exchangeOf(), unpackable, exchangeOf()].map((exchange) => writer.append(exchange))).toEqual([
      true,
      false,
      true,
    ]);
    expect(writer.commit()).toEqual({ committed: 2, lost: [], reason: null, error: null });
    writer.close();
    expect(inspectCapture(directory).exchanges).toBe(2);
  });

  it('keep losses, omissions, protocols and anchors, summed where they share a name', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), new StandingClock());
    const first = accountOf({
      startedUs: 10,
      atUs: 20.5,
      lost: { queue_bytes: { exchanges: 2, bytes: 100 } },
      omitted: { unparsed: { exchanges: 1, bytes: 9 } },
    });
    const second = accountOf({
      startedUs: 10,
      atUs: 60,
      lost: { queue_bytes: { exchanges: 6, bytes: 300 } },
      omitted: { unparsed: { exchanges: 2, bytes: 10 }, sampled_out: { exchanges: 4, bytes: 40 } },
    });
    writer.setAccount(first);
    writer.addProtocolUse({ protocol: 'http/1.1', connections: 1, bytes: 7 });
    writer.addAnchor({ monotonicNs: 5.4, epochUs: TEST_EPOCH_US });
    writer.commit();
    // Written twice, it counts once.
    for (const account of [first, second, second]) {
      writer.setAccount(account);
      writer.commit();
    }
    for (let index = 0; index < 100; index += 1) {
      writer.addProtocolUse({ protocol: `upgrade:${index}`, connections: 1, bytes: 1 });
      if (index % 7 === 0) writer.commit();
    }
    writer.addProtocolUse({ protocol: 'http/1.1', connections: 2, bytes: 3 });
    writer.close();
    const document = inspectCapture(directory);
    expect(document).toMatchObject({
      losses: { exchanges: 6, bytes: 300, byReason: { queue_bytes: { exchanges: 6, bytes: 300 } } },
      omitted: { exchanges: 6, bytes: 50, byCause: { unparsed: { exchanges: 2, bytes: 10 } } },
      coverage: 0,
      clockAnchors: 1,
    });
    const { 'http/1.1': http, other, ...upgrades } = document.protocols;
    expect(http).toEqual({ connections: 3, bytes: 10 });
    // Names come from the wire: a client that makes them up fills one row, not the disk.
    expect(Object.keys(upgrades)).toHaveLength(63);
    expect(other).toEqual({ connections: 37, bytes: 37 });
    expect(querySegment(directory, 'SELECT from_us, to_us FROM loss')).toEqual([
      { from_us: 10, to_us: 21 },
      { from_us: 21, to_us: 60 },
    ]);
  });
});

describe('the account of a recording', () => {
  it('goes on in the next segment where the one before ends, whichever process writes it', () => {
    const directory = newCapture();
    const at = (exchanges: number) => accountOf({ lost: { quota: { exchanges, bytes: exchanges } } });
    const clock = new StandingClock();
    const first = new CaptureWriter(writerOptions(directory), clock);
    first.setAccount(at(3));
    first.commit();
    first.close();
    const second = new CaptureWriter(writerOptions(directory, { account: at(3) }), clock);
    expect(second.writtenAccount).toEqual(at(3));
    second.setAccount(at(5));
    second.commit();
    second.close();
    expect(inspectCapture(directory).losses.byReason).toEqual({ quota: { exchanges: 5, bytes: 5 } });
    const [gone] = segmentsOf(directory);
    for (const suffix of ['', '.manifest.json']) rmSync(`${gone?.path}${suffix}`, { force: true });
    expect(inspectCapture(directory).losses.byReason).toEqual({ quota: { exchanges: 2, bytes: 2 } });
  });
});

describe('segments', () => {
  it('turn at the hour of the clock; a clock set back opens no hour again', () => {
    const directory = newCapture();
    const clock = new StandingClock();
    const finished: string[] = [];
    const writer = new CaptureWriter(
      writerOptions(directory, { segmentBy: 'clock', onFinished: (file) => finished.push(file) }),
      clock,
    );
    for (const wallUs of [0, HOUR_US - 1, HOUR_US, HOUR_US - 5, 2 * HOUR_US + 1]) {
      clock.wallUs = TEST_EPOCH_US + wallUs;
      writer.append(arrivalAlone(TEST_EPOCH_US));
      writer.commit();
    }
    expect(finished.map((file) => basename(file))).toEqual([
      '20261124T15-7f3a9c21-0001.sqlite',
      '20261124T16-7f3a9c21-0002.sqlite',
    ]);
    writer.close();
    expect(finished).toHaveLength(3);
    expect(exchangesOfSegments(directory)).toEqual({
      '20261124T15-7f3a9c21-0001.sqlite': 2,
      '20261124T16-7f3a9c21-0002.sqlite': 2,
      '20261124T17-7f3a9c21-0003.sqlite': 1,
    });
  });

  it('follow the hours of the arrivals for an import, and keep a late one where the writer is', () => {
    const offsets = [0, HOUR_US - 1, HOUR_US, 5, 2 * HOUR_US, HOUR_US];
    const directory = captureOf(offsets.map((offset) => arrivalAlone(TEST_EPOCH_US + offset)));
    expect(exchangesOfSegments(directory)).toEqual({
      '20261124T15-7f3a9c21-0001.sqlite': 2,
      '20261124T16-7f3a9c21-0002.sqlite': 2,
      '20261124T17-7f3a9c21-0003.sqlite': 2,
    });
  });

  it('go on counting where an earlier writer with the same name stopped', () => {
    const directory = captureOf([arrivalAlone(TEST_EPOCH_US)]);
    captureOf([arrivalAlone(TEST_EPOCH_US)], { directory });
    expect(Object.keys(exchangesOfSegments(directory))).toEqual([
      '20261124T15-7f3a9c21-0001.sqlite',
      '20261124T15-7f3a9c21-0002.sqlite',
    ]);
  });

  it('say of themselves who wrote them, from what, and by which rules', () => {
    const directory = captureOf([exchangeOf()], { fleetSize: 20, policy: { bodies: 'all', caps: [1, 2] } });
    const { recorders, fleetSize, origins } = inspectCapture(directory);
    expect({ recorders, fleetSize, origins }).toMatchObject({
      recorders: [{ id: '7f3a9c21', host: 'test', segments: 1, end: 'stopped', gaps: [] }],
      fleetSize: 20,
      origins: [{ kind: 'recorded', target: 'model.internal:8000' }],
    });
    const meta = Object.fromEntries(
      querySegment<{ key: string; value: string }>(directory, 'SELECT key, value FROM meta').map(
        ({ key, value }) => [key, value],
      ),
    );
    expect(meta).toMatchObject({
      format_version: '8',
      source: 'recorded',
      policy: '{"bodies":"all","caps":[1,2]}',
      closed_us: expect.stringMatching(/^\d+$/),
      recorder_ended_us: expect.stringMatching(/^\d+$/),
    });
  });

  it('are never given a name that no reader would find', () => {
    const recorder = { id: 'Pod/7', host: 'h', startedUs: 0 };
    expect(() => new CaptureWriter(writerOptions(newCapture(), { recorder }), new StandingClock())).toThrow(
      /"Pod\/7" cannot be part of a segment's name/,
    );
  });

  it('are left behind when a foreign reader keeps their log from being emptied', () => {
    const directory = newCapture();
    const finished: string[] = [];
    const writer = new CaptureWriter(
      writerOptions(directory, { durability: 'seal', onFinished: (file) => finished.push(file) }),
      new StandingClock(),
    );
    const append = (index: number) => {
      // Without a hash nothing is found to be equal, and what is random does not compress: the log grows as it is fed.
      const body = { bytes: 4_000_000, kept: randomBytes(4_000_000), truncated: false, hash: null };
      writer.append(exchangeOf({ request: { ...requestMessage(), body }, connection: index }));
      expect(writer.commit().lost).toEqual([]);
    };
    append(0);
    const path = segmentsOf(directory)[0]?.path ?? '';
    const reader = new Database(path, { readonly: true });
    const rows = reader.prepare('SELECT * FROM exchange, block').iterate();
    rows.next();
    const walBytes: number[] = [];
    for (let index = 1; index <= 24; index += 1) {
      append(index);
      walBytes.push(statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0);
    }
    expect(Math.max(...walBytes)).toBeLessThan(LIMITS.walBytes + 2 * 4_000_000);
    expect(finished.map((file) => basename(file))).toEqual([basename(path)]);
    rows.return?.();
    reader.close();
    writer.close();
    for (const file of finished) sealSegment(file, new StandingClock());
    expect(querySegment(directory, 'SELECT count(*) AS n FROM exchange')).toEqual([
      { n: expect.any(Number) },
    ]);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 25, losses: { exchanges: 0 } });
  });

  it('are private: 0600 while they grow, whatever the umask', () => {
    const umask = process.umask(0);
    try {
      const directory = newCapture();
      const writer = new CaptureWriter(writerOptions(directory), new StandingClock());
      writer.append(exchangeOf());
      writer.commit();
      const modes = readdirSync(directory).map((file) =>
        (statSync(join(directory, file)).mode & 0o777).toString(8),
      );
      expect(modes).toEqual(['600', '600', '600']);
      expect((statSync(directory).mode & 0o777).toString(8)).toBe('700');
      writer.close();
      const sealed = readdirSync(directory).map((file) => [
        file.split('.').at(-1),
        (statSync(join(directory, file)).mode & 0o777).toString(8),
      ]);
      expect(sealed).toEqual([
        ['sqlite', '400'],
        ['json', '600'],
      ]);
    } finally {
      process.umask(umask);
    }
  });
});

describe('a segment that an earlier process left open', () => {
  const KEY = EncryptionKey.from(Buffer.alloc(32, 1), 'a key');
  const left = { onFinished: () => undefined };

  function written(
    directory: string,
    parts: Parameters<typeof writerOptions>[1],
    texts: readonly string[],
  ): number {
    const writer = new CaptureWriter(writerOptions(directory, { ...left, ...parts }), new StandingClock());
    for (const body of texts) writer.append(exchangeOf({ request: requestMessage({ body }) }));
    expect(writer.commit()).toMatchObject({ committed: texts.length, error: null });
    return segmentsOf(directory).length;
  }

  it('is continued under its key', () => {
    const directory = newCapture();
    expect(written(directory, { encryption: KEY }, ['one', 'two'])).toBe(1);
    expect(written(directory, { encryption: KEY }, ['three'])).toBe(1);
    const reader = new CaptureReader(directory, { encryptionKey: KEY });
    const bodies = [...reader.rows()].map((row) => String(reader.payload(row)?.request?.body.kept));
    reader.close();
    expect(bodies.sort()).toEqual(['one', 'three', 'two']);
  });

  it.each([
    ['under another key', { encryption: EncryptionKey.from(Buffer.alloc(32, 2), 'another key') }],
    ['in clear', { encryption: null }],
    ['with other hashes', { encryption: KEY, hashKeyFingerprint: 'another' }],
    ['by another recorder', { encryption: KEY, recorder: { id: 'other', host: 'test', startedUs: 0 } }],
  ])('is not continued %s', (_, parts) => {
    const directory = newCapture();
    written(directory, { encryption: KEY }, ['one']);
    expect(written(directory, parts, ['two'])).toBe(2);
  });
});
