import type { Body } from '../core/exchange.ts';
import type { BlockWriter } from './block-writer.ts';
import type { Connection } from './database.ts';

/** Bodies that each of two generations remembers: about 30 MiB in all. */
const REMEMBERED = 131_072;

/**
 * Stores each distinct body of a segment once. Two bodies are the same when the hash of the whole and the
 * number of bytes kept are: what was cut short never stands in for the whole, nor the whole for a stump.
 *
 * What is there is remembered in memory only: an index in the file would cost a random page of the write-ahead log
 * for every body (measured in docs/adr/0003). A body that comes again after so many others is stored once more.
 */
export class BodyStore {
  readonly #blocks: BlockWriter;
  readonly #insert;
  /** Ids by hash and kept bytes, of the latest bodies and of those before them. */
  #latest = new Map<string, number>();
  #earlier = new Map<string, number>();
  /** Those that no commit has written yet. */
  #uncommitted: string[] = [];
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
    const key = body.hash === null ? null : `${Buffer.from(body.hash).toString('latin1')} ${kept}`;
    const known = key === null ? undefined : (this.#latest.get(key) ?? this.#earlier.get(key));
    if (known !== undefined) return known;
    const id = this.#lastId + 1;
    const slot = body.kept === null || body.kept.byteLength === 0 ? null : this.#blocks.put(body.kept);
    this.#insert.run(id, body.hash, body.bytes, kept, slot);
    this.#lastId = id;
    if (key !== null) this.#remember(key, id);
    return id;
  }

  committed(): void {
    this.#committedId = this.#lastId;
    this.#uncommitted = [];
  }

  /** Ids are given anew. */
  rolledBack(): void {
    this.#lastId = this.#committedId;
    for (const key of this.#uncommitted) {
      this.#latest.delete(key);
      this.#earlier.delete(key);
    }
    this.#uncommitted = [];
  }

  #remember(key: string, id: number): void {
    if (this.#latest.size >= REMEMBERED) {
      this.#earlier = this.#latest;
      this.#latest = new Map();
    }
    this.#latest.set(key, id);
    this.#uncommitted.push(key);
  }
}
