import type { Body } from '../core/exchange.ts';
import type { BlockWriter } from './block-writer.ts';
import { BodyIndex } from './body-index.ts';
import type { Connection } from './database.ts';

/**
 * Stores each distinct body of a segment once. Two bodies are the same when the hash of the whole and the
 * number of bytes kept are: what was cut short never stands in for the whole, nor the whole for a stump.
 */
export class BodyStore {
  readonly #blocks: BlockWriter;
  readonly #index = new BodyIndex();
  readonly #insert;
  #committedId = 0;
  #lastId = 0;

  constructor(connection: Connection, blocks: BlockWriter) {
    this.#blocks = blocks;
    this.#insert = connection.prepare<[number, Uint8Array | null, number, number | null, number | null]>(
      'INSERT INTO body (id, hash, bytes, kept_bytes, slot) VALUES (?, ?, ?, ?, ?)',
    );
  }

  /** Id of the row of a body, new or not; null for an empty one, which needs none. In a transaction. */
  idOf(body: Body): number | null {
    if (body.bytes === 0) return null;
    const kept = body.kept?.byteLength ?? null;
    const known = body.hash === null ? null : this.#index.find(body.hash, kept);
    if (known !== null) return known;
    const id = this.#lastId + 1;
    const slot = body.kept === null || body.kept.byteLength === 0 ? null : this.#blocks.put(body.kept);
    this.#insert.run(id, body.hash, body.bytes, kept, slot);
    this.#lastId = id;
    if (body.hash !== null) this.#index.add(body.hash, kept, id);
    return id;
  }

  committed(): void {
    this.#committedId = this.#lastId;
  }

  /** Ids are given anew. */
  rolledBack(): void {
    if (this.#lastId > this.#committedId) this.#index.forgetAbove(this.#committedId);
    this.#lastId = this.#committedId;
  }
}
