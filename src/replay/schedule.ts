import type { ExchangeRow } from '../core/exchange.ts';
import type { Arrival } from './arrival.ts';
import { drawKeyOf } from './scaling/draws.ts';
import { LaterCopies } from './scaling/later-copies.ts';
import type { Scaling } from './scaling/scaling.ts';

/** One planned send: data, computed before it is used and never edited by what happens. */
export interface PlannedSend {
  readonly row: ExchangeRow;
  /** Nanoseconds after the start of the run. */
  readonly intendedOffsetNs: number;
  /** 0 for what was recorded, else the number of its copy. */
  readonly copy: number;
  /** 0 for an exchange of the window, else the number of the stretch that is laid over it. */
  readonly layer: number;
  /** False for an exchange whose session is left out: it is told of, and has no send. */
  readonly kept: boolean;
}

/** Whether this is an exchange of the window itself, each of which is told of once. */
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
