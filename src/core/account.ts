import type { LossReason, OmissionCause } from './accounting.ts';
import type { StatusTally } from './status.ts';

/** An amount whose exchanges are known as well. `exchanges` is a lower bound where bytes were never parsed. */
export interface Counted extends StatusTally {
  readonly exchanges: number;
}

/** What a recorder has committed since its life began. */
export type Progress = Counted;

export const NO_PROGRESS: Progress = { bytes: 0, turns: 0, exchanges: 0 };

/**
 * The account of one life of a recording: cumulative counters since its proxy was started. Only the proxy counts, so
 * a newer account replaces an older one, and writing it twice changes nothing.
 * seen = recorded + lost + omitted + pending, in bytes and in turns.
 */
export interface LifeAccount {
  /** The recorder's id: the first part of the name of each of its segments. */
  readonly life: string;
  readonly startedUs: number;
  /** The moment of this reading, epoch microseconds. */
  readonly atUs: number;
  /** The recording stopped in good order: these are its final counters. */
  readonly ended: boolean;
  readonly seen: StatusTally;
  readonly recorded: StatusTally;
  /** Exchanges that the recorder has acknowledged. */
  readonly exchanges: number;
  readonly lost: Readonly<Partial<Record<LossReason, Counted>>>;
  readonly omitted: Readonly<Partial<Record<OmissionCause, Counted>>>;
  readonly pending: StatusTally;
}

/** Accounts that no segment holds yet lie beside the segments, in `account-LIFE.json`. */
const ACCOUNT_FILE = /^account-([0-9a-z]{1,32})\.json$/;

export function accountFileOf(life: string): string {
  return `account-${life}.json`;
}

/** Whether a file of a capture holds an account. */
export function isAccountFile(file: string): boolean {
  return ACCOUNT_FILE.test(file);
}

/** The counters of `now` less those of `before`, by name; what did not grow is left out. */
export function growthOf<Name extends string>(
  now: Readonly<Partial<Record<Name, Counted>>>,
  before: Readonly<Partial<Record<Name, Counted>>>,
): (Counted & { readonly name: Name })[] {
  const names = Object.keys(now) as Name[];
  return names.flatMap((name) => {
    const { bytes, turns, exchanges } = now[name] ?? NO_PROGRESS;
    const known = before[name] ?? NO_PROGRESS;
    const growth = {
      name,
      bytes: Math.max(0, bytes - known.bytes),
      turns: Math.max(0, turns - known.turns),
      exchanges: Math.max(0, exchanges - known.exchanges),
    };
    return growth.bytes + growth.turns + growth.exchanges > 0 ? [growth] : [];
  });
}
