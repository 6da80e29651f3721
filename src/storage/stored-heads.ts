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
  readonly #reader: PackReader;
  readonly #file: string;
  #rest: Rest | null = null;

  /** @throws AppError CAPTURE_DAMAGED naming `file`, as does `rest`. */
  constructor(slot: Uint8Array, file: string) {
    this.#reader = new PackReader(slot);
    this.#file = file;
    this.request = this.#read((reader) => {
      if (reader.array() !== 4) throw new PackError('it is no array of four');
      return partsFrom(reader);
    });
  }

  /** Everything else. */
  get rest(): Rest {
    this.#rest ??= this.#read((reader) => {
      const response = partsFrom(reader);
      const requestChunks = reader.numbers();
      const responseChunks = reader.numbers();
      reader.end();
      return { response, requestChunks, responseChunks };
    });
    return this.#rest;
  }

  #read<T>(read: (reader: PackReader) => T): T {
    try {
      return read(this.#reader);
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
