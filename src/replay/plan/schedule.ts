import type { ExchangeRow } from '../../core/exchange.ts';
import { drawKeyOf } from './draws.ts';
import type { Arrival, Scaling } from './scaling.ts';

/** One planned send: data, computed before it is used and never edited by what happens. */
export interface PlannedSend {
  readonly row: ExchangeRow;
  /** Nanoseconds after the start of the run. */
  readonly intendedOffsetNs: number;
  /** 0 for what was recorded, else the number of its copy. */
  readonly copy: number;
  /** 0 for an exchange of the window, else the number of the stretch that is laid over it. */
  readonly layer: number;
  /** False for an exchange whose session is left out: it is reported, and has no send. */
  readonly kept: boolean;
}

/** Whether this is an exchange of the window itself. Each of them is reported once. */
export function isOfWindow({ copy, layer }: Pick<PlannedSend, 'copy' | 'layer'>): boolean {
  return copy === 0 && layer === 0;
}

interface LaterCopy {
  readonly row: ExchangeRow;
  readonly offsetUs: number;
  readonly copy: number;
  readonly layer: number;
}

/**
 * Arrivals as the scaling has them, in order, one by one as they are asked for. Memory is that of the copies
 * whose time has not come: what arrives within the jitter.
 */
export function* scheduleOf(arrivals: Iterable<Arrival>, scaling: Scaling): Generator<PlannedSend> {
  const later = new LaterCopies<LaterCopy>();
  const planned = ({ row, offsetUs, copy, layer }: LaterCopy, kept = true): PlannedSend => ({
    row,
    intendedOffsetNs: scaling.offsetNsAt(offsetUs),
    copy,
    layer,
    kept,
  });
  for (const arrival of arrivals) {
    const { row, offsetUs, layer = 0 } = arrival;
    if (offsetUs >= scaling.endUs) break;
    for (let due = later.takeBefore(offsetUs); due !== null; due = later.takeBefore(offsetUs)) {
      yield planned(due);
    }
    const times = scaling.timesOf(arrival);
    yield planned({ row, offsetUs, copy: 0, layer }, times > 0);
    for (let copy = 1; copy < times; copy += 1) {
      later.add({ row, offsetUs: offsetUs + scaling.jitterUs(drawKeyOf(row), layer, copy), copy, layer });
    }
  }
  const end = Number.POSITIVE_INFINITY;
  for (let due = later.takeBefore(end); due !== null; due = later.takeBefore(end)) yield planned(due);
}

/** Something that waits for its place in an order. */
interface Placed {
  readonly offsetUs: number;
}

/** Copies that are drawn ahead of their time: a heap by offset, equal ones in the order they came in. */
export class LaterCopies<T extends Placed> {
  readonly #heap: { readonly item: T; readonly ticket: number }[] = [];
  #tickets = 0;

  add(item: T): void {
    const entry = { item, ticket: this.#tickets };
    this.#tickets += 1;
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Takes the first whose offset lies before `offsetUs`; null if there is no such item. */
  takeBefore(offsetUs: number): T | null {
    const first = this.#heap[0];
    if (first === undefined || first.item.offsetUs >= offsetUs) return null;
    const last = this.#heap.pop()!;
    if (this.#heap.length > 0) this.#sink(last);
    return first.item;
  }

  #sink(entry: { readonly item: T; readonly ticket: number }): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, entry)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = entry;
  }
}

function isBefore(
  a: { readonly item: Placed; readonly ticket: number },
  b: { readonly item: Placed; readonly ticket: number },
): boolean {
  return (
    a.item.offsetUs - b.item.offsetUs < 0 || (a.item.offsetUs === b.item.offsetUs && a.ticket < b.ticket)
  );
}
