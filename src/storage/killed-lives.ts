import type { Loss } from '../core/accounting.ts';
import { type KilledLife, killedLifeOf, type LifeAccount, pendingLossOf } from '../core/ledger-cell.ts';
import type { TimeRange } from '../core/ports.ts';
import { formatInstantUs } from '../core/units.ts';
import { committedUntil, isOfLife, killedIn, livesOf } from './ledger-lives.ts';
import type { SegmentMeta } from './segment-meta.ts';
import type { SegmentReader } from './segment-reader.ts';
import type { SegmentSummary } from './segment-summary.ts';

/** A recording that was killed. Times are ISO 8601, UTC. */
export interface KilledDocument {
  /** What it goes by in its ledger. */
  readonly life: string;
  readonly startedAt: string;
  /** What passed after that nobody counted. */
  readonly knownUntil: string;
  /** When a later recording found that: from then on it is counted again. Null while none has. */
  readonly foundAt: string | null;
}

/**
 * What captures say of recordings that were killed: their ledgers of those that nothing has followed yet, and their
 * segments of those that another recording found. It outlives the ledger, and is there in a copy without it.
 */
export class KilledLives {
  readonly #noted = new Map<string, KilledLife>();
  /** By the ledger alone: nobody wrote a segment since, or it has expired. */
  readonly #told = new Map<string, KilledLife>();
  /** Nothing has followed them; what they left lost stands in no segment. */
  readonly #unfollowed = new Map<string, LifeAccount>();
  readonly #ended = new Map<string, LifeAccount>();
  /** Exchanges of the segments that were read, by life: of those until its last account. */
  readonly #committed = new Map<string, number>();
  #firstOpenedUs = Number.POSITIVE_INFINITY;

  /** To be called before the segments of the directory are added. */
  addDirectory(captureDirectory: string): void {
    for (const account of livesOf(captureDirectory)) {
      const killed = account.state === 'told' ? killedLifeOf(account) : null;
      if (killed !== null) this.#told.set(account.life, killed);
      if (account.state === 'ended') this.#ended.set(account.life, account);
    }
    for (const account of killedIn(captureDirectory)) this.#unfollowed.set(account.life, account);
  }

  addSegment(reader: SegmentReader, { meta, hours }: SegmentSummary): void {
    this.#firstOpenedUs = Math.min(this.#firstOpenedUs, meta.openedUs);
    for (const life of meta.killed) this.#noted.set(life.life, life);
    for (const account of this.#unfollowed.values()) {
      if (!isOfLife(meta, account)) continue;
      const known = this.#committed.get(account.life) ?? 0;
      this.#committed.set(account.life, known + committedUntil(reader, meta, hours, account));
    }
  }

  /** Whether the recorder of that segment was killed, and nothing has followed it. */
  isUnfollowed(meta: SegmentMeta): boolean {
    return [...this.#unfollowed.values()].some((account) => isOfLife(meta, account));
  }

  /** What stands in no segment and is lost all the same. */
  losses(): Loss[] {
    const pending = [...this.#unfollowed.values()].flatMap((account) =>
      pendingLossOf(account, this.#committed.get(account.life) ?? null, account.atUs),
    );
    return [...this.#unfollowed.values(), ...this.#ended.values()]
      .flatMap(({ untold }) => untold)
      .concat(pending);
  }

  /** Whether one of the ranges has a time that nobody counted. */
  touches(ranges: readonly TimeRange[]): boolean {
    return this.#all().some(({ knownUntilUs, foundUs }) =>
      ranges.some(({ fromUs, toUs }) => toUs > knownUntilUs && (foundUs === null || fromUs < foundUs)),
    );
  }

  documents(): KilledDocument[] {
    return this.#all().map(({ life, startedUs, knownUntilUs, foundUs }) => ({
      life,
      startedAt: formatInstantUs(startedUs),
      knownUntil: formatInstantUs(knownUntilUs),
      foundAt: foundUs === null ? null : formatInstantUs(foundUs),
    }));
  }

  /** In the order of their ends. Those of before all that is here say nothing of what is. */
  #all(): KilledLife[] {
    const told = [...this.#told].filter(([, { foundUs }]) => (foundUs ?? 0) > this.#firstOpenedUs);
    const unfollowed = [...this.#unfollowed.values()].map((account) => killedLifeOf(account));
    const lives = new Map([...told, ...this.#noted]);
    for (const life of unfollowed) if (life !== null) lives.set(life.life, life);
    return [...lives.values()].sort((a, b) => a.knownUntilUs - b.knownUntilUs);
  }
}
