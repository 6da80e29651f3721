import type { LossReason, OmissionCause } from '../core/accounting.ts';
import type { Tally } from './ledger.ts';

/** Traffic lost where the recorder could not hear of it; times are monotonic. */
export interface UnreportedLoss extends Readonly<Tally> {
  readonly reason: LossReason;
  readonly fromNs: number;
  readonly toNs: number;
}

interface UnreportedOmission extends Readonly<Tally> {
  readonly cause: OmissionCause;
}

interface Told {
  readonly number: number;
  readonly losses: readonly UnreportedLoss[];
  readonly omissions: readonly UnreportedOmission[];
}

/**
 * What a recorder has to be told because it saw nothing of it. It is kept until the recorder says that it has
 * noted it: one may die with what it was told, or never come to read it because its capture cannot be had.
 */
export class RecorderReports {
  #losses = new Map<LossReason, UnreportedLoss>();
  #omissions = new Map<OmissionCause, UnreportedOmission>();
  /** Under way to the recorder, by the number of the flush that follows. */
  #told: Told[] = [];
  /** What the running recorder said that it has noted. */
  readonly #noted = new Map<LossReason, UnreportedLoss>();

  /** Losses that no recorder is known to have noted. */
  get losses(): UnreportedLoss[] {
    const sums = new Map(this.#losses);
    for (const { losses } of this.#told) for (const loss of losses) addTo(sums, loss);
    return [...sums.values()];
  }

  /** Losses that the running recorder has noted. */
  get notedLosses(): UnreportedLoss[] {
    return [...this.#noted.values()];
  }

  addLoss(loss: UnreportedLoss): void {
    if (loss.bytes > 0 || loss.turns > 0) addTo(this.#losses, loss);
  }

  addOmission(omission: UnreportedOmission): void {
    if (omission.bytes === 0 && omission.turns === 0) return;
    const { bytes = 0, turns = 0 } = this.#omissions.get(omission.cause) ?? {};
    this.#omissions.set(omission.cause, {
      cause: omission.cause,
      bytes: bytes + omission.bytes,
      turns: turns + omission.turns,
    });
  }

  /** What to tell the recorder before the flush of that number; null when there is nothing. */
  tell(number: number): Told | null {
    if (this.#losses.size === 0 && this.#omissions.size === 0) return null;
    const told = { number, losses: [...this.#losses.values()], omissions: [...this.#omissions.values()] };
    this.#told.push(told);
    this.#losses = new Map();
    this.#omissions = new Map();
    return told;
  }

  /** The recorder noted all that came before the flush of that number. */
  noted(number: number): void {
    const noted = this.#told.filter((told) => told.number <= number);
    for (const { losses } of noted) for (const loss of losses) this.addNoted(loss);
    this.#told = this.#told.filter((told) => told.number > number);
  }

  /** The recorder noted a loss that it was told of in another way. */
  addNoted(loss: UnreportedLoss): void {
    addTo(this.#noted, loss);
  }

  /** The recorder is gone: what it was told is for the next. */
  recorderGone(): void {
    this.#noted.clear();
    for (const { losses, omissions } of this.#told.splice(0)) {
      for (const loss of losses) this.addLoss(loss);
      for (const omission of omissions) this.addOmission(omission);
    }
  }
}

function addTo(sums: Map<LossReason, UnreportedLoss>, loss: UnreportedLoss): void {
  const known = sums.get(loss.reason);
  sums.set(loss.reason, known === undefined ? loss : sumOf(known, loss));
}

function sumOf(a: UnreportedLoss, b: UnreportedLoss): UnreportedLoss {
  return {
    reason: a.reason,
    turns: a.turns + b.turns,
    bytes: a.bytes + b.bytes,
    fromNs: Math.min(a.fromNs, b.fromNs),
    toNs: Math.max(a.toNs, b.toNs),
  };
}
