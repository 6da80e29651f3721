import { formatMs, formatMultiplier } from '../../core/units.ts';
import type { ReportedReason } from '../../documents/parts.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { withoutRepeats } from '../report/advice.ts';
import { stepText } from '../report/latency-tables.ts';
import { type ReportSection, sectionsOf } from '../report/report-sections.ts';
import type { ReportTable } from '../report/report-table.ts';
import { runLines } from '../report/run-lines.ts';
import { msText, numberText, shareText } from '../report/value-text.ts';
import { escaped } from './escape.ts';
import { facts, figure, section, table } from './figure.ts';
import { type PageAssets, page } from './page.ts';
import { dispersionFigure, latencyCurve, latencyMapFigure } from './report-charts.ts';
import { reportSeries } from './report-series.ts';

/** The report as one page to read, to print and to hand on: the verdict and what to do about it first. */
export function reportPage(document: ReportDocument, assets: PageAssets): string {
  const series = reportSeries(document);
  const sections = sectionsOf(document);
  const objectives = sections.filter(({ key }) => key === 'objectives');
  const others = sections.filter(({ key }) => key !== 'objectives');
  const body = [
    headerOf(document),
    reasonList(document.reasons),
    factsOf(document),
    ...objectives.map((each) => sectionOf(each, document)),
    section('Over time', series.map(({ html }) => html).join('')),
    ...others.map((each) => sectionOf(each, document)),
    notesOf(document),
  ];
  return page(
    {
      title: `Load test report: ${document.verdict ?? 'no verdict'}`,
      body: body.filter((part) => part !== '').join('\n'),
      charts: series.map(({ data }) => data),
      timeZone: 'UTC',
    },
    assets,
  );
}

function headerOf(document: ReportDocument): string {
  const { verdict, valid, headline } = document;
  const colour = verdict === 'PASS' && valid ? 'good' : verdict === 'FAIL' ? 'bad' : 'warn';
  const lines = runLines(document).map((line) => `<p class="soft">${escaped(line)}</p>`);
  return `<header><h1>Load test report</h1><p class="verdict ${colour}"><span class="badge ${colour}">${escaped(verdict ?? 'no verdict')}</span> ${escaped(headline)}</p>${lines.join('')}</header>`;
}

function reasonList(reasons: readonly ReportedReason[]): string {
  if (reasons.length === 0) return '';
  return `<ul class="findings reasons">${withoutRepeats(reasons).map(reasonItem).join('')}</ul>`;
}

function reasonItem({ code, text, title, means, advice }: ReportedReason): string {
  const parts = [
    `<strong>${escaped(title)}</strong> <code>${escaped(code)}</code><br>${escaped(text)}`,
    means === '' ? '' : `<br><span class="soft">${escaped(means)}</span>`,
    advice === '' ? '' : `<br><b>To do:</b> ${escaped(advice)}`,
  ];
  return `<li>${parts.join('')}</li>`;
}

function factsOf({ run, counts, latencyMs, streams, summary, overTime }: ReportDocument): string {
  const busiest = overTime.offered.reduce((most, count) => Math.max(most, count / overTime.stepS), 0);
  const { scheduled } = latencyMs;
  return facts([
    [
      'multiplier',
      run.multiplier === null ? '–' : `${formatMultiplier(run.multiplier)}x ${run.scaling ?? ''}`,
    ],
    ['sent', numberText(counts.sent)],
    ['mean rate sent', run.durationS === 0 ? '–' : `${numberText(counts.sent / run.durationS)}/s`],
    ['busiest step offered', `${numberText(busiest)}/s`],
    [
      'failed',
      `${numberText(counts.failed)} (${shareText(counts.sent === 0 ? null : counts.failed / counts.sent)})`,
    ],
    ['refused', numberText(counts.refused)],
    ['latency p50', stepText(scheduled, 50)],
    ['latency p99', stepText(scheduled, 99)],
    ...(streams.ttft.count === 0 ? [] : [['TTFT p95', stepText(streams.ttft, 95)] as const]),
    ['in flight, most', numberText(overTime.inFlight.reduce((most, each) => Math.max(most, each), 0))],
    ['lag p99', summary?.lagUs.p99 == null ? '–' : formatMs(summary.lagUs.p99 / 1e3)],
    ['lasted', msText(run.durationS * 1e3)],
  ]);
}

function sectionOf({ key, title, tables }: ReportSection, document: ReportDocument): string {
  const drawn = tables.map(tableFigure);
  if (key === 'latency') {
    return section(title, `${latencyCurve(document)}${drawn.join('')}${latencyMapFigure(document)}`);
  }
  if (key === 'fidelity') return section(title, `${drawn.join('')}${dispersionFigure(document)}`);
  return section(title, drawn.join(''));
}

function tableFigure(each: ReportTable): string {
  return figure(each, table(each.columns, each.rows, each.toneOf));
}

function notesOf({ notes, run }: ReportDocument): string {
  const made = run.version === null ? '' : ` The run was made by version ${run.version}.`;
  return section(
    'Notes',
    `${reasonList(notes)}<p class="soft">${escaped(`Percentiles are good to 0.1 %; whatever cannot be known is shown as “–”. The page holds names of routes and models, and no payload.${made}`)}</p>`,
  );
}
