import {
  type CheckedSend,
  MISMATCH_KINDS,
  type MismatchKind,
  UNCHECKED_REASONS,
  type UncheckedReason,
} from '../../core/run.ts';
import type { CheckFigures, MismatchExample } from '../../documents/replay.ts';
import { among, FirstExamples, Tally } from '../stats/tally.ts';

/** Counts answers by how they compare; keeps the first few of each kind of difference. */
export class CheckStatistics {
  readonly #byKind = new Tally<MismatchKind>(MISMATCH_KINDS.map((kind) => [kind, 0]));
  readonly #unchecked = new Tally<UncheckedReason>();
  readonly #examples = new FirstExamples<MismatchKind, MismatchExample>();
  #same = 0;

  add({ index, segment, exchangeId, check }: CheckedSend): void {
    if (check.result === 'same') this.#same += 1;
    else if (check.result === 'unchecked') this.#unchecked.count(check.reason);
    else {
      this.#byKind.count(check.kind);
      this.#examples.add(check.kind, { index, segment, exchangeId, pointer: check.pointer });
    }
  }

  figures(): CheckFigures {
    const mismatched = this.#byKind.total();
    const checked = this.#same + mismatched;
    return {
      answers: checked + this.#unchecked.total(),
      checked,
      mismatched,
      byKind: Object.fromEntries(this.#byKind) as CheckFigures['byKind'],
      unchecked: among(UNCHECKED_REASONS, this.#unchecked),
      examples: among(MISMATCH_KINDS, this.#examples.byKind),
    };
  }
}

/** Answers that could not be compared. */
export function uncheckedOf({ answers, checked }: CheckFigures): number {
  return answers - checked;
}
