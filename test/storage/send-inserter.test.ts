import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SAME, type Send } from '../../src/core/run.ts';
import { RunReader } from '../../src/storage/run-reader.ts';
import { SqliteRunStore } from '../../src/storage/run-store.ts';
import { refused, run, send } from '../support/sends.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const TOTALS = { planned: 0, sent: 0, completed: 0, failed: 0, cancelled: 0, refused: 0 };

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
        store.seal(run(), TOTALS, { schemaVersion: 1, verdict: 'PASS' });
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
    store.seal(run(), TOTALS, { schemaVersion: 1, verdict: 'PASS' });
    const reader = new RunReader(directory);
    const read = [...reader.sends()];
    reader.close();
    expect(read.map(({ index, route }) => [index, route])).toEqual(
      [send({ index: 0 }), ...many].map(({ index, route }) => [index, route]),
    );
  });
});
