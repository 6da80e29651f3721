import { recordedArrivalUs } from '../core/exchange.ts';
import { csvLine } from '../core/text.ts';
import { type ExportedSend, type ExportFormat, ExportWriter, type OutputFile } from './export-writer.ts';

export type ColumnType = 'text' | 'whole' | 'number' | 'instant' | 'flag';
type ColumnValue = string | number | boolean | null;

export interface ExportColumn {
  readonly name: string;
  readonly type: ColumnType;
  readonly read: (send: ExportedSend) => ColumnValue;
}

const hex = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString('hex');
const ms = (us: number | null): number | null => (us === null ? null : us / 1e3);
const column = (name: string, type: ColumnType, read: (send: ExportedSend) => ColumnValue): ExportColumn => ({
  name,
  type,
  read,
});

/**
 * One row per planned exchange. Instants are epoch microseconds: `ts_us` as planned, `arrival_us` as
 * recorded. Hashes are keyed: they show equality but not content.
 */
export const EXPORT_COLUMNS: readonly ExportColumn[] = [
  column('id', 'text', ({ row }) => `${row.segment}:${row.id}`),
  column('copy', 'whole', ({ copy }) => copy ?? 0),
  column('ts_us', 'instant', ({ instantUs }) => instantUs),
  column('offset_ms', 'number', ({ offsetNs }) => offsetNs / 1e6),
  column('arrival_us', 'instant', ({ row }) => recordedArrivalUs(row)),
  column('method', 'text', ({ row }) => row.method),
  column('route', 'text', ({ row }) => row.route),
  column('model', 'text', ({ row }) => row.model),
  column('protocol', 'text', ({ row }) => row.protocol),
  column('status', 'whole', ({ row }) => row.status),
  column('grpc_status', 'whole', ({ row }) => row.grpcStatus ?? null),
  column('outcome', 'text', ({ row }) => row.outcome),
  column('stream', 'flag', ({ row }) => row.streamed),
  column('latency_ms', 'number', ({ row }) => ms(row.lastByteOffsetUs)),
  column('ttfb_ms', 'number', ({ row }) => ms(row.firstByteOffsetUs)),
  column('ttft_ms', 'number', ({ row }) => ms(row.firstTokenOffsetUs)),
  column('req_bytes', 'whole', ({ row }) => row.requestBytes),
  column('resp_bytes', 'whole', ({ row }) => row.responseBytes),
  column('input_tokens', 'whole', ({ row }) => row.promptTokens),
  column('output_tokens', 'whole', ({ row }) => row.outputTokens),
  column('req_messages', 'whole', ({ row }) => row.requestMessages ?? null),
  column('resp_messages', 'whole', ({ row }) => row.responseMessages ?? null),
  column('batch', 'whole', ({ row }) => row.batch),
  column('body_hash', 'text', ({ row }) => hex(row.requestHash)),
  column('session', 'text', ({ row }) => hex(row.session)),
  column('client', 'text', ({ row }) => hex(row.client)),
  column('recorder', 'text', ({ row }) => row.recorder),
  column('answer_error', 'flag', ({ row }) => row.answerError),
  column('trace_id', 'text', ({ row }) => hex(row.traceId)),
  column('not_sendable', 'text', ({ skipped }) => skipped),
];

/** Facts that a table with these columns cannot contain. */
export const LACKING_IN_TABLES: readonly string[] = [
  'targets and headers: the route replaces the path',
  'bodies of responses, and the times of their chunks',
];

/** A table for spreadsheets and data frames. */
export const CSV: ExportFormat = {
  name: 'csv',
  summary: 'a table, one row an exchange',
  shape: 'file',
  holds: 'rows',
  takes: [],
  needsTarget: false,
  cannotCarry: [
    ...LACKING_IN_TABLES,
    'bodies of requests',
    'the difference between an empty text and none',
    'texts that look like a formula: they get an apostrophe in front',
  ],
  open: (path) => new CsvWriter(path),
};

class CsvWriter extends ExportWriter {
  readonly usage = [];
  readonly #file: OutputFile;

  constructor(path: string) {
    super();
    this.#file = this.open(path);
    this.#file.write(csvLine(EXPORT_COLUMNS.map(({ name }) => name)));
  }

  override add(send: ExportedSend): boolean {
    this.#file.write(csvLine(EXPORT_COLUMNS.map(({ read }) => read(send))));
    return true;
  }
}
