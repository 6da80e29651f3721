import TinyQueue from 'tinyqueue';
import type { ExchangeRow } from '../../core/exchange.ts';
import type { Shard } from '../options/parsers.ts';
import { skipReasonOf } from '../window/capture.ts';
import { drawKeyOf, type SeededDraws } from './draws.ts';
import { type Arrival, identityOf, type Scaling } from './scaling.ts';

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

/** A copy that is drawn ahead of its time. */
interface LaterCopy extends Pick<PlannedSend, 'row' | 'copy' | 'layer'> {
  readonly offsetUs: number;
  readonly ticket: number;
}

/**
 * Arrivals as the scaling has them, in order, one by one as they are asked for. Memory is that of the copies
 * whose time has not come: what arrives within the jitter.
 * @param nowNs of a closed loop, where the instant of a send is the one at which it is asked for
 */
export function* scheduleOf(
  arrivals: Iterable<Arrival>,
  scaling: Scaling,
  nowNs?: () => number,
): Generator<PlannedSend> {
  // Equal ones in the order they came in.
  const later = new TinyQueue<LaterCopy>(
    [],
    (one, other) => one.offsetUs - other.offsetUs || one.ticket - other.ticket,
  );
  let tickets = 0;
  const nextNs = nowNs ?? scaling.instants?.begin();
  let lastNs = 0;
  /** What will not be sent takes none of the instants. */
  const offsetNsOf = (row: ExchangeRow, offsetUs: number): number => {
    if (nextNs === undefined) return scaling.offsetNsAt(offsetUs);
    if (skipReasonOf(row) === null) lastNs = nextNs();
    return lastNs;
  };
  const planned = ({ row, offsetUs, copy, layer }: Omit<LaterCopy, 'ticket'>, kept = true): PlannedSend => ({
    row,
    intendedOffsetNs: offsetNsOf(row, offsetUs),
    copy,
    layer,
    kept,
  });
  function* dueBefore(offsetUs: number): Generator<PlannedSend> {
    while ((later.peek()?.offsetUs ?? Number.POSITIVE_INFINITY) < offsetUs) yield planned(later.pop()!);
  }
  for (const arrival of arrivals) {
    const { row, offsetUs, layer = 0 } = arrival;
    if (offsetUs >= scaling.endUs) break;
    yield* dueBefore(offsetUs);
    const times = scaling.timesOf(arrival);
    yield planned({ row, offsetUs, copy: 0, layer }, times > 0);
    for (let copy = 1; copy < times; copy += 1) {
      const jitterUs = scaling.jitterUs(drawKeyOf(row), layer, copy);
      later.push({ row, offsetUs: offsetUs + jitterUs, copy, layer, ticket: tickets++ });
    }
  }
  yield* dueBefore(Number.POSITIVE_INFINITY);
}

/**
 * Which sends of a schedule one shard plays. Everything else was decided before, the same on every host; so every
 * send is played by exactly one shard, without a word between them. A session stays whole and so does each of its
 * copies, which is somebody else and may go elsewhere; an exchange without a session goes by its place.
 */
export class Stripe {
  readonly #shard: Shard | null;
  readonly #draws: SeededDraws;
  #place = -1;

  /** @param shard null for the whole schedule */
  constructor(shard: Shard | null, draws: SeededDraws) {
    this.#shard = shard;
    this.#draws = draws;
  }

  /** To be asked of every send of the schedule, in order, each once. */
  holds({ row, copy, layer }: PlannedSend): boolean {
    this.#place += 1;
    if (this.#shard === null) return true;
    const { index, count } = this.#shard;
    if (row.session === null) return this.#place % count === index;
    const drawn = this.#draws.draw(drawKeyOf(row), 'stripe', identityOf(layer, copy));
    return Math.floor(drawn * count) === index;
  }
}
