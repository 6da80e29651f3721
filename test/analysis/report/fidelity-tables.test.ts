import { describe, expect, test } from 'vitest';
import { arrivalTable, distanceTable } from '../../../src/analysis/report/conditions.ts';
import { reportPage } from '../../../src/analysis/report/page.ts';
import type { ReplayDocument } from '../../../src/documents/replay.ts';
import { mixedSends, reportOf, summaryOf } from '../../support/reported-runs.ts';

const open = summaryOf(mixedSends(1_500));
const { fidelity } = open;
/** Sessions waited: what came due came at half the planned rate, and was sent as it came due. */
const slow = { ...fidelity.planned, ratePerSecond: 1, cv: 0.5 };
const partlyOpen: ReplayDocument = { ...open, fidelity: { ...fidelity, resolved: slow, sent: slow } };

const titlesOf = (document: ReplayDocument) => arrivalTable(document).columns.map(({ title }) => title);
const rowOf = (document: ReplayDocument, name: string) =>
  arrivalTable(document).rows.find(([measure]) => measure === name);

describe('the arrivals of a partly open run', () => {
  test('are held against what came due, and not against the plan that the target slowed down', () => {
    expect(titlesOf(partlyOpen)).toEqual([
      'measure',
      'recorded',
      'planned',
      'came due',
      'sent',
      'sent − came due',
    ]);
    expect(rowOf(partlyOpen, 'CV of gaps')?.slice(3)).toEqual(['0.5', '0.5', '0']);
    expect(arrivalTable(partlyOpen).lookFor).toContain('sent compared with came due');
    expect(distanceTable(partlyOpen).columns.at(-1)?.title).toBe('planned to sent');
    const gaps = distanceTable(partlyOpen).rows.map(([measure]) => measure);
    expect(gaps).toContain('KS distance of gaps (of sent: to what came due)');
  });

  test('have a part of their own on the page', () => {
    const report = { ...reportOf(mixedSends(1_500)), summary: partlyOpen };
    const page = reportPage(report, { script: '', style: '' });
    expect(page).toMatch(/came due, [\d.]+ s: /);
  });

  test('are planned and sent alone where every request was due as planned', () => {
    expect(titlesOf(open)).toEqual(['measure', 'recorded', 'planned', 'sent', 'sent − planned']);
    expect(distanceTable(open).rows[0]?.[0]).toBe('KS distance of gaps');
  });
});
