import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { recordedArrivalUs } from '../core/exchange.ts';
import { csvLine } from '../core/text.ts';
import {
  type ExportedSend,
  type ExportFormat,
  type ExportSettings,
  ExportWriter,
  type OutputFile,
} from './export-writer.ts';

type ColumnType = 'text' | 'whole' | 'number' | 'instant' | 'flag';
type ColumnValue = string | number | boolean | null;

interface ExportColumn {
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
  column('outcome', 'text', ({ row }) => row.outcome),
  column('stream', 'flag', ({ row }) => row.streamed),
  column('latency_ms', 'number', ({ row }) => ms(row.lastByteOffsetUs)),
  column('ttfb_ms', 'number', ({ row }) => ms(row.firstByteOffsetUs)),
  column('ttft_ms', 'number', ({ row }) => ms(row.firstTokenOffsetUs)),
  column('req_bytes', 'whole', ({ row }) => row.requestBytes),
  column('resp_bytes', 'whole', ({ row }) => row.responseBytes),
  column('input_tokens', 'whole', ({ row }) => row.promptTokens),
  column('output_tokens', 'whole', ({ row }) => row.outputTokens),
  column('batch', 'whole', ({ row }) => row.batch),
  column('body_hash', 'text', ({ row }) => hex(row.requestHash)),
  column('session', 'text', ({ row }) => hex(row.session)),
  column('client', 'text', ({ row }) => hex(row.client)),
  column('recorder', 'text', ({ row }) => row.recorder),
  column('not_sendable', 'text', ({ skipped }) => skipped),
];

/** What no table with these columns contains. */
const LACKING_IN_TABLES: readonly string[] = [
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

/** A row group is buffered until it has this many rows, or this many bytes of bodies. */
const GROUP_ROWS = 20_000;
const GROUP_BYTES = 16 * 1024 * 1024;
const BODY_COLUMN = 'request_body';

/** A table for DuckDB, pandas and Spark. */
export const PARQUET: ExportFormat = {
  name: 'parquet',
  summary: 'a Parquet table, one row an exchange',
  shape: 'file',
  holds: 'rows',
  takes: ['includeBodies'],
  needsTarget: false,
  cannotCarry: [...LACKING_IN_TABLES, 'bodies of requests, unless they are asked for with --include-bodies'],
  open: (path, settings) => new ParquetTable(path, settings),
};

type SchemaElement = ConstructorParameters<typeof ParquetWriter>[0]['schema'][number];

const PLAIN: Readonly<Record<ColumnType, Partial<SchemaElement>>> = {
  text: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
  whole: { type: 'INT64' },
  number: { type: 'DOUBLE' },
  instant: {
    type: 'INT64',
    converted_type: 'TIMESTAMP_MICROS',
    logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MICROS' },
  },
  flag: { type: 'BOOLEAN' },
};

type Cell = string | number | bigint | boolean | Uint8Array | null;

class ParquetTable extends ExportWriter {
  readonly usage = ['duckdb -c "SELECT route, count(*), avg(latency_ms) FROM \'FILE\' GROUP BY route"'];
  readonly #writer: ParquetWriter;
  readonly #names: readonly string[];
  readonly #withBodies: boolean;
  #columns: Cell[][];
  #rows = 0;
  #bodyBytes = 0;

  constructor(path: string, { includeBodies, creator }: ExportSettings) {
    super();
    this.#withBodies = includeBodies;
    const schema: SchemaElement[] = EXPORT_COLUMNS.map(({ name, type }) => ({
      name,
      repetition_type: 'OPTIONAL',
      ...PLAIN[type],
    }));
    if (includeBodies) schema.push({ name: BODY_COLUMN, type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' });
    this.#names = schema.map(({ name }) => name);
    this.#columns = this.#names.map(() => []);
    this.#writer = new ParquetWriter({
      writer: new ParquetBytes(this.open(path)),
      schema: [{ name: 'root', num_children: schema.length }, ...schema],
      createdBy: `${creator.name} ${creator.version}`,
    });
  }

  override add(send: ExportedSend): boolean {
    for (const [at, { type, read }] of EXPORT_COLUMNS.entries()) {
      const value = read(send);
      const whole = (type === 'whole' || type === 'instant') && typeof value === 'number';
      this.#columns[at]?.push(whole ? BigInt(value) : value);
    }
    if (this.#withBodies) this.#addBody(send);
    this.#rows += 1;
    if (this.#rows >= GROUP_ROWS || this.#bodyBytes >= GROUP_BYTES) this.#writeGroup();
    return true;
  }

  protected override finish(): void {
    this.#writeGroup();
    void this.#writer.finish();
  }

  #addBody(send: ExportedSend): void {
    const body = send.request?.body ?? send.recorded()?.request?.body.kept ?? null;
    this.#columns.at(-1)?.push(body);
    this.#bodyBytes += body?.length ?? 0;
    if (body === null && (send.row.requestBytes ?? 0) > 0) this.lost.count('a body that was not recorded');
  }

  #writeGroup(): void {
    if (this.#rows === 0) return;
    void this.#writer.write({
      columnData: this.#names.map((name, at) => ({ name, data: this.#columns[at] ?? [] })),
      rowGroupSize: this.#rows,
    });
    this.#columns = this.#names.map(() => []);
    this.#rows = 0;
    this.#bodyBytes = 0;
  }
}

/** Collects the encoder's output and writes it to the file after each complete row group. */
class ParquetBytes extends ByteWriter {
  readonly #file: OutputFile;

  constructor(file: OutputFile) {
    super();
    this.#file = file;
  }

  flush(): void {
    this.#file.write(this.getBytes().slice());
    (this as unknown as { index: number }).index = 0;
  }

  override finish(): void {
    this.flush();
  }
}
