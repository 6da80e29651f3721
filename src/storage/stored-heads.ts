import type { ChunkTimes } from '../core/exchange.ts';
import { damaged } from './database.ts';
import { PackError, PackReader } from './pack-reader.ts';

/** What a slot holds of one side of an exchange besides its body. */
export interface HeadParts {
  readonly head: Uint8Array;
  readonly redacted: readonly string[];
  readonly trailers: Uint8Array | null;
}

/** What follows the request's part. */
interface Rest {
  readonly response: HeadParts | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
}

/**
 * The heads of an exchange as `encodeHeads` wrote them. What follows the request's is read when it is asked for: a
 * replay sends requests, and a stream's answer has a time for each of its pieces.
 */
export class StoredHeads {
  readonly request: HeadParts | null;
  readonly #slot: Uint8Array;
  readonly #file: string;
  /** Where the request's part ends. */
  readonly #restAt: number;
  #rest: Rest | null = null;

  /** @throws AppError CAPTURE_DAMAGED naming `file`, as does `rest`. */
  constructor(slot: Uint8Array, file: string) {
    this.#slot = slot;
    this.#file = file;
    [this.request, this.#restAt] = this.#read(0, (reader) => {
      if (reader.array() !== 4) throw new PackError('it is no array of four');
      return [partsFrom(reader), reader.at];
    });
  }

  /** Everything else. Where it is damaged it is so whenever it is asked for. */
  get rest(): Rest {
    this.#rest ??= this.#read(this.#restAt, (reader) => {
      const response = partsFrom(reader);
      const requestChunks = reader.numbers();
      const responseChunks = reader.numbers();
      reader.end();
      return { response, requestChunks, responseChunks };
    });
    return this.#rest;
  }

  #read<T>(from: number, read: (reader: PackReader) => T): T {
    try {
      return read(new PackReader(this.#slot.subarray(from)));
    } catch (error) {
      throw damaged(this.#file, 'the heads of an exchange are not what they should be', error);
    }
  }
}

function partsFrom(reader: PackReader): HeadParts | null {
  if (reader.nil()) return null;
  if (reader.array() !== 3) throw new PackError('it is no array of three');
  const head = reader.binary();
  const redacted = reader.texts();
  return { head, redacted, trailers: reader.nil() ? null : reader.binary() };
}
