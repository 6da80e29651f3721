import type { ExchangeRow } from '../../core/exchange.ts';
import type { SessionOrderDocument } from '../../documents/replay.ts';
import type { FollowUp } from '../engine/messages.ts';
import { identityOf } from './scaling.ts';
import type { PlannedSend } from './schedule.ts';
import { SessionMemory, sessionName } from './sessions.ts';

/**
 * When the requests of a session are sent. `open`: at their planned instants, independent of each other. `partly-open`:
 * the first at its planned instant, each follow-up after the previous one has ended and the recorded think time has
 * passed (Schroeder, Wierman, Harchol-Balter: Open Versus Closed, NSDI 2006).
 */
export const SESSION_ORDERS = ['open', 'partly-open'] as const;

type SessionOrderCounts = NonNullable<SessionOrderDocument['counts']>;

interface Place {
  readonly index: number;
  readonly row: ExchangeRow;
  readonly intendedOffsetNs: number;
}

interface Chain {
  readonly first: Pick<ExchangeRow, 'segment' | 'id'>;
  last: Place | null;
}

/**
 * Finds the previous request of the same session for each planned request. Only sent requests are part of a session.
 */
export class SessionChains {
  readonly #memory = new SessionMemory<Chain>();
  readonly #counts = { sessions: 0, followUps: 0, overlapped: 0, unknownEnds: 0 };

  /**
   * Call it for each request that is passed to the engine, in the order of the schedule.
   * @returns null for the first request of a session; undefined for a request without a session
   */
  follow(
    { row, copy, layer }: PlannedSend,
    index: number,
    intendedOffsetNs: number,
  ): FollowUp | null | undefined {
    const name = sessionName(row);
    if (name === null) return undefined;
    const isFirst = ({ first }: Chain) => first.id === row.id && first.segment === row.segment;
    const begin = (): Chain => ({ first: row, last: null });
    const chain = this.#memory.of(`${identityOf(layer, copy)} ${name}`, row.arrivalUs, begin, isFirst);
    const before = chain.last;
    chain.last = { index, row, intendedOffsetNs };
    if (before === null) {
      this.#counts.sessions += 1;
      return null;
    }
    return this.#followUp(before, chain.last);
  }

  counts(): SessionOrderCounts {
    return { ...this.#counts, forgotten: this.#memory.forgotten };
  }

  #followUp(before: Place, own: Place): FollowUp {
    this.#counts.followUps += 1;
    const { index: after } = before;
    const plannedGapNs = Math.max(0, own.intendedOffsetNs - before.intendedOffsetNs);
    const recordedGapUs = own.row.arrivalUs - before.row.arrivalUs;
    const tookUs = before.row.lastByteOffsetUs;
    if (tookUs === null || tookUs > recordedGapUs) {
      if (tookUs === null) this.#counts.unknownEnds += 1;
      else this.#counts.overlapped += 1;
      return { after, from: 'send', delayNs: plannedGapNs };
    }
    // Think time is scaled like the schedule between the two requests.
    const thinkShare = recordedGapUs === 0 ? 0 : 1 - tookUs / recordedGapUs;
    return { after, from: 'end', delayNs: Math.round(plannedGapNs * thinkShare) };
  }
}
