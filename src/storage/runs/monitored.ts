import type { MonitorSample, SeriesFacts } from '../../documents/monitors.ts';
import type { Connection } from '../capture/sqlite.ts';

/** What monitors saw: one row for each series and each of its values. A failed look has null. */
export const MONITOR_SCHEMA = `
CREATE TABLE monitor_series (
  series INTEGER PRIMARY KEY,
  source TEXT NOT NULL,
  name TEXT NOT NULL,
  metric TEXT NOT NULL,
  labels TEXT NOT NULL,
  kind TEXT NOT NULL,
  unit TEXT NOT NULL
) STRICT;

CREATE TABLE monitor_sample (
  series INTEGER NOT NULL,
  offset_ns INTEGER NOT NULL,
  value REAL,
  base REAL,
  PRIMARY KEY (series, offset_ns)
) STRICT, WITHOUT ROWID;
`;

/** A series of a run with its number in the run. */
export interface StoredSeries extends SeriesFacts {
  readonly series: number;
  readonly source: string;
}

/** Writes series and their values. Methods throw what SQLite throws. */
export class MonitorWriter {
  readonly #addSeries;
  readonly #addSample;
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#addSeries = connection.prepare('INSERT INTO monitor_series VALUES (?, ?, ?, ?, ?, ?, ?)');
    // If two looks of a merged run have the same nanosecond, the first stays.
    this.#addSample = connection.prepare('INSERT OR IGNORE INTO monitor_sample VALUES (?, ?, ?, ?)');
  }

  addSeries({ series, source, name, metric, labels, kind, unit }: StoredSeries): void {
    this.#addSeries.run(series, source, name, metric, JSON.stringify(labels), kind, unit);
  }

  addSamples(samples: Iterable<MonitorSample & { readonly series: number }>): void {
    this.#connection.transaction(() => {
      for (const { series, offsetNs, value, base } of samples) {
        this.#addSample.run(series, offsetNs, value, base);
      }
    })();
  }
}

export function monitorSeriesIn(connection: Connection): StoredSeries[] {
  const rows = connection
    .prepare<[], StoredSeries & { labels: string }>('SELECT * FROM monitor_series ORDER BY series')
    .all();
  return rows.map((row) => ({ ...row, labels: JSON.parse(row.labels) }));
}

/** The values of one series in order of time. A week with one look per second has 600,000. */
export function monitorSamplesIn(connection: Connection, series: number): MonitorSample[] {
  return connection
    .prepare<[number], MonitorSample>(
      'SELECT offset_ns AS offsetNs, value, base FROM monitor_sample WHERE series = ? ORDER BY offset_ns',
    )
    .all(series);
}
