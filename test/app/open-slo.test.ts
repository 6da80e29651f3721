import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withOpenSlo } from '../../src/app/open-slo.ts';
import { AppError } from '../../src/core/errors.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const timed = (parts: { method?: string; unit?: string; objective?: string } = {}) => `apiVersion: openslo/v1
kind: SLO
metadata:
  name: answers
  annotations: {reprise/metric: latency, reprise/unit: ${parts.unit ?? 's'}}
spec:
  service: chat
  budgetingMethod: ${parts.method ?? 'Occurrences'}
  indicator:
    spec:
      thresholdMetric: {metricSource: {type: Prometheus, spec: {query: http_request_duration_seconds}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives:
    - ${parts.objective ?? '{op: lte, value: 60.5, target: 0.5}'}
`;
const RATIO = `---
apiVersion: openslo/v1
kind: SLI
metadata: {name: answered, annotations: {reprise/metric: errors}}
spec:
  ratioMetric: {counter: true, good: {metricSource: {}}, total: {metricSource: {}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: errors}
spec: {indicatorRef: answered, objectives: [{targetPercent: 99.9}]}
`;

function objectivesOf(text: string): string[] {
  const file = join(temporaryDirectory(), 'slo.yaml');
  writeFileSync(file, text);
  return withOpenSlo(['realtime', file]);
}

test('objectives of OpenSLO documents become those of k6, beside others', () => {
  const texts = objectivesOf(timed() + RATIO);
  expect(texts).toEqual(['realtime', 'latency: p(50)<=60500', 'errors: rate<=0.001']);
  expect(() => parseObjectives(texts)).not.toThrow();
  expect(objectivesOf(timed({ unit: 'ms', objective: '{op: lt, value: 200, target: 1}' }))).toContain(
    'latency: max<200',
  );
});

test('a ratio whose query could mean anything is taken for no errors', () => {
  expect(() => objectivesOf(RATIO.replace(', annotations: {reprise/metric: errors}', ''))).toThrow(
    /line \d+, column \d+: .*reprise\/metric .*one of errors, rejected, mismatch/,
  );
});

test('the indicator of an objective wins over that of its SLO, and its annotations over both', () => {
  const sli = (name: string, metric: string) => `---
apiVersion: openslo/v1
kind: SLI
metadata: {name: ${name}, annotations: {reprise/metric: ${metric}}}
spec: {ratioMetric: {}}
`;
  const slo = (objective: string) => `---
apiVersion: openslo/v1
kind: SLO
metadata: {name: all, annotations: {reprise/metric: errors}}
spec: {indicator: {spec: {ratioMetric: {}}}, objectives: [${objective}]}
`;
  const files = sli('same', 'mismatch') + sli('taken', 'rejected');
  const own = '{metadata: {annotations: {reprise/metric: rejected}}, spec: {ratioMetric: {}}}';
  expect(
    objectivesOf(
      files + slo(`{target: 0.9}, {target: 0.8, indicatorRef: same}, {target: 0.7, indicator: ${own}}`),
    ),
  ).toEqual(['realtime', 'errors: rate<=0.1', 'mismatch: rate<=0.2', 'rejected: rate<=0.3']);
  expect(() => objectivesOf(files + slo('{target: 0.9, indicatorRef: gone}'))).toThrow(
    /there is no SLI gone/,
  );
});

test.each([
  [timed({ method: 'Timeslices' }), /line 8, column 3: .*Timeslices is not judged/],
  [timed({ unit: 'minutes' }), /line 5, column 42: metadata.annotations.reprise\/unit/],
  [
    timed({ objective: '{op: gte, value: 1, target: 0.9}' }),
    /line 14, column 7: .*needs a value, and op lte or lt/,
  ],
  [timed({ objective: '{op: lte, value: 1}' }), /line 14, column 7: .*neither target nor targetPercent/],
  [timed().replace(/^ {2}annotations.*$/m, ''), /reprise\/metric names none of latency/],
  [RATIO.replace('indicatorRef: answered', 'indicatorRef: gone'), /there is no SLI gone/],
  ['kind: Service\n', /apiVersion/],
  ['', /no document of kind SLO/],
])('what is no objective is refused with its place: %#', (text, problem) => {
  expect(() => objectivesOf(text)).toThrow(problem);
  expect(() => objectivesOf(text)).toThrow(AppError);
});
