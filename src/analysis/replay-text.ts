import { countOf, formatMs, formatMultiplier, formatShare } from '../core/units.ts';
import { IDC_WINDOWS, type IdcWindow, type ReportedReason } from '../documents/parts.ts';
import type {
  ArrivalFigures,
  LatencyMs,
  ReplayDocument,
  SloLine,
  TrustedLatencyMs,
} from '../documents/replay.ts';
import { checkLines } from './run/answer-check.ts';

/** Stands where nothing is known. */
const NONE = '–';

/** The document as lines of plain text: the verdict and its reasons first, then what it rests on. */
export function replayText(document: ReplayDocument): string[] {
  return [
    ...verdictLines(document),
    '',
    ...countLines(document),
    '',
    ...fidelityLines(document),
    '',
    ...latencyLines(document),
    ...streamLines(document),
    ...checkLines(document.check),
    ...sloLines(document.slo),
    ...noteLines(document.notes),
  ];
}

function verdictLines({ verdict, valid, reasons }: ReplayDocument): string[] {
  const withoutSlo = valid
    ? 'no objective was given; the run is valid'
    : 'NOT VALID (no objective was given)';
  return [`Verdict: ${verdict ?? withoutSlo}`, ...reasons.flatMap(reasonLines)];
}

function noteLines(notes: readonly ReportedReason[]): string[] {
  return notes.length === 0 ? [] : ['', 'Notes', ...notes.flatMap(reasonLines)];
}

function reasonLines({ code, text, advice }: ReportedReason): string[] {
  return [`  ${code}: ${text}`, `      ${advice}`];
}

function countLines(document: ReplayDocument): string[] {
  const skipped = Object.values(document.skipped).reduce((sum, count) => sum + count, 0);
  const multiplier = `${formatMultiplier(document.multiplier)}x ${document.scaling}`;
  const effective = document.effectiveMultiplier?.toFixed(3) ?? 'unknown';
  const lines = [
    `Replayed ${document.capture} against ${document.target} at ${multiplier} (effective ${effective})`,
    ...table([
      [
        'recorded',
        'planned',
        'sent',
        'completed',
        'failed',
        'cancelled',
        'refused',
        'unreached',
        'skipped',
        'unreplayable',
      ],
      [
        document.recorded,
        document.planned,
        document.sent,
        document.completed,
        document.failed,
        document.cancelled,
        document.refused,
        document.unreached,
        skipped,
        document.unreplayable,
      ].map(String),
    ]),
  ];
  if (document.planCounted === false)
    lines.push('  the run was stopped before its whole plan was read: it has at least so many');
  if (skipped > 0) lines.push(`  skipped by reason: ${pairs(document.skipped)}`);
  if (Object.keys(document.statuses).length > 0)
    lines.push(`  answers by status: ${pairs(document.statuses)}`);
  if (Object.keys(document.errors).length > 0) lines.push(`  without an answer: ${pairs(document.errors)}`);
  lines.push(...exampleLines(document), ...trustLines(document));
  return lines;
}

function fidelityLines({ fidelity, interrupted }: ReplayDocument): string[] {
  const { recorded, planned, resolved, sent } = fidelity;
  const came = resolved === null ? [] : [resolved];
  const row = (name: string, value: (figures: ArrivalFigures) => number | null, digits: number) => [
    name,
    ...[recorded, planned, ...came, sent].map((figures) => number(value(figures), digits)),
  ];
  return [
    `Arrivals${interrupted === null ? '' : ', of what was read of the plan until the run was stopped'}${fidelity.unfiltered === null ? '' : ' (recorded: those that the filters kept)'}`,
    ...table([
      ['', 'recorded', 'planned', ...(resolved === null ? [] : ['came due']), 'sent'],
      row('requests/s', ({ ratePerSecond }) => ratePerSecond, 3),
      row('peak 1 s', ({ peak1s }) => peak1s, 0),
      row('CV of gaps', ({ cv }) => cv, 3),
      ...IDC_WINDOWS.map((window: IdcWindow) => row(`IDC ${window} s`, ({ idc }) => idc[window], 3)),
      row('ties', ({ ties }) => ties, 4),
    ]),
    `  gaps ${resolved === null ? 'planned' : 'as they came due'} to sent: KS ${number(fidelity.ksGaps, 4)}, recorded to planned: KS ${number(fidelity.recordedToPlanned.ksGaps, 4)}`,
    `  mix planned to sent: ${number(fidelity.mixDistance, 4)}, recorded to planned: ${number(fidelity.recordedToPlanned.mixDistance, 4)}; duplicates ${number(fidelity.duplicateRatio, 4)}${fidelity.duplicateRatioExact ? '' : ' (estimate)'}`,
  ];
}

function latencyLines(document: ReplayDocument): string[] {
  const { latencyMs, connectMs, connectionWaitMs, connectionWaits = null, lagUs, health } = document;
  const row = (name: string, { p50, p95, p99, max }: LatencyMs) => [name, ...[p50, p95, p99, max].map(ms)];
  const us = (value: number | null) => ms(value === null ? null : value / 1e3);
  const lines = [
    'Latency of completed requests',
    ...table([
      ['', 'p50', 'p95', 'p99', 'max'],
      row('scheduled', latencyMs.scheduled),
      row('service', latencyMs.service),
      row('connect', connectMs),
      ...(connectionWaitMs.p50 === null ? [] : [row('connection wait', connectionWaitMs)]),
    ]),
    ...(connectionWaits === null
      ? []
      : [
          `  waited for their recorded connection: ${countOf(connectionWaits.waited, 'request')}, ${connectionWaits.late} for over ${formatMs(connectionWaits.boundMs)}`,
        ]),
    `  schedule lag: p50 ${us(lagUs.p50)}, p90 ${us(lagUs.p90)}, p99 ${us(lagUs.p99)}, max ${us(lagUs.max)}`,
  ];
  lines.push(
    ...intervalLines('scheduled', latencyMs.scheduled),
    ...intervalLines('service', latencyMs.service),
  );
  if (health.stalls > 0) {
    lines.push(
      `  stalls of our own: ${health.stalls}, ${formatMs(health.stalledMs)} in all; their requests count, with their lag`,
    );
  }
  return lines;
}

/** Only where the run is long enough to have windows. */
function intervalLines(name: string, { p50Interval, p95Interval, p99Interval }: TrustedLatencyMs): string[] {
  const parts = [
    ['p50', p50Interval] as const,
    ['p95', p95Interval] as const,
    ['p99', p99Interval] as const,
  ].flatMap(([percentile, interval]) =>
    interval === null ? [] : [`${percentile} ${ms(interval[0])} to ${ms(interval[1])}`],
  );
  return parts.length === 0 ? [] : [`  ${name}, 95 % intervals: ${parts.join(', ')}`];
}

function exampleLines({ errorExamples }: ReplayDocument): string[] {
  return Object.entries(errorExamples).flatMap(([kind, [first]]) =>
    first === undefined
      ? []
      : [`    ${kind}: such as send ${first.index}, exchange ${first.exchangeId} of ${first.segment}`],
  );
}

/** What preceded the judged part. */
function trustLines({ warmup, calibration }: ReplayDocument): string[] {
  const lines: string[] = [];
  if (warmup !== null) {
    lines.push(
      `  before it ${countOf(warmup.planned, 'request')} of warm-up in ${ms(warmup.playedS * 1e3)}: sent ${warmup.sent}, failed ${warmup.failed}, refused ${warmup.refused}; in no figure here`,
    );
  }
  if (calibration !== null) {
    const state = { true: 'as recorded', false: 'NOT as recorded', null: 'not known' };
    const { recorded, observed } = calibration.p50Ms;
    const seen = typeof observed === 'number' ? ms(observed) : (observed ?? NONE);
    lines.push(
      `  calibrated at 1x by ${countOf(calibration.pairs, 'request')}: ${state[`${calibration.representative}`]}; median ${seen}, recorded ${ms(recorded)}`,
    );
  }
  return lines;
}

function streamLines({ streams, tokens, ttftMs, itlMs, tpotMs }: ReplayDocument): string[] {
  const seen = streams.completed + streams.failed + streams.refused + streams.turnedAway + streams.whole;
  const row = (name: string, { p50, p95, p99, max }: LatencyMs) => [name, ...[p50, p95, p99, max].map(ms)];
  if (seen === 0) return tokenLines(tokens);
  const without = streams.withoutContent === 0 ? '' : ` (${streams.withoutContent} without any content)`;
  const unread = streams.unread === 0 ? '' : `, ${streams.unread} not read for their content coding`;
  const away = streams.turnedAway === 0 ? '' : `, ${streams.turnedAway} turned away`;
  const whole = streams.whole === 0 ? '' : `, ${streams.whole} answered whole`;
  return [
    '',
    `Streams: ${streams.completed} completed${without}, ${streams.failed} failed${away}${whole}${unread}`,
    ...table([
      ['', 'p50', 'p95', 'p99', 'max'],
      row('first token (TTFT)', ttftMs),
      row('between tokens (ITL)', itlMs),
      row('per output token (TPOT)', tpotMs),
    ]),
    ...tokenLines(tokens),
  ];
}

/** Whole answers have tokens as streams do, and say how many more often. */
function tokenLines({ answers, prompt, output, finishReasons }: ReplayDocument['tokens']): string[] {
  return [
    ...(answers === 0
      ? []
      : [`  tokens, as ${countOf(answers, 'answer')} counted them: ${prompt} prompt, ${output} output`]),
    ...(Object.keys(finishReasons).length === 0 ? [] : [`  ended for: ${pairs(finishReasons)}`]),
  ];
}

function sloLines(slo: readonly SloLine[]): string[] {
  if (slo.length === 0) return [];
  const rows = slo.map((line) => [
    line.expression,
    observedText(line),
    line.ok === null ? 'not measured' : line.ok ? 'kept' : 'VIOLATED',
  ]);
  return ['', 'Objectives', ...table([['', 'observed', ''], ...rows])];
}

function pairs(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

function ms(value: number | null): string {
  return value === null ? NONE : formatMs(value);
}

function number(value: number | null, digits: number): string {
  return value === null ? NONE : value.toFixed(digits);
}

function observedText({ observed, unit }: SloLine): string {
  if (typeof observed !== 'number') return observed ?? NONE;
  if (unit === 'ms') return formatMs(observed);
  return unit === 'count' ? String(observed) : formatShare(observed, 4);
}

/** Rows of equal length as aligned lines: the first column to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((most, row) => Math.max(most, (row[column] ?? '').length), 0),
  );
  return rows.map((row) =>
    `  ${row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  ')}`.trimEnd(),
  );
}
