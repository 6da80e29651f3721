import type { ExchangeRow } from '../../core/exchange.ts';
import { BY_CHANCE, type DrawnLots, drawLots, LOTS } from './draws.ts';
import { type Arrival, Scaling } from './scaling.ts';

/** Most weighed exchanges. The rest of a longer plan uses the same lots without weighing. */
const MAX_WEIGHED = 5_000_000;

/** The part of a plan that is weighed. */
export interface Weighing {
  /** The plan's arrivals in order. Each call starts a new pass. */
  readonly arrivals: () => Iterable<Arrival>;
  /** Whether an exchange has a request that can be planned. */
  readonly counts: (row: ExchangeRow) => boolean;
  /** Limits of the plan: an instant of the run, and a number of requests. Null without a limit. */
  readonly durationNs: number | null;
  readonly maxRequests: number | null;
}

/**
 * The same scaling, with draws that reach the requested number of requests although sessions differ in size. It reads
 * the arrivals of the plan, so every shard gets the same result. If all sessions are played equally often, it reads
 * none.
 */
export function thinned(scaling: Scaling, weighing: Weighing): Scaling {
  const { options, coverage, layers } = scaling;
  if (!scaling.alters && layers.length === 1) return scaling;
  const withLots = (drawn: DrawnLots): Scaling => new Scaling(options, coverage, layers, drawn);
  const all = scalesOf(withLots(BY_CHANCE), weighing);
  const kept = drawLots(all.kept, all.keptAsked);
  const left: DrawnLots = { ...BY_CHANCE, kept, weighed: all.weighed(all.keptSure, all.kept, kept) };
  // Copies are drawn only from kept sessions.
  const own = heaviest(all.kept) > 0 && all.drawsCopies ? scalesOf(withLots(left), weighing) : all;
  if (!own.drawsCopies) return withLots(left);
  const copies = drawLots(own.copies, own.asked - own.sure);
  return withLots({ kept, copies, weighed: own.weighed(own.sure, own.copies, copies) });
}

/** Counts the requests of a plan by the lots that decide about them. Constant memory. */
class Scales {
  /** By lot: requests of the sessions that are played only if the lot is drawn. */
  readonly kept = new Float64Array(LOTS);
  /** By lot: requests of one copy of the sessions that get one more copy if the lot is drawn. */
  readonly copies = new Float64Array(LOTS);
  asked = 0;
  keptAsked = 0;
  /** Requests of sessions that are always played. */
  keptSure = 0;
  /** Requests of kept sessions, without the copies that lots decide about. */
  sure = 0;
  drawsCopies = false;

  add(scaling: Scaling, arrival: Arrival): void {
    const { kept, copies, keptLot, copiesLot } = scaling.chanceOf(arrival);
    const whole = Math.floor(copies);
    this.asked += kept * copies;
    if (kept >= 1) this.keptSure += copies;
    else if (kept > 0) {
      this.keptAsked += kept * copies;
      this.kept[keptLot]! += copies;
    }
    if (copies > whole) this.drawsCopies = true;
    if (kept < 1 && scaling.drawn.kept[keptLot] !== 1) return;
    this.sure += whole;
    if (copies > whole) this.copies[copiesLot]! += 1;
  }

  weighed(sure: number, weights: Float64Array, drawn: Uint8Array): DrawnLots['weighed'] {
    let planned = sure;
    for (let lot = 0; lot < LOTS; lot += 1) planned += weights[lot]! * drawn[lot]!;
    // Removes rounding errors: a sum of shares may not be exactly whole.
    const asked = Math.round(this.asked * 1e6) / 1e6;
    return { asked, planned, largest: heaviest(weights) };
  }
}

function scalesOf(scaling: Scaling, weighing: Weighing): Scales {
  const scales = new Scales();
  const endNs = weighing.durationNs ?? Number.POSITIVE_INFINITY;
  let most = MAX_WEIGHED;
  for (const arrival of weighing.arrivals()) {
    const { offsetUs, row } = arrival;
    if (offsetUs >= scaling.endUs || scaling.offsetNsAt(offsetUs) >= endNs) break;
    if (scales.asked >= (weighing.maxRequests ?? Number.POSITIVE_INFINITY) || most-- === 0) break;
    if (weighing.counts(row)) scales.add(scaling, arrival);
  }
  return scales;
}

function heaviest(weights: Float64Array): number {
  let most = 0;
  for (let lot = 0; lot < LOTS; lot += 1) most = Math.max(most, weights[lot]!);
  return most;
}
