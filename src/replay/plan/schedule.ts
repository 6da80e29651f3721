import TinyQueue from 'tinyqueue';
import type { ExchangeRow } from '../../core/exchange.ts';
import type { Shard } from '../options/parsers.ts';
import { skipReasonOf } from '../window/capture.ts';
import { drawKeyOf, type SeededDraws } from './draws.ts';
import { type Arrival, identityOf, type Scaling } from './scaling.ts';

/** One planned send: data that are computed in advance and never changed by later events. */
export interface PlannedSend {
  readonly row: ExchangeRow;
  /** Nanoseconds after the start of the run. */
  readonly intendedOffsetNs: number;
  /** 0 for the recorded exchange, else the number of its copy. */
  readonly copy: number;
  /** 0 for an exchange of the window, else the number of its layer. */
  readonly layer: number;
  /** False for an exchange of a left-out session. It is reported, but not sent. */
  readonly kept: boolean;
}

/** Whether this is an exchange of the window itself. Each of them is reported once. */
export function isOfWindow({ copy, layer }: Pick<PlannedSend, 'copy' | 'layer'>): boolean {
  return copy === 0 && layer === 0;
}

/** A copy that is due later. */
interface LaterCopy extends Pick<PlannedSend, 'row' | 'copy' | 'layer'> {
  readonly offsetUs: number;
  readonly ticket: number;
}

/**
 * The scaled schedule of arrivals, in order, computed on demand. Only copies that are due later are in memory: those
 * within the jitter.
 * @param nowNs for a closed loop: the present instant, because a send happens when it is pulled
 */
export function* scheduleOf(
  arrivals: Iterable<Arrival>,
  scaling: Scaling,
  nowNs?: () => number,
): Generator<PlannedSend> {
  // Copies with equal times are in the order in which they were added.
  const later = new TinyQueue<LaterCopy>(
    [],
    (one, other) => one.offsetUs - other.offsetUs || one.ticket - other.ticket,
  );
  let tickets = 0;
  const nextNs = nowNs ?? scaling.instants?.begin();
  let lastNs = 0;
  /** The instant of a row. A row that will not be sent uses up none of the planned instants. */
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
 * Decides which sends of a schedule belong to one shard. Everything else was decided before in the same way on every
 * host, so every send belongs to exactly one shard without communication. A session stays together. Each of its copies
 * stays together too, but counts as another client and may go to another shard. An exchange without a session is
 * assigned by its position.
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

  /** Whether a send belongs to the shard. Call it once for every send of the schedule, in order. */
  holds({ row, copy, layer }: PlannedSend): boolean {
    this.#place += 1;
    if (this.#shard === null) return true;
    const { index, count } = this.#shard;
    if (row.session === null) return this.#place % count === index;
    const drawn = this.#draws.draw(drawKeyOf(row), 'stripe', identityOf(layer, copy));
    return Math.floor(drawn * count) === index;
  }
}
