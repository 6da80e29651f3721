import { LIMITS } from '../core/limits.ts';
import type { Send } from '../core/run.ts';
import type { PlannedRequest } from './plan.ts';

/** What the report of a send needs of what was planned. */
export type PlannedPart = Pick<
  Send,
  | 'index'
  | 'segment'
  | 'exchangeId'
  | 'route'
  | 'model'
  | 'requestBytes'
  | 'intendedOffsetNs'
  | 'streamed'
  | 'warmup'
>;

/** What is read ahead, and three times as much in flight. */
const CAPACITY = 4 * LIMITS.readAheadRequests;

const STREAMED = 1;
const WARMUP = 2;
/** Where nothing lies. */
const NONE = -1;

/**
 * Parts of planned requests, the last some thousands by their indices, in columns: they live for seconds, so that
 * as objects each of them would grow old, and only a full collection is rid of those.
 */
export class PlannedRing {
  readonly #capacity: number;
  readonly #indices: Float64Array;
  readonly #exchangeIds: Float64Array;
  readonly #requestBytes: Float64Array;
  readonly #intendedNs: Float64Array;
  readonly #flags: Uint8Array;
  /** Names, of which there are few; whoever read them has them too. */
  readonly #segments: string[];
  readonly #routes: (string | null)[];
  readonly #models: (string | null)[];
  /** All that are here lie from the first index to before the end. */
  #first = 0;
  #end = 0;

  constructor(capacity = CAPACITY) {
    this.#capacity = capacity;
    this.#indices = new Float64Array(capacity).fill(NONE);
    this.#exchangeIds = new Float64Array(capacity);
    this.#requestBytes = new Float64Array(capacity);
    this.#intendedNs = new Float64Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#segments = new Array<string>(capacity).fill('');
    this.#routes = new Array<string | null>(capacity).fill(null);
    this.#models = new Array<string | null>(capacity).fill(null);
  }

  /** The next in the order of the schedule that has to make way for an index; null once there is room for it. */
  takeBehind(index: number): PlannedPart | null {
    while (this.#first <= index - this.#capacity && this.#first < this.#end) {
      const part = this.take(this.#first);
      this.#first += 1;
      if (part !== null) return part;
    }
    return null;
  }

  /** Indices grow from call to call; there is room once nothing has to make way. */
  add(planned: PlannedRequest): void {
    const { index, row, streams, warmup = false } = planned;
    const at = index % this.#capacity;
    this.#indices[at] = index;
    this.#exchangeIds[at] = row.id;
    this.#requestBytes[at] = row.requestBytes ?? 0;
    this.#intendedNs[at] = planned.intendedOffsetNs;
    this.#flags[at] = (streams ? STREAMED : 0) | (warmup ? WARMUP : 0);
    this.#segments[at] = row.segment;
    this.#routes[at] = row.route;
    this.#models[at] = row.model;
    this.#end = index + 1;
  }

  /** Null for one that is not here. */
  take(index: number): PlannedPart | null {
    const at = index % this.#capacity;
    if (this.#indices[at] !== index) return null;
    this.#indices[at] = NONE;
    const flags = this.#flags[at] as number;
    return {
      index,
      segment: this.#segments[at] as string,
      exchangeId: this.#exchangeIds[at] as number,
      route: this.#routes[at] ?? null,
      model: this.#models[at] ?? null,
      requestBytes: this.#requestBytes[at] as number,
      intendedOffsetNs: this.#intendedNs[at] as number,
      warmup: (flags & WARMUP) !== 0,
      streamed: (flags & STREAMED) !== 0,
    };
  }

  /** Everything, in the order of the schedule. */
  takeAll(): PlannedPart[] {
    const parts: PlannedPart[] = [];
    for (let index = this.#advanced(); index < this.#end; index += 1) {
      const part = this.take(index);
      if (part !== null) parts.push(part);
    }
    return parts;
  }

  /** How many were due at an instant of the run. */
  dueAt(offsetNs: number): number {
    let due = 0;
    for (let index = this.#advanced(); index < this.#end; index += 1) {
      const at = index % this.#capacity;
      if (this.#indices[at] !== index) continue;
      // In the order of the schedule, so the first that is not due ends the count.
      if ((this.#intendedNs[at] as number) > offsetNs) break;
      due += 1;
    }
    return due;
  }

  /** The first index that may be here, past those that were taken. */
  #advanced(): number {
    while (this.#first < this.#end && this.#indices[this.#first % this.#capacity] !== this.#first) {
      this.#first += 1;
    }
    return this.#first;
  }
}
