import type { ReportedReason } from '../../documents/parts.ts';

/** Reasons of one code ask for one thing: what it means and the advice are said with the first of them. */
export function withoutRepeats(reasons: readonly ReportedReason[]): ReportedReason[] {
  const said = new Set<string>();
  return reasons.map((each) => {
    if (said.has(each.code)) return { ...each, means: '', advice: '' };
    said.add(each.code);
    return each;
  });
}
