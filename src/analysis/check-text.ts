import { UNCHECKED_TEXTS, type UncheckedReason } from '../core/run.ts';
import type { CheckDocument } from '../documents/replay.ts';

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
