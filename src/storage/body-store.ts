import type { Body } from '../core/exchange.ts';
import type { BlockWriter } from './block-writer.ts';
import { BodyIndex } from './body-index.ts';
import type { Connection } from './database.ts';

const COLUMNS = 5;
/** Rows that one statement writes: running it costs more than its rows do. */
const ROWS_AT_ONCE = 16;

type Bound = number | Uint8Array | null;

/**
 * Stores each distinct body of a segment once. Two bodies are the same when the hash of the whole and the
 * number of bytes kept are: what was cut short never stands in for the whole, nor the whole for a stump.
 */
export class BodyStore {
  readonly #blocks: BlockWriter;
  readonly #index = new BodyIndex();
  readonly #insertOne;
  readonly #insertMany;
  /** What the rows bind that were given an id and are not written yet, one after the other. */
  #unwritten: Bound[] = [];
  #committedId = 0;
  #lastId = 0;

  constructor(connection: Connection, blocks: BlockWriter) {
    this.#blocks = blocks;
    this.#insertOne = connection.prepare<Bound[]>(insertSql(1));
    this.#insertMany = connection.prepare<Bound[]>(insertSql(ROWS_AT_ONCE));
  }

  /** Id of the row of a body, new or not; null for an empty one, which needs none. A new row waits for `flush`. */
  idOf(body: Body): number | null {
    if (body.bytes === 0) return null;
    const kept = body.kept?.byteLength ?? null;
    const known = body.hash === null ? null : this.#index.find(body.hash, kept);
    if (known !== null) return known;
    const id = this.#lastId + 1;
    const slot = body.kept === null || body.kept.byteLength === 0 ? null : this.#blocks.put(body.kept);
    this.#unwritten.push(id, body.hash, body.bytes, kept, slot);
    if (this.#unwritten.length === ROWS_AT_ONCE * COLUMNS) {
      this.#insertMany.run(...this.#unwritten);
      this.#unwritten = [];
    }
    this.#lastId = id;
    if (body.hash !== null) this.#index.add(body.hash, kept, id);
    return id;
  }

  /** Writes the rows that are not written yet. In the transaction in which they were given their ids. */
  flush(): void {
    const rest = this.#unwritten;
    this.#unwritten = [];
    for (let at = 0; at < rest.length; at += COLUMNS) this.#insertOne.run(...rest.slice(at, at + COLUMNS));
  }

  committed(): void {
    this.#committedId = this.#lastId;
  }

  /** Ids are given anew. */
  rolledBack(): void {
    this.#unwritten = [];
    if (this.#lastId > this.#committedId) this.#index.forgetAbove(this.#committedId);
    this.#lastId = this.#committedId;
  }
}

function insertSql(rows: number): string {
  const row = `(${Array<string>(COLUMNS).fill('?').join(', ')})`;
  const values = Array<string>(rows).fill(row).join(', ');
  return `INSERT INTO body (id, hash, bytes, kept_bytes, slot) VALUES ${values}`;
}
