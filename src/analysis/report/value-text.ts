import { formatBytes, formatMs, formatShare } from '../../core/units.ts';

/** Stands where nothing is known. */
export const NONE = '–';

/** Three digits that matter; whole numbers in full. */
export function numberText(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) >= 1_000
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(3)));
}

export function shareText(share: number | null | undefined): string {
  return share == null ? NONE : formatShare(share);
}

export function msText(value: number | 'Infinity' | null | undefined): string {
  if (value === 'Infinity') return 'most got no answer';
  return value == null ? NONE : formatMs(value);
}

export function bytesText(value: number | null | undefined): string {
  return value == null ? NONE : formatBytes(value);
}
