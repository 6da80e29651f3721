import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { AppError } from '../../../src/core/errors.ts';
import { FINISH_REASONS } from '../../../src/core/exchange.ts';
import {
  type AnswerCheck,
  MISMATCH_KINDS,
  mismatch,
  SAME,
  SEND_ERRORS,
  type Send,
  UNCHECKED_REASONS,
  unchecked,
} from '../../../src/core/run.ts';
import { RunReader } from '../../../src/storage/runs/reader.ts';
import { SqliteRunStore } from '../../../src/storage/runs/store.ts';
import { failed, refused, run, send } from '../../support/sends.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const MS = 1e6;
const TOTALS = { planned: 3, sent: 2, completed: 1, failed: 1, cancelled: 0, refused: 1 };

function freshDirectory(): string {
  return join(temporaryDirectory(), 'runs', 'one');
}

function stored(sends: readonly Send[], directory = freshDirectory()): string {
  const store = new SqliteRunStore(directory);
  store.append(sends);
  store.seal(run(), TOTALS, { schemaVersion: 1, verdict: 'PASS' });
  return directory;
}

function reading<T>(directory: string, use: (reader: RunReader) => T): T {
  const reader = new RunReader(directory);
  try {
    return use(reader);
  } finally {
    reader.close();
  }
}

function problemOf(action: () => unknown): AppError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(AppError);
    return error as AppError;
  }
  throw new Error('nothing was thrown');
}

const anyCheck: fc.Arbitrary<AnswerCheck> = fc.oneof(
  fc.constant(SAME),
  fc
    .tuple(fc.constantFrom(...MISMATCH_KINDS), fc.option(fc.string()))
    .map(([kind, pointer]) => mismatch(kind, pointer)),
  fc.constantFrom(...UNCHECKED_REASONS).map(unchecked),
);
const offset = fc.option(fc.integer({ min: 0, max: 2 ** 50 }));
const anySend = fc.record({
  segment: fc.constantFrom('a.sqlite', 'b.sqlite'),
  exchangeId: fc.integer({ min: 1, max: 2 ** 40 }),
  route: fc.option(fc.string()),
  model: fc.option(fc.string()),
  client: fc.option(fc.stringMatching(/^[0-9a-f]{16}$/)),
  requestBytes: fc.nat(2 ** 31 - 1),
  intendedOffsetNs: fc.integer({ min: 0, max: 2 ** 50 }),
  actualOffsetNs: offset,
  connectionWaitNs: offset,
  startOffsetNs: offset,
  writeNs: offset,
  pausedNs: offset,
  firstByteOffsetNs: offset,
  lastByteOffsetNs: offset,
  status: fc.option(fc.integer({ min: 100, max: 599 })),
  responseBytes: fc.nat(),
  error: fc.option(fc.constantFrom(...SEND_ERRORS)),
  refused: fc.boolean(),
  tellsError: fc.boolean(),
  bodyCrc: fc.nat(2 ** 31 - 1),
  recorded: fc.record({
    status: fc.integer({ min: 200, max: 599 }),
    bytes: fc.option(fc.nat()),
    streamed: fc.option(fc.boolean()),
    tookNs: offset,
    tellsError: fc.option(fc.boolean()),
    promptTokens: fc.option(fc.nat()),
    cachedTokens: fc.option(fc.nat()),
    outputTokens: fc.option(fc.nat()),
    finish: fc.option(fc.constantFrom(...FINISH_REASONS)),
    body: fc.option(fc.nat()),
  }),
  warmup: fc.boolean(),
  cancelled: fc.boolean(),
  form: fc.constantFrom(
    { streamed: false, unstreamed: false },
    { streamed: true, unstreamed: false },
    { streamed: false, unstreamed: true },
  ),
  answer: fc.option(
    fc.record({
      firstTokenOffsetNs: offset,
      lastTokenOffsetNs: offset,
      contentEvents: fc.nat(2 ** 31 - 1),
      gapMaxNs: offset,
      gaps: fc.option(fc.uint8Array({ minLength: 1, maxLength: 50 })),
      firstTokenPausedNs: fc.nat(),
      lastTokenPausedNs: fc.nat(),
      unpausedGaps: fc.uint8Array({ minLength: 1, maxLength: 50 }),
      promptTokens: fc.option(fc.nat()),
      cachedTokens: fc.nat(),
      outputTokens: fc.option(fc.nat()),
      finish: fc.option(fc.constantFrom(...FINISH_REASONS)),
    }),
  ),
});

describe('SqliteRunStore', () => {
  test('gives back every send as it was, in the order of the schedule', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(
        fc.array(anySend, { minLength: 1, maxLength: 30 }),
        fc.nat(10),
        fc.array(anyCheck, { maxLength: 20 }),
        (facts, cut, checks) => {
          const sends: Send[] = facts.map(({ form, ...each }, index) => ({ ...each, ...form, index }));
          const directory = freshDirectory();
          const store = new SqliteRunStore(directory);
          // Completed out of order and in two batches; some are compared before they are kept, some after that.
          store.append(sends.slice(cut).reverse());
          store.append(sends.slice(0, cut));
          store.appendChecks(
            checks.flatMap((check, index) =>
              sends.slice(index, index + 1).map((each) => ({ ...each, check })),
            ),
          );
          store.seal(run(), TOTALS, {});
          const expected = sends.map((each, index) => ({
            ...each,
            ...(index < checks.length ? { check: checks[index] } : {}),
          }));
          expect(reading(directory, (reader) => [...reader.sends()])).toEqual(expected);
        },
      ),
      { numRuns: 20 },
    );
  });

  test('is private: a 0700 directory and 0600 files, whatever the umask', () => {
    const before = process.umask(0o000);
    try {
      const directory = freshDirectory();
      const store = new SqliteRunStore(directory);
      store.append([send({ index: 0 })]);
      for (const file of readdirSync(directory)) {
        expect([file, (statSync(join(directory, file)).mode & 0o777).toString(8)]).toEqual([file, '600']);
      }
      store.seal(run(), TOTALS, {});
      expect((statSync(directory).mode & 0o777).toString(8)).toBe('700');
      expect(readdirSync(directory).sort()).toEqual(['run.sqlite', 'summary.json']);
      for (const file of readdirSync(directory)) {
        expect((statSync(join(directory, file)).mode & 0o777).toString(8)).toBe('600');
      }
    } finally {
      process.umask(before);
    }
  });

  test('keeps run, totals and summary when sealed', () => {
    const directory = stored([send({ index: 0 })]);
    reading(directory, (reader) => {
      expect(reader.sealed).toBe(true);
      expect(reader.run).toEqual(run());
      expect(reader.totals).toEqual(TOTALS);
      expect(reader.summary).toEqual({ schemaVersion: 1, verdict: 'PASS' });
    });
    expect(JSON.parse(readFileSync(join(directory, 'summary.json'), 'utf8'))).toEqual({
      schemaVersion: 1,
      verdict: 'PASS',
    });
  });

  test('counts each second, and the requests in flight at its end', () => {
    const directory = stored([
      send({ index: 0, intendedOffsetNs: 0, actualOffsetNs: 3 * MS, lastByteOffsetNs: 2_500 * MS }),
      failed(1, { intendedOffsetNs: 500 * MS, actualOffsetNs: 501 * MS, lastByteOffsetNs: 1_100 * MS }),
      refused(2, { intendedOffsetNs: 900 * MS }),
      send({ index: 3, intendedOffsetNs: 999 * MS, actualOffsetNs: 1_004 * MS, status: 503 }),
      send({ index: 4, intendedOffsetNs: 5_000 * MS, actualOffsetNs: null }),
    ]);
    const none = { offered: 0, sent: 0, completed: 0, failed: 0, cancelled: 0, refused: 0, lagMaxNs: null };
    expect(reading(directory, (reader) => [...reader.seconds()])).toEqual([
      { ...none, second: 0, offered: 4, sent: 2, refused: 1, inFlight: 2, lagMaxNs: 3 * MS },
      { ...none, second: 1, sent: 1, failed: 2, inFlight: 1, lagMaxNs: 5 * MS },
      { ...none, second: 2, completed: 1, inFlight: 0 },
      { ...none, second: 5, offered: 1, inFlight: 0 },
    ]);
  });

  test('adds up a second that several batches touch', () => {
    const directory = freshDirectory();
    const store = new SqliteRunStore(directory);
    store.append([refused(0, { intendedOffsetNs: 0 })]);
    store.append([send({ index: 1, intendedOffsetNs: 1, actualOffsetNs: 8 })]);
    store.append([send({ index: 2, intendedOffsetNs: 2, actualOffsetNs: 4 })]);
    store.seal(run(), TOTALS, {});
    expect(reading(directory, (reader) => [...reader.seconds()])).toMatchObject([
      { second: 0, offered: 3, sent: 2, completed: 2, refused: 1, inFlight: 0, lagMaxNs: 7 },
    ]);
  });

  test('a run that was never sealed can be read, and says that it was not', () => {
    const directory = freshDirectory();
    const store = new SqliteRunStore(directory);
    store.append([send({ index: 0 })]);
    const read = () =>
      reading(directory, (reader) => [reader.sealed, reader.run, reader.summary, [...reader.sends()].length]);
    expect(read()).toEqual([false, null, null, 1]);
    store.close();
    expect(read()).toEqual([false, null, null, 1]);
    expect(existsSync(join(directory, 'summary.json'))).toBe(false);
  });

  test('is immutable once sealed', () => {
    const directory = freshDirectory();
    const store = new SqliteRunStore(directory);
    store.seal(run(), TOTALS, {});
    expect(problemOf(() => store.append([send({ index: 0 })])).code).toBe('OUTPUT_UNWRITABLE');
    store.close();
    expect(problemOf(() => new SqliteRunStore(directory)).code).toBe('OUTPUT_EXISTS');
  });

  test('never writes into a directory that holds anything', () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'notes.txt'), 'mine');
    const problem = problemOf(() => new SqliteRunStore(directory));
    expect(problem.code).toBe('OUTPUT_EXISTS');
    expect(problem.message).toContain(directory);
    expect(readdirSync(directory)).toEqual(['notes.txt']);
  });

  test('takes an empty directory over, and makes it private', () => {
    const empty = join(temporaryDirectory(), 'empty');
    mkdirSync(empty, { mode: 0o755 });
    stored([send({ index: 0 })], empty);
    expect((statSync(empty).mode & 0o777).toString(8)).toBe('700');
  });

  test('says clearly when the directory cannot be made', () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    const problem = problemOf(() => new SqliteRunStore(join(file, 'run')));
    expect(problem.code).toBe('OUTPUT_UNWRITABLE');
    expect(problem.hint).not.toBeNull();
  });

  test('says of a directory that is removed while the run goes on that nothing can be kept, at once', () => {
    const directory = freshDirectory();
    const store = new SqliteRunStore(directory);
    store.append([send({ index: 0 })]);
    rmSync(directory, { recursive: true });
    const problem = problemOf(() => store.append([send({ index: 1 })]));
    expect([problem.code, problem.message]).toEqual([
      'OUTPUT_UNWRITABLE',
      expect.stringContaining(directory),
    ]);
    store.close();
    expect(existsSync(directory)).toBe(false);
  });

  test('a batch the disk refuses leaves nothing behind, and the next one is kept', () => {
    const directory = freshDirectory();
    const store = new SqliteRunStore(directory);
    store.append([send({ index: 0 })]);
    const twice = [send({ index: 1, route: 'new' }), send({ index: 0 })];
    expect(problemOf(() => store.append(twice)).code).toBe('OUTPUT_UNWRITABLE');
    store.append([send({ index: 2, route: 'newer' }), send({ index: 3, route: 'new' })]);
    store.seal(run(), TOTALS, {});
    reading(directory, (reader) => {
      expect([...reader.sends()].map(({ index, route }) => [index, route])).toEqual([
        [0, 'POST /v2/models/{model}/infer'],
        [2, 'newer'],
        [3, 'new'],
      ]);
      expect([...reader.seconds()].reduce((sum, { offered }) => sum + offered, 0)).toBe(3);
    });
  });

  test('the sqlite3 shell finds the slowest requests with their routes', () => {
    const directory = stored([
      send({ index: 0, lastByteOffsetNs: 20 * MS }),
      send({ index: 1, lastByteOffsetNs: 900 * MS }),
    ]);
    const database = new Database(join(directory, 'run.sqlite'), { readonly: true });
    const rows = database
      .prepare(`
        SELECT send_index, route, (last_byte_offset_ns - intended_offset_ns) / 1e6 AS ms
        FROM send WHERE error IS NULL ORDER BY ms DESC LIMIT 100`)
      .all();
    database.close();
    expect(rows).toEqual([
      { send_index: 1, route: 'POST /v2/models/{model}/infer', ms: 800 },
      { send_index: 0, route: 'POST /v2/models/{model}/infer', ms: 20 },
    ]);
  });
});

const SEND_INSERTER_TOTALS = { planned: 0, sent: 0, completed: 0, failed: 0, cancelled: 0, refused: 0 };

/** Most of them as most are of a model that does not stream; each of the others with one thing more. */
const parts = fc.constantFrom<Partial<Send>>(
  ...Array.from({ length: 12 }, () => ({})),
  { route: null, model: null, status: null, lastByteOffsetNs: null },
  { connectionWaitNs: 5 },
  { error: 'reset' },
  { cancelled: true },
  { check: SAME },
  { warmup: true, streamed: true },
);

describe('SendInserter', () => {
  it('writes rows of every kind, however many of each come at once', () => {
    fc.assert(
      fc.property(fc.array(fc.array(parts, { maxLength: 60 }), { maxLength: 3 }), (batches) => {
        let index = 0;
        const sends = batches.map((batch) =>
          batch.map((part) => ({
            ...(index % 20 === 19 ? refused(index) : send({ index })),
            ...part,
            index: index++,
          })),
        );
        const directory = join(temporaryDirectory(), 'run');
        const store = new SqliteRunStore(directory);
        for (const batch of sends) store.append(batch);
        store.seal(run(), SEND_INSERTER_TOTALS, { schemaVersion: 1, verdict: 'PASS' });
        const reader = new RunReader(directory);
        const read = [...reader.sends()];
        reader.close();
        expect(read).toEqual(sends.flat());
      }),
      { numRuns: 40 },
    );
  });

  it('writes no row of a batch that was given up with the batch after it', () => {
    const directory = join(temporaryDirectory(), 'run');
    const store = new SqliteRunStore(directory);
    store.append([send({ index: 0 })]);
    const many = Array.from({ length: 21 }, (_, at) => send({ index: at + 1, route: 'POST /new' }));
    expect(() => store.append([...many, send({ index: 0 })])).toThrow();
    store.append(many);
    store.seal(run(), SEND_INSERTER_TOTALS, { schemaVersion: 1, verdict: 'PASS' });
    const reader = new RunReader(directory);
    const read = [...reader.sends()];
    reader.close();
    expect(read.map(({ index, route }) => [index, route])).toEqual(
      [send({ index: 0 }), ...many].map(({ index, route }) => [index, route]),
    );
  });
});
