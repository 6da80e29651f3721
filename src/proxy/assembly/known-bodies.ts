import type { KeyedHash } from '../../core/keyed-hash.ts';
import { type Entry, LinkedList } from '../../core/linked-list.ts';
import { NumberMap } from '../../core/number-map.ts';
import type { RequestFeatures } from '../../core/payload-features.ts';
import type { HeadJudgement } from './head-judgement.ts';

/** A body that came before, byte for byte. Shared by all exchanges that brought it, and never written to. */
export interface KnownBody {
  /** Some of its bytes, by which it is found. */
  readonly trace: number;
  readonly bytes: Buffer;
  readonly hash: Uint8Array;
  /** What it said as a request, with the judgement of the head it came under; null until somebody asked. */
  said: BodySaying | null;
  /** Whether it came again since it was last looked at whether it should make room. */
  used: boolean;
}

/** What a body says under heads that are judged alike. */
export interface BodySaying extends RequestFeatures {
  readonly under: HeadJudgement;
}

/** Longer ones are read anew: they would take the room of many. */
const LONGEST_BYTES = 16 * 1024;
/** Held at most, with what an entry takes beside its bytes. */
const HELD_BYTES = 8 * 1024 * 1024;
const ENTRY_BYTES = 384;
/** Bytes of a body that say where it is looked for. */
const SAMPLES = 24;
/** Traces of bodies that came once. */
const TRACES = 65_536;

/**
 * Remembers small bodies that come again and again: probes, retries, popular inputs, answers that say no more than
 * that all is well. To hash one takes twenty times what it takes to compare it. Bodies that differ in any byte are
 * never the same; one is kept when it comes for the second time, so that what comes but once costs next to nothing.
 */
export class KnownBodies {
  readonly #hash: KeyedHash;
  /** By their traces. */
  readonly #bodies = new NumberMap<Entry<KnownBody>>();
  /** In the order in which they are looked at whether they should make room. */
  readonly #turns = new LinkedList<KnownBody>();
  /** What came once, and, less than nothing, what is shared by bodies that differ. */
  readonly #traces = new Int32Array(TRACES);
  #heldBytes = 0;

  constructor(hash: KeyedHash) {
    this.#hash = hash;
  }

  /** Bytes held now. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * The body with these bytes, when it came before; null for one that is to be read like any other.
   * @param bytes all of a body: a view, valid during the call only
   */
  find(bytes: Buffer): KnownBody | null {
    if (bytes.length === 0 || bytes.length > LONGEST_BYTES) return null;
    const trace = traceOf(bytes);
    const known = this.#bodies.get(trace)?.item;
    if (known?.bytes.equals(bytes)) {
      known.used = true;
      return known;
    }
    const place = trace & (TRACES - 1);
    const shared = -1 - trace;
    if (known !== undefined) {
      // Alike but for a number somewhere, each of its own: to keep one after the other would cost more than it saves.
      this.#forget(trace);
      this.#traces[place] = shared;
      return null;
    }
    if (this.#traces[place] === shared) return null;
    if (this.#traces[place] === trace) return this.#keep(trace, bytes);
    this.#traces[place] = trace;
    return null;
  }

  #keep(trace: number, bytes: Buffer): KnownBody {
    this.#forget(trace);
    const copy = Buffer.allocUnsafeSlow(bytes.length);
    copy.set(bytes);
    const body: KnownBody = { trace, bytes: copy, hash: this.#hash.ofBody(copy), said: null, used: false };
    this.#heldBytes += bytes.length + ENTRY_BYTES;
    while (this.#heldBytes > HELD_BYTES) this.#makeRoom();
    this.#bodies.set(trace, this.#turns.push(body));
    return body;
  }

  /** The next in turn goes, unless it was used since its last turn. */
  #makeRoom(): void {
    const next = this.#turns.first;
    if (next === null) return;
    const { item: body } = next;
    if (!body.used) this.#forget(body.trace);
    else {
      body.used = false;
      this.#turns.append(next);
    }
  }

  #forget(trace: number): void {
    const held = this.#bodies.get(trace);
    if (held === undefined) return;
    this.#heldBytes -= held.item.bytes.length + ENTRY_BYTES;
    this.#bodies.delete(trace);
    this.#turns.remove(held);
  }
}

/** Thirty bits, out of the length and some of the bytes. */
function traceOf(bytes: Buffer): number {
  let mixed = bytes.length;
  const step = Math.max(1, Math.floor(bytes.length / SAMPLES));
  for (let at = bytes.length - 1; at >= 0; at -= step)
    mixed = Math.imul(mixed ^ (bytes[at] as number), 0x01000193);
  return (mixed ^ (mixed >>> 15)) & 0x3fff_ffff;
}
