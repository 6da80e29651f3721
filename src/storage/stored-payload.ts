import type { Body, ChunkTimes, ExchangePayload, Message } from '../core/exchange.ts';
import type { BodyPlace, PayloadPlace } from './payload-places.ts';
import type { HeadParts, StoredHeads } from './stored-heads.ts';

/**
 * A payload as it lies in a segment. The response is read when it is asked for: a replay sends requests, and need
 * not unpack megabytes of answers for them. A class, because an object literal with a getter gets a hidden class of
 * its own, each time, and what the getter holds on to stays until a full collection.
 */
export class StoredPayload implements ExchangePayload {
  readonly request: Message | null;
  readonly #heads: StoredHeads;
  readonly #place: PayloadPlace;
  readonly #bodyOf: (place: BodyPlace) => Body;
  #response: Message | null = null;

  /** @param bodyOf reads a body where it lies */
  constructor(heads: StoredHeads, place: PayloadPlace, bodyOf: (place: BodyPlace) => Body) {
    this.#heads = heads;
    this.#place = place;
    this.#bodyOf = bodyOf;
    this.request = this.#messageOf(heads.request, () => place.request);
  }

  get response(): Message | null {
    this.#response ??= this.#messageOf(this.#heads.rest.response, () => this.#place.response);
    return this.#response;
  }

  get requestChunks(): ChunkTimes {
    return this.#heads.rest.requestChunks;
  }

  get responseChunks(): ChunkTimes {
    return this.#heads.rest.responseChunks;
  }

  #messageOf(parts: HeadParts | null, place: () => BodyPlace): Message | null {
    return parts === null ? null : { ...parts, body: this.#bodyOf(place()) };
  }
}
