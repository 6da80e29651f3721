import type { Connection } from './database.ts';

/** Names remembered in memory; a client that makes up routes costs a look-up each, never memory without end. */
const REMEMBERED = 4_096;

/** Gives a number to each text that repeats from row to row: methods, routes, models, protocols. */
export class NameTable {
  readonly #insert;
  readonly #find;
  #ids = new Map<string, number>();

  constructor(connection: Connection) {
    this.#insert = connection.prepare<[string]>('INSERT INTO name (text) VALUES (?)');
    this.#find = connection.prepare<[string], number>('SELECT id FROM name WHERE text = ?').pluck();
  }

  /** The number of a text; null for null. In a transaction. */
  idOf(text: string | null): number | null {
    if (text === null) return null;
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    const id = this.#find.get(text) ?? Number(this.#insert.run(text).lastInsertRowid);
    if (this.#ids.size >= REMEMBERED) this.#ids = new Map();
    this.#ids.set(text, id);
    return id;
  }

  rolledBack(): void {
    this.#ids = new Map();
  }
}
