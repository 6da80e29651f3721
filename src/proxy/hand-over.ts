import { addLoss, type Loss, type LossReason } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import type { Tally } from './ledger.ts';
import { sumOfLosses } from './untold-losses.ts';

/** What a forwarder put of the traffic into its last pipe to a recorder. */
export interface Handed extends Tally {
  /** The number of that pipe; 0 for none. */
  readonly pipe: number;
  /** Something may be under way there: its recorder is not known to be gone, and not all of it is settled. */
  readonly open: boolean;
}

/** What a recorder heard through a pipe. */
export interface Heard extends Readonly<Tally> {
  /** Those it was told of, shed stretches included. */
  readonly losses: readonly Loss[];
}

/** The last words of a forwarder on it. */
export interface LastWords {
  readonly handed: Handed;
  /** What it did not know the fate of. */
  readonly pending: Readonly<Tally>;
  /** Losses that it did not know to be noted, and those that it knew its last recorder had noted. */
  readonly untold: readonly Loss[];
  readonly noted: readonly Loss[];
}

/** What a forwarder that ended leaves to a pipe's end to tell. */
interface Left {
  readonly handed: Readonly<Tally>;
  /** All that the recorder had to be told since the pipe was there. */
  readonly losses: readonly Loss[];
  /** What is owed to the capture should nobody say what was heard. */
  readonly owed: readonly Loss[];
}

const NOTHING: Readonly<Tally> = { bytes: 0, turns: 0 };

/**
 * What was on its way from a forwarder to a recorder when the forwarder died: the traffic and the losses that it had
 * to hand over by its last words, less what the recorder heard until the pipe's end. Neither knows it alone, and
 * either may be the first to say so. As both only ever grow, the capture is told the greater of the two: no less
 * than was known, no more than there was. Where the recorder dies as well, all that was not known to be settled
 * counts as not heard: told twice perhaps, never not at all.
 */
export class HandOver {
  readonly #clock: Clock;
  #pipes = 0;
  /** Numbers of the running recorder's pipes, by place and in order. */
  #ofPlace = new Map<number, number[]>();
  /** Of forwarders that ended before the recorder said what it had heard, by pipe. */
  #left = new Map<number, Left>();
  /** What the recorder heard of pipes whose forwarder is not known to have ended. */
  #heard = new Map<number, Heard>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What forwarders that ended leave owed, and of which the recorder has not said yet what it heard. */
  get unresolved(): Loss[] {
    return sumOfLosses(...[...this.#left.values()].map(({ owed }) => owed));
  }

  /** A forwarder and the recorder have a pipe between them now. Answers its number. */
  joined(place: number): number {
    this.#pipes += 1;
    this.#ofPlace.set(place, [...(this.#ofPlace.get(place) ?? []), this.#pipes]);
    return this.#pipes;
  }

  /** @returns what is known to be owed to the capture */
  forwarderEnded(place: number, last: LastWords): Loss[] {
    const pipe = this.#ofPlace.get(place)?.at(-1);
    const left = this.#leftBy(last, pipe);
    if (pipe === undefined || (last.handed.pipe === pipe && !last.handed.open)) return [...left.owed];
    const heard = this.#heard.get(pipe);
    this.#heard.delete(pipe);
    if (heard) return this.#unheard(left, heard);
    this.#left.set(pipe, left);
    return [];
  }

  /**
   * The recorder came to the end of a pipe.
   * @param ordinal which of those that it had in this place, from 0
   * @returns what is known to be owed to the capture
   */
  feedEnded(place: number, ordinal: number, heard: Heard): Loss[] {
    const pipe = this.#ofPlace.get(place)?.[ordinal] ?? 0;
    const left = this.#left.get(pipe);
    this.#left.delete(pipe);
    if (left) return this.#unheard(left, heard);
    this.#heard.set(pipe, heard);
    return [];
  }

  /** @returns what nobody will tell the fate of any more */
  recorderEnded(): Loss[] {
    const owed = this.unresolved;
    this.#ofPlace = new Map();
    this.#left = new Map();
    this.#heard = new Map();
    return owed;
  }

  #leftBy({ handed, pending, untold, noted }: LastWords, pipe: number | undefined): Left {
    if (pipe === undefined || handed.pipe === pipe) {
      const owed = [...untold, ...this.#lossOf('crash_gap', pending)];
      return { handed, losses: sumOfLosses(untold, noted), owed };
    }
    // Its last words are older than this pipe: what it knew of went down with an earlier recorder, and it may have
    // told that here already.
    const owed = sumOfLosses(untold, this.#lossOf('writer_down', pending));
    return { handed: NOTHING, losses: owed, owed };
  }

  #unheard({ handed, losses }: Left, heard: Heard): Loss[] {
    const gap = {
      bytes: Math.max(0, handed.bytes - heard.bytes),
      turns: Math.max(0, handed.turns - heard.turns),
    };
    return [...this.#lossOf('crash_gap', gap), ...without(losses, heard.losses)];
  }

  #lossOf(reason: LossReason, { bytes, turns }: Readonly<Tally>): Loss[] {
    const atUs = this.#clock.epochUs();
    return bytes + turns === 0 ? [] : [{ reason, exchanges: turns, bytes, fromUs: atUs, toUs: atUs }];
  }
}

/** What is left of losses once others are taken from them, each from those of its reason. */
function without(losses: readonly Loss[], others: readonly Loss[]): Loss[] {
  const taken = new Map<LossReason, Loss>();
  for (const loss of others) addLoss(taken, loss);
  return losses
    .map((loss) => ({
      ...loss,
      bytes: Math.max(0, loss.bytes - (taken.get(loss.reason)?.bytes ?? 0)),
      exchanges: Math.max(0, loss.exchanges - (taken.get(loss.reason)?.exchanges ?? 0)),
    }))
    .filter(({ bytes, exchanges }) => bytes + exchanges > 0);
}
