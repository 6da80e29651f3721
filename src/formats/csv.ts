import { EXPORT_COLUMNS, type ExportColumn, LACKING_IN_TABLES } from './export-table.ts';
import type { ExportedFile, ExportedSend, ExportFormat, ExportWriter } from './export-writer.ts';
import { csvCell } from './inert-text.ts';
import { OutputFile } from './output-file.ts';
import { TextCounts } from './text-counts.ts';

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
    'texts that a spreadsheet takes for a formula: an apostrophe stands in front',
  ],
  open: (path) => new CsvWriter(path),
};

class CsvWriter implements ExportWriter {
  readonly lost = new TextCounts();
  readonly usage = [];
  readonly #file: OutputFile;

  constructor(path: string) {
    this.#file = new OutputFile(path);
    this.#file.write(`${EXPORT_COLUMNS.map(({ name }) => name).join(',')}\n`);
  }

  get files(): readonly ExportedFile[] {
    return [{ name: null, bytes: this.#file.bytes }];
  }

  add(send: ExportedSend): boolean {
    this.#file.write(`${EXPORT_COLUMNS.map((column) => cellOf(column, send)).join(',')}\n`);
    return true;
  }

  end(): void {
    this.#file.end();
  }

  abandon(): void {
    this.#file.abandon();
  }
}

function cellOf({ type, read }: ExportColumn, send: ExportedSend): string {
  const value = read(send);
  if (value === null) return '';
  return type === 'text' ? csvCell(String(value)) : String(value);
}
