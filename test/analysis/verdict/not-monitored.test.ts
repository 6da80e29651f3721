import { expect, test } from 'vitest';
import type { MonitoredValues } from '../../../src/analysis/metrics/monitored.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { monitoredOf } from '../../../src/app/replay/monitors.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import type { MonitorSourceDocument } from '../../../src/documents/monitors.ts';
import { contextOf, good } from '../../support/run-contexts.ts';

const SOURCE: MonitorSourceDocument = {
  name: 'prometheus',
  kind: 'prometheus',
  address: null,
  intervalS: 1,
  looks: 40,
  failed: 0,
  lastError: null,
  off: null,
  tookMs: { p50: 1, max: 1 },
  ageMs: { p50: 1, max: 1 },
  unknown: 0,
  beyond: 0,
  unstored: 0,
};

/** The judgement of an objective on series of which 40 values were seen, all within it. */
function judged(source: Partial<MonitorSourceDocument>, missing = 0) {
  const values: MonitoredValues = {
    samples: new Float64Array(40).fill(1),
    missing,
    change: null,
    resets: 0,
  };
  const stored = { series: 0, source: 'prometheus', name: 'queue', metric: 'queue', labels: {} } as const;
  const read = [{ stored: { ...stored, kind: 'gauge', unit: 'count' } as const, values }];
  const { byName } = monitoredOf(read, { sources: [{ ...SOURCE, ...source }], notes: [] });
  const context = contextOf(good(40));
  const { verdict, reasons } = judge(
    { ...context, figures: { ...context.figures, monitored: byName } },
    parseObjectives(['queue: max<2'], new Set(['queue'])),
  );
  return [verdict, ...reasons.map(({ code }) => code)];
}

test('a series that was seen whole is judged', () => {
  expect(judged({})).toEqual(['PASS']);
});

test.each([
  ['values of its source beyond the bound of a run', { unstored: 1 }, 0],
  ['series of its source beyond the bound', { beyond: 1 }, 0],
  ['more than a twentieth of the looks missed', {}, 3],
] as const)('%s may have broken the objective', (_, source, missing) => {
  expect(judged(source, missing)).toEqual(['INCONCLUSIVE', 'not_monitored']);
});
