import { formatBytes, formatMs, formatShare } from '../../core/units.ts';
import type { Distribution } from '../../documents/parts.ts';
import type { ShapeStep } from '../../documents/profile.ts';
import type { Bar } from './bars.ts';

const NONE = '–';

/** Three digits that matter; whole numbers in full. */
export function number(value: number | null): string {
  if (value === null) return NONE;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) >= 1_000
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(3)));
}

export function percent(share: number | null): string {
  return share === null ? NONE : formatShare(share);
}

export function ms(value: number | null): string {
  return value === null ? NONE : formatMs(value);
}

export function bytes(value: number | null): string {
  return value === null ? NONE : formatBytes(value);
}

/** p50, p95, p99 and the greatest as cells of a table. */
export function percentileCells(
  { p50, p95, p99, max }: Distribution,
  text: (value: number | null) => string,
): string[] {
  return [p50, p95, p99, max].map(text);
}

/** A cumulative distribution as one column for each step: the share of values that lie in it. */
export function stepBars(shape: readonly ShapeStep[], text: (value: number) => string): Bar[] {
  return shape.map(({ upTo, share }, at) => {
    const inStep = share - (shape[at - 1]?.share ?? 0);
    return { label: `up to ${text(upTo)}`, value: inStep, text: percent(inStep) };
  });
}
