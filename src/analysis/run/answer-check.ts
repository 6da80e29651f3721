import {
  type AnswerCheck,
  type CheckedSend,
  MISMATCH_KINDS,
  type MismatchKind,
  UNCHECKED_REASONS,
  type UncheckedReason,
} from '../../core/run.ts';
import type { CheckFigures, MismatchExample } from '../../documents/replay.ts';

const EXAMPLES_PER_KIND = 3;

/** Counts answers by how they compare; keeps the first few of each kind of difference. */
export class CheckStatistics {
  readonly #byKind = new Map<MismatchKind, number>();
  readonly #unchecked = new Map<UncheckedReason, number>();
  readonly #examples = new Map<MismatchKind, MismatchExample[]>();
  #same = 0;

  add({ index, segment, exchangeId, check }: CheckedSend): void {
    if (check.result === 'same') this.#same += 1;
    else if (check.result === 'unchecked') count(this.#unchecked, check.reason);
    else {
      count(this.#byKind, check.kind);
      const kept = this.#examples.get(check.kind) ?? [];
      if (kept.length < EXAMPLES_PER_KIND) kept.push({ index, segment, exchangeId, pointer: check.pointer });
      this.#examples.set(check.kind, kept);
    }
  }

  figures(): CheckFigures {
    const mismatched = sumOf(this.#byKind.values());
    const checked = this.#same + mismatched;
    return {
      answers: checked + sumOf(this.#unchecked.values()),
      checked,
      mismatched,
      byKind: Object.fromEntries(
        MISMATCH_KINDS.map((kind) => [kind, this.#byKind.get(kind) ?? 0]),
      ) as CheckFigures['byKind'],
      unchecked: present(UNCHECKED_REASONS, this.#unchecked),
      examples: present(MISMATCH_KINDS, this.#examples),
    };
  }
}

/** Whether a send has a check, and which: rows that were read back carry theirs. */
export function checkedSendOf(send: Omit<CheckedSend, 'check'> & { readonly check?: AnswerCheck | null }) {
  const { index, segment, exchangeId, check = null } = send;
  return check === null ? null : { index, segment, exchangeId, check };
}

/** Answers that could not be compared. */
export function uncheckedOf({ answers, checked }: CheckFigures): number {
  return answers - checked;
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function present<K extends string, V>(keys: readonly K[], values: ReadonlyMap<K, V>): Partial<Record<K, V>> {
  return Object.fromEntries(
    keys.filter((key) => values.has(key)).map((key) => [key, values.get(key)]),
  ) as Partial<Record<K, V>>;
}

function sumOf(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}
