import type Database from 'better-sqlite3';
import type { Connection } from './database.ts';

/**
 * The statements of one connection, each compiled once. One compiled for every page of a long read would hold
 * its kilobytes outside the heap, where no pressure on the heap shows, until a distant collection.
 */
export class StatementCache {
  readonly #connection: Connection;
  readonly #statements = new Map<string, Database.Statement>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** The statement of a text, of which there must be few. Run it to its end before asking for it again. */
  of<Bound extends unknown[], Row>(sql: string): Database.Statement<Bound, Row> {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known as Database.Statement<Bound, Row>;
    const compiled = this.#connection.prepare<Bound, Row>(sql);
    this.#statements.set(sql, compiled as Database.Statement);
    return compiled;
  }
}
