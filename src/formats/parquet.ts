import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { formatInstantUs } from '../core/units.ts';
import {
  type ExportedSend,
  type ExportFacts,
  type ExportFormat,
  type ExportSettings,
  ExportWriter,
  type OutputFile,
} from './export-writer.ts';
import { type ColumnType, EXPORT_COLUMNS, type ExportColumn, LACKING_IN_TABLES } from './tables.ts';

/** A row group has this many rows or bytes of bodies; rows are buffered until then. */
const GROUP_ROWS = 20_000;
const GROUP_BYTES = 16 * 1024 * 1024;
/** Rows buffered at most in all open files of a dataset. Beyond that, the fullest file writes its group. */
const BUFFERED_ROWS = 100_000;
/** Open files of a dataset. Beyond that all are closed; a recorder with more rows gets another part for the day. */
const MOST_OPEN = 256;
const BODY_COLUMN = 'request_body';

/** A table for DuckDB, pandas and Spark. */
export const PARQUET: ExportFormat = {
  name: 'parquet',
  summary: 'a Parquet table, one row an exchange; a partitioned dataset with --partition',
  shape: 'file',
  holds: 'rows',
  takes: ['includeBodies', 'partition'],
  needsTarget: false,
  cannotCarry: [...LACKING_IN_TABLES, 'bodies of requests, unless they are asked for with --include-bodies'],
  open: (path, settings) => new ParquetTable(path, settings),
};

/** The table as a dataset of files `day=2026-11-24/recorder=7f3a9c21/part-0.parquet`. Days are in UTC. */
export const PARQUET_DATASET: ExportFormat = {
  ...PARQUET,
  shape: 'directory',
  open: (path, settings) => new ParquetDataset(path, settings),
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

/** One file: rows are buffered, and written as a row group. */
class ParquetFile {
  readonly file: OutputFile;
  readonly #columns: readonly ExportColumn[];
  readonly #withBodies: boolean;
  readonly #names: readonly string[];
  readonly #writer: ParquetWriter;
  #cells: Cell[][];
  rows = 0;
  bodyBytes = 0;

  constructor(
    file: OutputFile,
    columns: readonly ExportColumn[],
    { includeBodies, creator }: ExportSettings,
  ) {
    this.file = file;
    this.#columns = columns;
    this.#withBodies = includeBodies;
    const schema: SchemaElement[] = columns.map(({ name, type }) => ({
      name,
      repetition_type: 'OPTIONAL',
      ...PLAIN[type],
    }));
    if (includeBodies) schema.push({ name: BODY_COLUMN, type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' });
    this.#names = schema.map(({ name }) => name);
    this.#cells = this.#names.map(() => []);
    this.#writer = new ParquetWriter({
      writer: new ParquetBytes(file),
      schema: [{ name: 'root', num_children: schema.length }, ...schema],
      createdBy: `${creator.name} ${creator.version}`,
    });
  }

  /** @returns whether the body of the request is lost */
  add(send: ExportedSend): boolean {
    for (const [at, { type, read }] of this.#columns.entries()) {
      const value = read(send);
      const whole = (type === 'whole' || type === 'instant') && typeof value === 'number';
      this.#cells[at]?.push(whole ? BigInt(value) : value);
    }
    const body = this.#withBodies
      ? (send.request?.body ?? send.recorded()?.request?.body.kept ?? null)
      : null;
    if (this.#withBodies) this.#cells.at(-1)?.push(body);
    this.bodyBytes += body?.length ?? 0;
    this.rows += 1;
    if (this.rows >= GROUP_ROWS || this.bodyBytes >= GROUP_BYTES) this.writeGroup();
    return this.#withBodies && body === null && (send.row.requestBytes ?? 0) > 0;
  }

  writeGroup(): void {
    if (this.rows === 0) return;
    void this.#writer.write({
      columnData: this.#names.map((name, at) => ({ name, data: this.#cells[at] ?? [] })),
      rowGroupSize: this.rows,
    });
    this.#cells = this.#names.map(() => []);
    this.rows = 0;
    this.bodyBytes = 0;
  }

  finish(): void {
    this.writeGroup();
    void this.#writer.finish();
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

const BODY_LOST = 'a body that was not recorded';

class ParquetTable extends ExportWriter {
  readonly usage = ['duckdb -c "SELECT route, count(*), avg(latency_ms) FROM \'FILE\' GROUP BY route"'];
  readonly #table: ParquetFile;

  constructor(path: string, settings: ExportSettings) {
    super();
    this.#table = new ParquetFile(this.open(path), EXPORT_COLUMNS, settings);
  }

  override add(send: ExportedSend): boolean {
    if (this.#table.add(send)) this.lost.count(BODY_LOST);
    return true;
  }

  protected override finish(): void {
    this.#table.finish();
  }
}

/** The columns inside the files. Hive keeps partition values in the path, so they are no columns. */
const PART_COLUMNS = EXPORT_COLUMNS.filter(({ name }) => name !== 'recorder');

/** Writes a file for each day and recorder. Sends come in order, so a day is complete when the next begins. */
class ParquetDataset extends ExportWriter {
  readonly usage = [
    'duckdb -c "SELECT day, recorder, count(*) FROM read_parquet(\'FILE/*/*/*.parquet\', hive_partitioning = true) GROUP BY ALL"',
  ];
  readonly #directory: string;
  readonly #settings: ExportSettings;
  readonly #open = new Map<string, ParquetFile>();
  /** Number of parts of each recorder for the current day. */
  readonly #parts = new Map<string, number>();
  #day = '';
  #dayNumber = Number.NaN;

  constructor(directory: string, settings: ExportSettings) {
    super();
    this.#directory = directory;
    this.#settings = settings;
  }

  override add(send: ExportedSend): boolean {
    const dayNumber = Math.floor(send.instantUs / US_PER_DAY);
    if (dayNumber !== this.#dayNumber) this.#beginDay(dayNumber);
    const { recorder } = send.row;
    const file = this.#open.get(recorder) ?? this.#part(recorder);
    if (file.add(send)) this.lost.count(BODY_LOST);
    this.#boundBuffers();
    return true;
  }

  protected override finish({ requests: exchanges }: ExportFacts): void {
    this.#closeAll();
    const { account } = this.#settings;
    const of = createHash('sha256').update(`${account.recorders.join()} ${account.from} ${account.to}`);
    const name = `_account-${of.digest('hex').slice(0, 12)}.json`;
    this.open(join(this.#directory, name), name).write(
      `${JSON.stringify({ ...account, exchanges }, null, 2)}\n`,
    );
  }

  #beginDay(dayNumber: number): void {
    this.#closeAll();
    this.#parts.clear();
    this.#dayNumber = dayNumber;
    this.#day = formatInstantUs(dayNumber * US_PER_DAY).slice(0, 10);
  }

  #part(recorder: string): ParquetFile {
    if (this.#open.size >= MOST_OPEN) this.#closeAll();
    const part = this.#parts.get(recorder) ?? 0;
    this.#parts.set(recorder, part + 1);
    // A recorder's name is captured text. Escaped, it is always a single folder name.
    const folder = encodeURIComponent(recorder).replaceAll('.', '%2E');
    const name = join(`day=${this.#day}`, `recorder=${folder}`, `part-${part}.parquet`);
    const path = join(this.#directory, name);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = new ParquetFile(this.open(path, name), PART_COLUMNS, this.#settings);
    this.#open.set(recorder, file);
    return file;
  }

  #boundBuffers(): void {
    let [rows, bodyBytes] = [0, 0];
    if (this.#open.size * GROUP_ROWS <= BUFFERED_ROWS && !this.#settings.includeBodies) return;
    for (const file of this.#open.values()) {
      rows += file.rows;
      bodyBytes += file.bodyBytes;
    }
    if (rows < BUFFERED_ROWS && bodyBytes < GROUP_BYTES) return;
    const of = rows < BUFFERED_ROWS ? 'bodyBytes' : 'rows';
    const [fullest] = [...this.#open.values()].sort((a, b) => b[of] - a[of]);
    fullest?.writeGroup();
  }

  #closeAll(): void {
    for (const file of this.#open.values()) {
      file.finish();
      file.file.end();
    }
    this.#open.clear();
  }
}

const US_PER_DAY = 86_400e6;
