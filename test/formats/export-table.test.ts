import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import type { ExportedSend } from '../../src/formats/export-writer.ts';
import { EXPORT_FORMATS } from '../../src/formats/index.ts';
import { EXPORT_COLUMNS } from '../../src/formats/tables.ts';
import { Playback } from '../../src/replay/window/playback.ts';
import { exchangeRow } from '../support/exchange-row.ts';
import { exportOf } from '../support/export-scene.ts';
import { MemoryCapture } from '../support/memory-capture.ts';

/** What a CSV has of rows, by column. */
function tableOf(rows: Iterable<ExchangeRow>): Record<string, string>[] {
  const sends = [...rows].map((row, index): ExportedSend => {
    const nothing = { copy: null, request: null, skipped: null, recorded: () => null };
    return { index, offsetNs: 0, instantUs: row.arrivalUs, row, ...nothing };
  });
  const { path } = exportOf(EXPORT_FORMATS.find(({ name }) => name === 'csv')!, sends);
  const [, ...lines] = readFileSync(path, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const cells = line.split(',');
    return Object.fromEntries(EXPORT_COLUMNS.map(({ name }, at) => [name, cells[at] ?? '']));
  });
}

test('arrival_us is when an exchange was recorded, also where windows follow each other and are played again', () => {
  const times = [1_000, 1_010, 8_000_000];
  const parts = [
    { fromUs: 1_000, toUs: 2_000 },
    { fromUs: 7_999_995, toUs: 9_000_000 },
  ];
  const source = new MemoryCapture(times.map((arrivalUs, id) => exchangeRow({ id, arrivalUs })));
  const window = { fromUs: 1_000, toUs: 9_000_000, parts, loops: 2 };
  const table = tableOf(new Playback({ source, window, selection: null }).rows());
  expect(table.map(({ arrival_us }) => Number(arrival_us))).toEqual([...times, ...times]);
  expect(new Set(table.map(({ ts_us }) => ts_us)).size).toBe(6);
});

test('sizes of which nothing is known are empty cells, and not 0', () => {
  const unknown = exchangeRow({ requestBytes: null, responseBytes: null });
  const empty = exchangeRow({ requestBytes: 0, responseBytes: 0 });
  expect(tableOf([unknown, empty])).toMatchObject([
    { req_bytes: '', resp_bytes: '' },
    { req_bytes: '0', resp_bytes: '0' },
  ]);
});
