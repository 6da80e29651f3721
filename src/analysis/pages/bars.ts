import { escaped } from './escape.ts';

/** The colours of a page, in the order they are used. */
export const COLOURS = ['one', 'two', 'three', 'four'] as const;
export type Colour = (typeof COLOURS)[number];

export interface Bar {
  readonly label: string;
  /** 0 or more. */
  readonly value: number;
  /** The value as it is read. */
  readonly text: string;
}

const FULL = 1_000;

/** Bars that lie, one to a line, as long as their share of the greatest. */
export function bars(list: readonly Bar[], colour: Colour = 'one'): string {
  const greatest = greatestOf(list);
  const rows = list.map(({ label, value, text }) => {
    const width = Math.round((value / greatest) * FULL);
    const bar = `<svg viewBox="0 0 ${FULL} 10" preserveAspectRatio="none" aria-hidden="true"><rect class="${colour}" width="${width}" height="10"/></svg>`;
    return `<span class="label">${escaped(label)}</span>${bar}<span class="value">${escaped(text)}</span>`;
  });
  return `<div class="bars">${rows.join('')}</div>`;
}

/** Columns that stand side by side; the axis names the first, the middle and the last. */
export function columns(list: readonly Bar[], description: string, colour: Colour = 'one'): string {
  if (list.length === 0) return '<p class="soft">nothing was measured</p>';
  const greatest = greatestOf(list);
  const rects = list.map(({ label, value, text }, at) => {
    const height = value === 0 ? 0 : Math.max(4, Math.round((value / greatest) * FULL));
    return `<rect class="${colour}" x="${at * 10 + 1}" y="${FULL - height}" width="8" height="${height}"><title>${escaped(label)}: ${escaped(text)}</title></rect>`;
  });
  const named = [list[0], list[Math.floor((list.length - 1) / 2)], list.at(-1)];
  const labels = [...new Set(named.map((bar) => bar?.label ?? ''))];
  const top = list.reduce((most, bar) => (bar.value > most.value ? bar : most));
  return `<div class="columns"><svg viewBox="0 0 ${list.length * 10} ${FULL}" preserveAspectRatio="none" role="img" aria-label="${escaped(description)}">${rects.join('')}</svg><div class="axis">${labels.map((label) => `<span>${escaped(label)}</span>`).join('')}</div><p class="soft">highest: ${escaped(top.label)}, ${escaped(top.text)}</p></div>`;
}

function greatestOf(list: readonly Bar[]): number {
  return list.reduce((most, { value }) => Math.max(most, value), 0) || 1;
}
