import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LOSS_REASONS, OMISSION_CAUSES } from '../../../src/core/accounting.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { OUTCOMES } from '../../../src/core/exchange.ts';
import { FORMAT_VERSION } from '../../../src/storage/capture/schema.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { captureOf, newCapture, querySegment, writerOptions } from '../../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { repositoryRoot } from '../../support/shared-data.ts';

const PAGE = readFileSync(join(repositoryRoot, 'docs', 'reference', 'capture-format.md'), 'utf8');
const QUERIES = [...PAGE.matchAll(/```sql\n([\s\S]+?)```/g)].map((match) => match[1] ?? '');

function dayOfTraffic(): string {
  const exchanges = Array.from({ length: 400 }, (_, index) =>
    exchangeOf({
      // The last forty arrive after midnight.
      arrivalUs: TEST_EPOCH_US + 32_400_000_000 - 360 + index,
      lastByteOffsetUs: ((index * 7) % 400) * 1_000,
      request: requestMessage({ body: `prompt ${index % 300}` }),
    }),
  );
  return captureOf(exchanges, { segmentBy: 'clock' });
}

describe('docs/reference/capture-format.md', () => {
  it('finds the slowest hundred requests of a day with its first query', () => {
    const rows = querySegment<{
      arrival: string;
      latency_ms: number;
      route: string;
      outcome: string;
      status: number;
    }>(dayOfTraffic(), QUERIES[0] ?? '');
    const expected = Array.from({ length: 360 }, (_, index) => (index * 7) % 400).toSorted((a, b) => b - a);
    expect(rows.map((row) => row.latency_ms)).toEqual(expected.slice(0, 100));
    expect(rows.every((row) => row.arrival.startsWith('2026-11-24T23:59:59.999'))).toBe(true);
    expect(rows[0]).toMatchObject({
      route: 'POST /v2/models/{model}/infer',
      model: 'resnet',
      status: 200,
      outcome: 'completed',
    });
  });

  it('holds only queries that run, and what they say is true', () => {
    const directory = dayOfTraffic();
    expect(QUERIES).toHaveLength(6);
    const [, , busiest, repeated, missing] = QUERIES.map((query) =>
      querySegment<Record<string, unknown>>(directory, query),
    );
    expect(busiest).toMatchObject([
      { second: '2026-11-24 23:59:59', exchanges: 360, failed: 0 },
      { second: '2026-11-25 00:00:00', exchanges: 40 },
    ]);
    expect(repeated).toHaveLength(20);
    expect(repeated?.[0]).toMatchObject({ times: 2, request_hash: expect.stringMatching(/^[0-9a-f]{32}$/) });
    expect(missing).toEqual([]);
  });

  it('tells from the anchors when a wall clock was set', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    for (let minute = 0; minute < 5; minute += 1) {
      const jumpUs = minute >= 3 ? 80_000 : 0;
      writer.addAnchor({ monotonicNs: minute * 60e9, epochUs: TEST_EPOCH_US + minute * 60_000_000 + jumpUs });
    }
    writer.close();
    const [greatest, next] = querySegment<{ at: string; moved_us: number }>(directory, QUERIES[5] ?? '');
    expect(greatest).toEqual({ at: '2026-11-24 15:03:00', moved_us: 80_000 });
    expect(next?.moved_us).toBe(0);
  });

  it('answers a question of some minutes from the index', () => {
    const [plan] = querySegment<{ detail: string }>(dayOfTraffic(), `EXPLAIN QUERY PLAN ${QUERIES[1]}`);
    expect(plan?.detail).toContain('USING INDEX exchange_by_arrival');
  });

  it('names every table, view, column, key, outcome, reason and cause there is', () => {
    const directory = dayOfTraffic();
    const names = querySegment<{ name: string }>(
      directory,
      `SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'
       UNION SELECT name FROM pragma_table_info('exchange') UNION SELECT name FROM pragma_table_info('block')
       UNION SELECT name FROM pragma_table_info('body') UNION SELECT key FROM meta`,
    ).map(({ name }) => name);
    expect(names.length).toBeGreaterThan(50);
    const missing = [...names, ...OUTCOMES, ...LOSS_REASONS, ...OMISSION_CAUSES].filter(
      (name) => !new RegExp(`[\`*]${name}[\`*]|\\b${name}\\b`).test(PAGE),
    );
    expect(missing).toEqual([]);
    expect(PAGE).toContain(`Format version ${FORMAT_VERSION}.`);
  });
});

describe('the SQLite of the binding', () => {
  it('is none of 3.7.0 to 3.51.2, which can corrupt a database when its write-ahead log is reset', () => {
    const [row] = querySegment<{ version: string }>(dayOfTraffic(), 'SELECT sqlite_version() AS version');
    const [major = 0, minor = 0, patch = 0] = (row?.version ?? '').split('.').map(Number);
    expect(major * 1e6 + minor * 1e3 + patch).toBeGreaterThanOrEqual(3_051_003);
  });
});
