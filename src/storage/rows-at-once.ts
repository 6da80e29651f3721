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
  readonly #names: readonly string[];
  readonly #ownBound: Bound[];

  constructor(connection: Connection, { table, columns, alike, rows }: RowsAtOnceOptions) {
    const places = columns.map((_, place) => place);
    const isAlike = (place: number): boolean => alike.includes(columns[place] as string);
    this.#width = columns.length;
    this.#alike = places.filter(isAlike);
    this.#own = places.filter((place) => !isAlike(place));
    this.#names = columns;
    this.bound = new Array<Bound>(rows * columns.length).fill(null);
    this.#ownBound = new Array<Bound>(rows * this.#own.length).fill(null);
    const sqlOf = (row: readonly string[]): string => {
      const values = Array<string>(rows).fill(`(${row.join(', ')})`);
      return `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${values.join(', ')}`;
    };
    this.#insert = connection.prepare<Bound[]>(sqlOf(columns.map(() => '?')));
    this.#insertAlike = connection.prepare<(Bound | Record<string, Bound>)[]>(
      sqlOf(columns.map((name) => (alike.includes(name) ? `@${name}` : '?'))),
    );
  }

  /** Writes what is bound. In a transaction. */
  run(): void {
    if (this.#areAlike()) this.#insertAlike.run(...this.#takeOwn(), this.#shared());
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

  #takeOwn(): readonly Bound[] {
    let to = 0;
    for (let row = 0; row < this.bound.length; row += this.#width) {
      for (const place of this.#own) this.#ownBound[to++] = this.bound[row + place] as Bound;
    }
    return this.#ownBound;
  }

  #shared(): Record<string, Bound> {
    const shared: Record<string, Bound> = {};
    for (const place of this.#alike) shared[this.#names[place] as string] = this.bound[place] as Bound;
    return shared;
  }
}
