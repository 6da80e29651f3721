import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import type { ExportedSend, ExportFormat } from '../../src/formats/export-writer.ts';
import { RequestBuilder } from '../../src/replay/request/build.ts';
import { captureOf } from './captures.ts';
import { runCommand } from './command-here.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from './exchanges.ts';
import { temporaryDirectory } from './temp-dir.ts';

/** Text that could attack a spreadsheet, a page, a terminal and a path. */
export const HOSTILE =
  '=cmd|"/c calc"!A1,</script><script>alert(1)</script>\u001b]0;owned\u0007\u009b31m../../etc/x';

/** Numbered chat requests some milliseconds apart. Every tenth is binary, and every eleventh fails. */
export function numberedExchanges(count: number, gapUs = 10_000): Exchange[] {
  return Array.from({ length: count }, (_, id) => {
    const binary = id % 10 === 9;
    const status = id % 11 === 10 ? 429 : 200;
    const body = binary
      ? Buffer.concat([Buffer.from([0xff, 0x00, 0x9b]), Buffer.from(String(id))])
      : `{"model": "m", "id": ${id}, "big": 12345678901234567890, "say": "${id % 2 ? 'plain' : 'schön \\u001b'}"}`;
    return exchangeOf({
      arrivalUs: TEST_EPOCH_US + id * gapUs + (id % 3) * 777,
      route: 'POST /v1/chat/completions',
      model: id === 0 ? HOSTILE : 'm',
      status,
      promptTokens: id,
      outputTokens: 2 * id,
      lastByteOffsetUs: 20_000 + id,
      request: requestMessage({
        target: `/v1/chat/completions?id=${id}`,
        headers: [
          ['Host', 'model.internal:8000'],
          ['Content-Type', binary ? 'application/octet-stream' : 'application/json'],
          ['X-Twice', 'a'],
          ['x-twice', 'b'],
          ['Content-Length', String(Buffer.byteLength(body))],
        ],
        body,
      }),
      response: responseMessage(status, `{"id":${id},"text":"</script>"}`),
    });
  });
}

export function numberedCapture(count: number, gapUs?: number): string {
  return captureOf(numberedExchanges(count, gapUs));
}

export interface ExportDocument {
  readonly exported: number;
  readonly recorded: number;
  readonly files: readonly { readonly name: string | null; readonly bytes: number }[];
  readonly lost: Readonly<Record<string, number>>;
  readonly cannotCarry: readonly string[];
  readonly skipped: Readonly<Record<string, number>>;
  readonly usage: readonly string[];
}

/** Exports through the command line. @returns the path of the export, and the document */
export async function exported(
  format: string,
  capture: string,
  ...flags: readonly string[]
): Promise<{ out: string; document: ExportDocument }> {
  const out = join(temporaryDirectory(), `out.${format}`);
  const { status, stdout, stderr } = await runCommand([
    'export',
    format,
    capture,
    '--out',
    out,
    '--json',
    ...flags,
  ]);
  expect(status, stderr).toBe(0);
  return { out, document: JSON.parse(stdout) as ExportDocument };
}

/** The parsed lines of a JSONL file. */
export function jsonLines<T>(path: string): T[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);
}

/** Exchanges as an exporter gets them, beginning with the first. */
export function sendsOf(exchanges: readonly Exchange[]): ExportedSend[] {
  const builder = new RequestBuilder({
    target: { basePath: '' },
    host: 'target',
    addedHeaders: [],
    runId: 'export-test',
  });
  const startUs = exchanges[0]?.arrivalUs ?? 0;
  return exchanges.map((exchange, index) => {
    const built = builder.build(exchange);
    return {
      index,
      offsetNs: (exchange.arrivalUs - startUs) * 1e3,
      instantUs: exchange.arrivalUs,
      row: { ...exchange, ...STORED, id: index + 1, requestHash: exchange.request?.body.hash ?? null },
      copy: null,
      request: built.kind === 'ready' ? built.request : null,
      skipped: null,
      recorded: () => exchange,
    };
  });
}

const STORED = {
  segment: '20261124T15-7f3a9c21-0001.sqlite',
  recorder: '7f3a9c21',
  requestBytes: 10,
  responseBytes: 10,
  requestTruncated: false,
  requestStored: true,
};

export const NO_ACCOUNT = {
  schemaVersion: 1,
  kind: 'dataset-account',
  capture: 'captures/today',
  recorders: ['7f3a9c21'],
  from: '2026-11-24T15:00:00.000000Z',
  to: '2026-11-24T16:00:00.000000Z',
  filters: [],
  fleetSize: null,
  coverage: null,
  coverageUnexplained: null,
  losses: { exchanges: 0, bytes: 0, exact: true, by: {} },
  omitted: { exchanges: 0, bytes: 0, by: {} },
} as const;

/** Writes sends in one format, as the command does. */
export function exportOf(
  format: ExportFormat,
  sends: readonly ExportedSend[],
): {
  path: string;
  files: readonly { readonly name: string | null }[];
  lost: Readonly<Record<string, number>>;
} {
  const path = join(temporaryDirectory(), 'out');
  if (format.shape === 'directory') mkdirSync(path);
  const writer = format.open(path, {
    creator: { name: 'reprise', version: '0' },
    origin: 'http://127.0.0.1:1',
    mode: 'exact',
    includeBodies: true,
    objectives: null,
    promptBlocks: null,
    account: NO_ACCOUNT,
  });
  for (const send of sends) writer.add(send);
  writer.end({ requests: sends.length, spanNs: sends.at(-1)?.offsetNs ?? 0, concurrency: 1 });
  return { path, files: writer.files, lost: writer.lost.all };
}
