import type { MetricName } from '../../documents/metrics/metrics.ts';
import { GOODPUT } from './goodput.ts';
import type { Measure } from './measure.ts';
import { ERRORS, MISMATCH, REJECTED } from './shares.ts';
import { TIMES } from './times.ts';
import { ACHIEVED, MAKESPAN, MONITORED } from './totals.ts';

const MEASURES: Readonly<Record<MetricName, Measure>> = {
  ...TIMES,
  errors: ERRORS,
  rejected: REJECTED,
  goodput: GOODPUT,
  mismatch: MISMATCH,
  achieved: ACHIEVED,
  makespan: MAKESPAN,
  monitored: MONITORED,
};

/** How objectives on a metric are measured and judged. */
export function measureOf({ metric }: { readonly metric: MetricName }): Measure {
  return MEASURES[metric];
}
