import type { Connection } from './database.ts';

/** What a row binds in a column. */
export type Bound = number | Uint8Array | null;

export interface RowsAtOnceOptions {
  readonly table: string;
  readonly columns: readonly string[];
  /** Columns in which rows that come together are mostly equal. */
  readonly alike: readonly string[];
  /** Rows that one statement writes: running it costs as much as two of its rows. */
  readonly rows: number;
}

/**
 * Writes several rows with one statement. Where all are equal in the columns that are mostly so, each of these is
 * handed to SQLite once and not once a row: handing a value over costs as much as storing it.
 */
export class RowsAtOnce {
  /** What the rows bind, one row after the other; to be set anew before each run. */
  readonly bound: Bound[];
  readonly #width: number;
  readonly #insert;
  readonly #insertAlike;
  /** Places in a row of the columns in which rows are mostly equal, and of the others. */
  readonly #alike: readonly number[];
  readonly #own: readonly number[];
  /** What both bind where rows are alike: what they share, then the rest of each. */
  readonly #boundAlike: Bound[];

  constructor(connection: Connection, { table, columns, alike, rows }: RowsAtOnceOptions) {
    const places = columns.map((_, place) => place);
    const isAlike = (place: number): boolean => alike.includes(columns[place] as string);
    this.#width = columns.length;
    this.#alike = places.filter(isAlike);
    this.#own = places.filter((place) => !isAlike(place));
    this.bound = new Array<Bound>(rows * columns.length).fill(null);
    this.#boundAlike = new Array<Bound>(this.#alike.length + rows * this.#own.length).fill(null);
    const insert = `INSERT INTO ${table} (${columns.join(', ')})`;
    const values = (width: number): string => {
      const row = `(${Array<string>(width).fill('?').join(', ')})`;
      return `VALUES ${Array<string>(rows).fill(row).join(', ')}`;
    };
    this.#insert = connection.prepare<Bound[]>(`${insert} ${values(columns.length)}`);
    const chosen = places.map((place) => (isAlike(place) ? '?' : `column${this.#own.indexOf(place) + 1}`));
    this.#insertAlike = connection.prepare<Bound[]>(
      `${insert} SELECT ${chosen.join(', ')} FROM (${values(this.#own.length)})`,
    );
  }

  /** Writes what is bound. In a transaction. */
  run(): void {
    if (this.#areAlike()) this.#insertAlike.run(...this.#takeAlike());
    else this.#insert.run(...this.bound);
  }

  #areAlike(): boolean {
    const { bound } = this;
    for (const place of this.#alike) {
      const first = bound[place];
      for (let at = place + this.#width; at < bound.length; at += this.#width) {
        if (bound[at] !== first) return false;
      }
    }
    return true;
  }

  #takeAlike(): readonly Bound[] {
    let to = 0;
    for (const place of this.#alike) this.#boundAlike[to++] = this.bound[place] as Bound;
    for (let row = 0; row < this.bound.length; row += this.#width) {
      for (const place of this.#own) this.#boundAlike[to++] = this.bound[row + place] as Bound;
    }
    return this.#boundAlike;
  }
}
