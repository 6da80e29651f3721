import { NS_PER_MS } from '../../core/units.ts';
import { holds } from '../../documents/metrics/objectives.ts';
import { sampleFloor } from '../stats/percentiles.ts';
import { answersIn, type Measure, type Observable, ratio } from './measure.ts';
import { monitoredValue } from './monitored.ts';

/** A value of the complete run, which more requests do not prove better. */
const OF_RUN = {
  isOfRun: true,
  samples: (_, figures) => answersIn(figures),
  floor: () => 1,
  provenPercent: () => null,
} satisfies Partial<Measure>;

export const ACHIEVED: Measure = {
  ...OF_RUN,
  observe: ({ aggregation }, { outcomes, planned }) =>
    aggregation.kind === 'count' ? outcomes.sent : ratio(outcomes.sent, planned),
  brokenBy: () => 'unsent',
  isOfPlan: ({ aggregation }) => aggregation.kind !== 'count',
};

export const MAKESPAN: Measure = {
  ...OF_RUN,
  observe: (_, { makespanNs }) => (makespanNs === null ? null : makespanNs / NS_PER_MS),
  // Our lag makes the run longer by at most the greatest lag plus the longest wait for a connection.
  brokenBy: (objective, { makespanNs, latency }) => {
    const lateNs = (latency.lag.max ?? 0) + (latency.connectionWait.max ?? 0);
    return holds(((makespanNs ?? 0) - lateNs) / NS_PER_MS, objective) ? 'lag' : 'target';
  },
};

/** The worst value of all series with a name, because the objective must hold for each. Null if one is unknown. */
export const MONITORED: Measure = {
  ...OF_RUN,
  observe: ({ series = '', aggregation, operator }, { monitored }: Observable) => {
    const each = (monitored?.get(series) ?? []).map((values) => monitoredValue(values, aggregation));
    const known = each.filter((value) => value !== null);
    if (known.length === 0 || known.length < each.length) return null;
    return operator.startsWith('<') ? Math.max(...known) : Math.min(...known);
  },
  // `not_monitored` reports too few readings.
  samples: () => null,
  floor: ({ aggregation }) => (aggregation.kind === 'percentile' ? sampleFloor(aggregation.percent) : 1),
  advice: 'See the series over time: reprise report RUN --html report.html.',
};
