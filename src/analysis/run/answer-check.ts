import {
  type AnswerCheck,
  type CheckedSend,
  MISMATCH_KINDS,
  type MismatchKind,
  UNCHECKED_REASONS,
  UNCHECKED_TEXTS,
  type UncheckedReason,
} from '../../core/run.ts';
import type { CheckDocument, CheckFigures, MismatchExample } from '../../documents/replay.ts';

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

/** How answers compare, for people; nothing where they were not compared. */
export function checkLines(check: CheckDocument | null): string[] {
  if (check === null) return [];
  const { answers, checked, mismatched, rate, level, byKind, unchecked, examples } = check;
  const share = rate === null ? '' : ` (${Number((rate * 100).toPrecision(4))} %)`;
  const kinds = Object.entries(byKind).filter(([, count]) => count > 0);
  const levels = {
    status: 'status',
    shape: 'status and shape',
    values: 'status, shape and values',
  } as const;
  return [
    '',
    `Answers compared with the recorded ones, by ${levels[level]}`,
    `  checked ${checked} of ${answers}, mismatched ${mismatched}${share}`,
    ...(kinds.length === 0
      ? []
      : [`  by kind: ${kinds.map(([kind, count]) => `${kind} ${count}`).join(', ')}`]),
    ...Object.entries(unchecked).map(
      ([reason, count]) => `  unchecked ${count}: ${reason}, ${UNCHECKED_TEXTS[reason as UncheckedReason]}`,
    ),
    ...Object.entries(examples).flatMap(([kind, [first]]) =>
      first === undefined
        ? []
        : [
            `    ${kind}: such as send ${first.index}, exchange ${first.exchangeId} of ${first.segment}${first.pointer === null ? '' : `, first at ${first.pointer === '' ? 'the whole document' : first.pointer}`}`,
          ],
    ),
    ...ignoredLines(check),
  ];
}

function ignoredLines({ level, ignored }: CheckDocument): string[] {
  if (level === 'status') return [];
  const lists = [
    ...(ignored.asked.length === 0 ? [] : [`${ignored.asked.join(' ')} (asked for)`]),
    ...Object.entries(ignored.byProtocol).map(([api, pointers]) => `${pointers.join(' ')} (${api})`),
  ];
  return lists.length === 0 ? [] : [`  not compared: ${lists.join('; ')}`];
}
