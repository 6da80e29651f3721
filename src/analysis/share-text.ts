import { formatShare } from '../core/units.ts';

/** `0.0123` → `1.2 %`; what is not whole is not rounded to it, and what is not nothing not to nothing. */
export function percent(share: number): string {
  const text = (share * 100).toFixed(1);
  const isRounded = (text === '100.0' && share < 1) || (text === '0.0' && share > 0);
  return isRounded ? formatShare(share) : `${text} %`;
}
