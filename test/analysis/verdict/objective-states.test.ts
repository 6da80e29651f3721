import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runPublication } from '../../../src/analysis/publication/build-publication.ts';
import { nistEvidenceOf } from '../../../src/analysis/report/nist.ts';
import { objectivesTable, stateText } from '../../../src/analysis/report/requests.ts';
import { reportView, runView } from '../../../src/analysis/report/view.ts';
import { ciReportOfReport, ciReportOfRun } from '../../../src/analysis/verdict/ci-report.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { type ReplayDocument, readReplayDocument } from '../../../src/documents/replay.ts';
import { reportOf, summaryOf } from '../../support/reported-runs.ts';
import { good } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

const MS = 1e6;
const SHORT = 'goodput: rate>0.9 where latency<1000';
const LONG = `${SHORT} and service<50`;

/** Two hundred requests that were all answered within a second, and 92 % of them within 50 ms. */
const SENDS = Array.from({ length: 200 }, (_, index) => {
  const intendedOffsetNs = index * 20 * MS;
  const lastByteOffsetNs = intendedOffsetNs + (index % 25 < 2 ? 60 : 10) * MS;
  return send({ index, intendedOffsetNs, actualOffsetNs: intendedOffsetNs, lastByteOffsetNs });
});

const statesOf = (document: ReplayDocument) =>
  Object.fromEntries(document.slo.map((line) => [line.expression, stateText(line, document)]));

describe('an objective whose expression begins that of another', () => {
  const document = summaryOf(SENDS, { slo: [SHORT, LONG] });

  test('is kept, while the other is undecided', () => {
    expect(document.reasons.map(({ code }) => code)).toEqual(['too_close']);
    expect(statesOf(document)).toMatchObject({ [SHORT]: 'met', [LONG]: 'undecided' });
    const rows = objectivesTable(document, document)?.rows ?? [];
    expect(rows.map(([name, state]) => [name, state])).toContainEqual([SHORT, 'met']);
  });

  test('is kept in a run that an earlier version wrote', () => {
    const earlier = (reasons: ReplayDocument['reasons']) =>
      reasons.map(({ about: _about, figures: _figures, ...each }) => each);
    const { reasons, notes } = document;
    const written = { ...document, reasons: earlier(reasons), notes: earlier(notes) };
    expect(statesOf(readReplayDocument('runs/one', written))).toEqual(statesOf(document));
  });
});

test('an objective that holds only without the requests whose clients left is undecided', () => {
  const sends = SENDS.map((each) =>
    each.index % 3 === 0 ? { ...each, cancelled: true, status: null, firstByteOffsetNs: null } : each,
  );
  const [tail, middle] = ['latency: p(80)<500', 'latency: p(50)<500'];
  const document = summaryOf(sends, { slo: [tail, middle, 'errors: rate<0.5'] });
  expect(document).toMatchObject({ verdict: 'INCONCLUSIVE', reasons: [{ code: 'censored', about: [tail] }] });
  expect(statesOf(document)).toMatchObject({ [tail]: 'undecided', [middle]: 'met' });
});

describe('the checks of a pipeline', () => {
  test('pass exactly the objectives that the screen calls kept, and trackers and evidence agree', () => {
    const limits = fc.constantFrom('p(50)<0.001', 'p(50)<60s', 'p(99)<60s', 'p(99.9)<60s', 'max<60s');
    const slo = fc.array(
      fc.oneof(
        limits.map((limit) => `latency: ${limit}`),
        fc.constantFrom(SHORT, LONG, 'service{model=none}: p(50)<60s', 'mismatch: rate<0.1'),
      ),
      { minLength: 1, maxLength: 5 },
    );
    const interrupted = fc.constantFrom(null, 'SIGINT');
    const sends = { mixed: SENDS, few: good(20), many: good(200) };
    fc.assert(
      fc.property(fc.constantFrom('mixed', 'few', 'many'), slo, interrupted, (name, stated, cause) => {
        const each = sends[name];
        const summary = summaryOf(each, { slo: stated, interrupted: cause });
        const report = reportOf(each, { slo: stated, interrupted: cause });
        for (const outcome of [
          ciReportOfRun(summary, runView(summary)),
          ciReportOfReport(report, reportView(report)),
        ]) {
          const passed = outcome.cases.filter(
            ({ kind, result }) => kind === 'objective' && result === 'passed',
          );
          const kept = summary.slo.filter((line) => stateText(line, summary) === 'met');
          expect(passed.map(({ name }) => name)).toEqual(kept.map(({ expression }) => expression));
        }
        const { tags } = runPublication(report, summary);
        const evidence = nistEvidenceOf(summary).measures.flatMap((measure) => measure.evidence);
        for (const [at, line] of summary.slo.entries()) {
          const state = stateText(line, summary).toLowerCase();
          expect(tags[`reprise.objective.${at + 1}`]?.split(',')[0]).toBe(
            state.replace('not measured', 'unknown'),
          );
          expect(evidence.some((each) => each.startsWith(`objective ${line.expression}: ${state}`))).toBe(
            true,
          );
        }
      }),
      { seed: 4211 },
    );
  });
});

test('each part of a sliced objective that has too few answers is undecided', () => {
  const sends = SENDS.map((each, index) => ({
    ...each,
    model: index < 10 ? 'a' : index < 15 ? 'b' : 'c',
  }));
  const document = summaryOf(sends, { slo: ['latency{*model}: p(95)<60s'] });
  const [asked] = parseObjectives(['latency{*model}: p(95)<60s']);
  expect(asked?.slice?.each).toBe('model');
  expect(statesOf(document)).toMatchObject({
    'latency{model=a}: p(95)<60s': 'undecided',
    'latency{model=b}: p(95)<60s': 'undecided',
    'latency{model=c}: p(95)<60s': 'met',
  });
});
