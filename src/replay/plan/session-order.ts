import type { ExchangeRow } from '../../core/exchange.ts';
import type { SessionOrderDocument } from '../../documents/replay.ts';
import type { FollowUp } from '../engine/messages.ts';
import { identityOf } from './scaling.ts';
import type { PlannedSend } from './schedule.ts';
import { SessionMemory, sessionName } from './sessions.ts';

/**
 * When the requests of a session are sent. `open`: at their planned instants, whatever became of the others;
 * `partly-open`: the first at its planned instant, each follow-up once the one before it is over and the recorded
 * think time has passed (Schroeder, Wierman, Harchol-Balter: Open Versus Closed, NSDI 2006).
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

/** Knows of each planned request which one of its session it follows. What is not sent is no part of a session. */
export class SessionChains {
  readonly #memory = new SessionMemory<Chain>();
  readonly #counts = { sessions: 0, followUps: 0, overlapped: 0, unknownEnds: 0 };

  /**
   * To be asked in the order of the schedule, of each request that is handed out.
   * @returns null for the first of a session; undefined for one that stands alone
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
    // Think time passes as fast as the schedule does between the two.
    const thinkShare = recordedGapUs === 0 ? 0 : 1 - tookUs / recordedGapUs;
    return { after, from: 'end', delayNs: Math.round(plannedGapNs * thinkShare) };
  }
}
