import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { type ColumnType, EXPORT_COLUMNS, LACKING_IN_TABLES } from './export-table.ts';
import type {
  ExportedFile,
  ExportedSend,
  ExportFormat,
  ExportSettings,
  ExportWriter,
} from './export-writer.ts';
import { OutputFile } from './output-file.ts';
import { TextCounts } from './text-counts.ts';

/** A row group is held until it has so many rows, or so many bytes of bodies. */
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

class ParquetTable implements ExportWriter {
  readonly lost = new TextCounts();
  readonly usage = ['duckdb -c "SELECT route, count(*), avg(latency_ms) FROM \'FILE\' GROUP BY route"'];
  readonly #file: OutputFile;
  readonly #writer: ParquetWriter;
  readonly #names: readonly string[];
  readonly #withBodies: boolean;
  #columns: Cell[][];
  #rows = 0;
  #bodyBytes = 0;

  constructor(path: string, { includeBodies, creator }: ExportSettings) {
    this.#file = new OutputFile(path);
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
      writer: new ParquetBytes(this.#file),
      schema: [{ name: 'root', num_children: schema.length }, ...schema],
      createdBy: `${creator.name} ${creator.version}`,
    });
  }

  get files(): readonly ExportedFile[] {
    return [{ name: null, bytes: this.#file.bytes }];
  }

  add(send: ExportedSend): boolean {
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

  end(): void {
    this.#writeGroup();
    void this.#writer.finish();
    this.#file.end();
  }

  abandon(): void {
    this.#file.abandon();
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

/** Gathers what the encoder writes and hands it to the file whenever a row group is whole. */
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
