import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PARQUET_DATASET } from '../../src/formats/parquet.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf } from '../support/exchanges.ts';
import { exported, exportOf, numberedCapture, sendsOf } from '../support/export-scene.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const DAY_US = 86_400e6;
const NOON_US = Date.parse('2026-11-24T12:00:00Z') * 1e3;

function datasetOf(sends: readonly (readonly [recorder: string, atUs: number])[]): string {
  const [first] = sendsOf([exchangeOf({ arrivalUs: NOON_US })]);
  const all = sends.map(([recorder, atUs]) => ({
    ...first!,
    instantUs: atUs,
    row: { ...first!.row, recorder, arrivalUs: atUs },
  }));
  return exportOf(PARQUET_DATASET, all).path;
}

const partsOf = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.parquet'))
    .sort();

describe('a Parquet dataset', () => {
  test('has a file for each day of UTC and recorder', () => {
    const directory = datasetOf([
      ['ab12', NOON_US],
      ['cd34', NOON_US + 1],
      ['ab12', NOON_US + DAY_US / 2 - 1],
      ['ab12', NOON_US + DAY_US / 2],
    ]);
    expect(partsOf(directory)).toEqual([
      'day=2026-11-24/recorder=ab12/part-0.parquet',
      'day=2026-11-24/recorder=cd34/part-0.parquet',
      'day=2026-11-25/recorder=ab12/part-0.parquet',
    ]);
    for (const part of partsOf(directory)) {
      const bytes = readFileSync(join(directory, part));
      expect([bytes.subarray(0, 4).toString(), bytes.subarray(-4).toString()]).toEqual(['PAR1', 'PAR1']);
      expect(statSync(join(directory, part)).mode & 0o777).toBe(0o600);
    }
  });

  test('of more recorders than files may be open continues a recorder in a further part', () => {
    const names = Array.from({ length: 257 }, (_, at) => `r${at}`);
    const directory = datasetOf([...names, 'r0'].map((name, at) => [name, NOON_US + at]));
    expect(partsOf(directory)).toHaveLength(258);
    expect(partsOf(directory)).toContain('day=2026-11-24/recorder=r0/part-1.parquet');
  });

  test('never leaves its directory for the name of a recorder', () => {
    expect(partsOf(datasetOf([['../../x', NOON_US]]))).toEqual([
      'day=2026-11-24/recorder=%2E%2E%2F%2E%2E%2Fx/part-0.parquet',
    ]);
  });
});

test('export parquet --partition writes the dataset with what its rows cannot say', async () => {
  const { out, document } = await exported('parquet', numberedCapture(30), '--partition');
  const [part = '', ...more] = partsOf(out);
  expect([part, more]).toEqual(['day=2026-11-24/recorder=7f3a9c21/part-0.parquet', []]);
  expect(document.exported).toBe(30);
  expect(document.files.map(({ name }) => name)).toEqual([
    part,
    expect.stringMatching(/^_account-.{12}\.json$/),
  ]);
  const account = JSON.parse(readFileSync(join(out, document.files[1]?.name ?? ''), 'utf8'));
  expect(account).toMatchObject({
    kind: 'dataset-account',
    recorders: ['7f3a9c21'],
    filters: [],
    losses: { exchanges: 0 },
    omitted: { exchanges: 0 },
  });
});

test('--partition is refused with a format that has no parts', async () => {
  const capture = captureOf([exchangeOf({ arrivalUs: NOON_US })]);
  const out = join(temporaryDirectory(), 'out');
  expect(await runCommand(['export', 'csv', capture, '--out', out, '--partition'])).toMatchObject({
    status: 2,
  });
});
