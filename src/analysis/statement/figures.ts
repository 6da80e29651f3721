import type { CapacityDocument } from '../../documents/capacity.ts';
import type { HistoryRun } from '../../documents/history.ts';
import type { StatementDocument, StatementRun } from '../../documents/statement.ts';

/** The numbers of a statement, by which two months are compared: those of its runs, and the breaking point. */
export function statementFigures({
  runs,
  breakingPoint: searched,
}: {
  readonly runs: readonly StatementRun[];
  readonly breakingPoint: Pick<CapacityDocument, 'breakingPoint' | 'sizing'> | null;
}): StatementRun['figures'] {
  const { passes = null, fails = null, interval = null } = searched?.breakingPoint ?? {};
  const multipliers = {
    passes_multiplier: passes?.multiplier,
    fails_multiplier: fails?.multiplier,
    breaks_from: interval?.[0],
    breaks_to: interval?.[1],
  };
  return [
    ...Object.entries(multipliers).flatMap(([name, value]) =>
      value === undefined ? [] : [{ name, unit: 'ratio' as const, value }],
    ),
    ...runs.flatMap(({ part, figures }) =>
      figures
        .filter(({ name }) => COMPARED.has(name))
        .map((each) => ({ ...each, name: `${each.name}_${part}` })),
    ),
  ];
}

/** The numbers of a run that a statement compares with the last one. */
const COMPARED: ReadonlySet<string> = new Set([
  'latency_p50',
  'latency_p95',
  'latency_p99',
  'failed',
  'rate',
]);

/** What differs from the last statement. */
export function changedSince(
  { run, startedAt, verdict, figures: before }: HistoryRun,
  after: StatementRun['figures'],
): StatementDocument['changed'] {
  return {
    run,
    startedAt,
    verdict,
    figures: after.flatMap(({ name, unit, value }) => {
      const known = before.find((each) => each.name === name);
      return known === undefined ? [] : [{ name, unit, before: known.value, after: value }];
    }),
  };
}
