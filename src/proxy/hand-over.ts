import type { Tally } from './ledger.ts';

/** What a forwarder put into a pipe to a recorder. */
export interface Handed extends Readonly<Tally> {
  /** The number of that pipe; 0 for none. */
  readonly pipe: number;
}

/** The last words of a forwarder on it. */
interface LastWords {
  readonly handed: Handed;
  /** What it did not know the fate of. */
  readonly pending: Readonly<Tally>;
}

const NOTHING: Readonly<Tally> = { bytes: 0, turns: 0 };

/**
 * What was on its way from a forwarder to a recorder when the forwarder died: what it had handed over by its last
 * words, less what the recorder heard until the pipe's end. Neither knows it alone, and either may be the first to
 * say so. Where the recorder dies as well, all that was pending counts as not heard: told twice perhaps, never not
 * at all.
 */
export class HandOver {
  #pipes = 0;
  /** Numbers of the running recorder's pipes, by place and in order. */
  #ofPlace = new Map<number, number[]>();
  /** Of forwarders that ended before the recorder said what it had heard, by pipe. */
  #left = new Map<number, LastWords>();
  /** What the recorder heard of pipes whose forwarder is not known to have ended. */
  #heard = new Map<number, Readonly<Tally>>();

  /** What forwarders that ended had pending, and of which the recorder has not said yet what it heard. */
  get unresolved(): Readonly<Tally> {
    return [...this.#left.values()].reduce(
      (sum, { pending }) => ({ bytes: sum.bytes + pending.bytes, turns: sum.turns + pending.turns }),
      NOTHING,
    );
  }

  /** A forwarder and the recorder have a pipe between them now. Answers its number. */
  joined(place: number): number {
    this.#pipes += 1;
    this.#ofPlace.set(place, [...(this.#ofPlace.get(place) ?? []), this.#pipes]);
    return this.#pipes;
  }

  /** @returns what is known to be lost */
  forwarderEnded(last: LastWords): Readonly<Tally> {
    const { pipe } = last.handed;
    const heard = this.#heard.get(pipe);
    this.#heard.delete(pipe);
    if (heard) return unheard(last.handed, heard);
    if (![...this.#ofPlace.values()].some((pipes) => pipes.includes(pipe))) return last.pending;
    this.#left.set(pipe, last);
    return NOTHING;
  }

  /**
   * The recorder came to the end of a pipe.
   * @param ordinal which of those that it had in this place, from 0
   * @returns what is known to be lost
   */
  feedEnded(place: number, ordinal: number, heard: Readonly<Tally>): Readonly<Tally> {
    const pipe = this.#ofPlace.get(place)?.[ordinal] ?? 0;
    const last = this.#left.get(pipe);
    this.#left.delete(pipe);
    if (last) return unheard(last.handed, heard);
    this.#heard.set(pipe, heard);
    return NOTHING;
  }

  /** @returns what nobody will tell the fate of any more */
  recorderEnded(): Readonly<Tally> {
    const lost = this.unresolved;
    this.#ofPlace = new Map();
    this.#left = new Map();
    this.#heard = new Map();
    return lost;
  }
}

function unheard(handed: Readonly<Tally>, heard: Readonly<Tally>): Readonly<Tally> {
  return {
    bytes: Math.max(0, handed.bytes - heard.bytes),
    turns: Math.max(0, handed.turns - heard.turns),
  };
}
