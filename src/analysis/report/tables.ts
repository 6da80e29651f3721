import { MISMATCH_KINDS, type MismatchKind, UNCHECKED_REASONS, UNCHECKED_TEXTS } from '../../core/run.ts';
import { type Distribution, IDC_WINDOWS } from '../../documents/parts.ts';
import type {
  ArrivalFigures,
  LatencyMs,
  MismatchExample,
  ReplayDocument,
  SendId,
  SloLine,
  TrustedLatencyMs,
} from '../../documents/replay.ts';
import type { PercentileLadder, ReportDocument, ReportGroups } from '../../documents/report.ts';
import { bytesText, columnsOf, msText, NONE, numberText, shareText, type Table } from '../render/table.ts';
import { LADDER_PERCENTS } from './statistics.ts';

/** Marks a percentile that has too few samples to be trusted. */
const TOO_FEW = '*';

const KEPT = 'kept';
const VIOLATED = 'VIOLATED';

export function objectivesTable({ slo }: Pick<ReplayDocument, 'slo'>): Table | null {
  if (slo.length === 0) return null;
  return {
    title: 'Objectives',
    unit: 'as named in each objective',
    source:
      'scheduled latency unless an objective names another; what failed or was refused counts as never answered',
    lookFor: 'how far observed lies from the limit: a pass by a hair is no reserve',
    columns: columnsOf(['objective', 'result'], ['observed', 'limit']),
    toneOf: (cell) => (cell === KEPT ? 'good' : cell === VIOLATED ? 'bad' : null),
    rows: slo.map((line) => [
      line.expression,
      line.ok === null ? 'not measured' : line.ok ? KEPT : VIOLATED,
      valueText(line, line.observed),
      valueText(line, line.limit),
    ]),
  };
}

function valueText({ unit }: SloLine, value: SloLine['observed']): string {
  if (value === 'Infinity') return 'never answered';
  if (unit === 'ms') return msText(value);
  return unit === 'share' ? shareText(value) : numberText(value);
}

export function latencyTable(document: ReportDocument): Table | null {
  const { latencyMs, recording, counts } = document;
  const { scheduled, service, recorded } = latencyMs;
  if (scheduled.count === 0) return null;
  return {
    title: 'Latency from p50 to p99.99',
    unit: 'ms, s or min',
    source: `${numberText(scheduled.count)} completed requests (${numberText(counts.failed)} failed have none); ${recorded === null ? `as recorded: ${recording.unavailable ?? 'not known'}` : `as recorded: ${numberText(recorded.count)} of these requests, which completed then`}`,
    lookFor: `scheduled far over service: requests waited on our side before they left. Values marked ${TOO_FEW} rest on fewer samples than the percentile needs`,
    columns: columnsOf(['percentile'], ['scheduled', 'service', 'as recorded', 'samples needed']),
    rows: [
      ...LADDER_PERCENTS.map((percent, at) => [
        `p${percent}`,
        stepText(scheduled, percent),
        stepText(service, percent),
        recorded === null ? NONE : stepText(recorded, percent),
        numberText(scheduled.steps[at]?.samplesNeeded),
      ]),
      ['mean', msText(scheduled.meanMs), msText(service.meanMs), msText(recorded?.meanMs), NONE],
      ['max', msText(scheduled.maxMs), msText(service.maxMs), msText(recorded?.maxMs), NONE],
    ],
  };
}

export function streamTable({ streams }: ReportDocument): Table | null {
  const { ttft, itl, tpot, recordedTtft, completed, failed, turnedAway, whole, tokens } = streams;
  if (completed + failed + turnedAway + whole === 0) return null;
  const ladders = [ttft, itl, tpot, recordedTtft];
  const told =
    tokens.answers === 0
      ? 'no answer said how many tokens it had'
      : `tokens as ${numberText(tokens.answers)} answers counted them: ${numberText(tokens.prompt)} prompt, ${numberText(tokens.output)} output`;
  return {
    title: 'Streams: first token, between tokens, per output token',
    unit: 'ms, s or min',
    source: `${numberText(completed)} streams that completed, ${numberText(failed)} failed, ${numberText(turnedAway)} turned away instead, ${numberText(whole)} answered whole; TTFT from the intended send, ITL over all gaps (${numberText(itl.count)}), TPOT where the answer says its tokens (${numberText(tpot.count)}); ${told}`,
    lookFor: `a TTFT that grows while ITL stays: requests queue before they are worked on. An ITL that grows: the batch is too full. ${TOO_FEW}: too few samples`,
    columns: columnsOf(['percentile'], ['TTFT', 'ITL', 'TPOT', 'TTFT as recorded']),
    rows: [
      ...LADDER_PERCENTS.map((percent) => [
        `p${percent}`,
        ...ladders.map((ladder) => (ladder === null ? NONE : stepText(ladder, percent))),
      ]),
      ['max', ...ladders.map((ladder) => msText(ladder?.maxMs))],
    ],
  };
}

/** The latencies that a run says of itself. */
export function runLatencyTable({ latencyMs: { scheduled, service } }: ReplayDocument): Table {
  return {
    title: 'Latency of completed requests',
    unit: 'ms, s or min',
    source:
      'scheduled: from the planned instant; service: from the actual send; intervals of 95 % over windows',
    lookFor: 'scheduled far over service: requests waited on our side before they left',
    columns: columnsOf(['measure'], ['p50', 'p95', 'p99', 'max']),
    rows: [
      latencyRow('scheduled', scheduled),
      ...intervalRows(scheduled),
      latencyRow('service', service),
      ...intervalRows(service),
    ],
  };
}

function latencyRow(name: string, { p50, p95, p99, max }: LatencyMs): string[] {
  return [name, ...[p50, p95, p99, max].map(msText)];
}

/** Only where the run is long enough to have windows. */
function intervalRows({ p50Interval, p95Interval, p99Interval }: TrustedLatencyMs): string[][] {
  const intervals = [p50Interval, p95Interval, p99Interval];
  if (intervals.every((interval) => interval === null)) return [];
  const text = (interval: readonly [number, number] | null) =>
    interval === null ? NONE : `${msText(interval[0])} to ${msText(interval[1])}`;
  return [['  95 % interval', ...intervals.map(text), NONE]];
}

/** Streams as a run says of itself. */
export function runStreamTable({ streams, ttftMs, itlMs, tpotMs }: ReplayDocument): Table | null {
  const { completed, failed, refused, withoutContent, unread, turnedAway, whole } = streams;
  if (completed + failed + refused + turnedAway + whole === 0) return null;
  const counted = [
    ['completed', completed],
    ['failed', failed],
    ['without any content', withoutContent],
    ['not read for their content coding', unread],
    ['turned away', turnedAway],
    ['answered whole', whole],
  ] as const;
  const said = counted.filter(([name, requests]) => requests > 0 || name === 'completed');
  return {
    title: `Streams: ${said.map(([name, requests]) => `${numberText(requests)} ${name}`).join(', ')}`,
    unit: 'ms, s or min',
    source: 'streams that completed',
    lookFor: 'a TTFT that grows while ITL stays: requests queue before they are worked on',
    columns: columnsOf(['measure'], ['p50', 'p95', 'p99', 'max']),
    rows: [
      latencyRow('first token (TTFT)', ttftMs),
      latencyRow('between tokens (ITL)', itlMs),
      latencyRow('per output token (TPOT)', tpotMs),
    ],
  };
}

/** A percentile as it is read, marked where it rests on too few samples. */
export function stepText({ steps }: PercentileLadder, percent: number): string {
  const step = steps.find((each) => each.percent === percent);
  if (step === undefined || step.ms === null) return NONE;
  return `${msText(step.ms)}${step.enough ? '' : TOO_FEW}`;
}

/** Rows that are shown of a list; the JSON document has all. */
const SHOWN = 25;

export function groupTables({ routes, models, inputSizes, recording }: ReportDocument): Table[] {
  const hasRecorded = recording.unavailable === null && recording.timed > 0;
  const kinds = [
    { title: 'By route', what: 'method and path with variable parts named', of: routes, text: groupName },
    { title: 'By model', what: 'models as requests name them', of: models, text: groupName },
    {
      title: 'By input size',
      what: 'bytes of the request body, a class to each doubling',
      of: inputSizes,
      text: sizeText,
    },
  ];
  return kinds
    .filter(({ of }) => of.groups.length > 0)
    .map(({ title, what, of, text }) => groupTable(title, what, of, hasRecorded, text));
}

function groupTable(
  title: string,
  what: string,
  { groups, ungrouped }: ReportGroups,
  hasRecorded: boolean,
  text: (name: string | null) => string,
): Table {
  const cut = groups.length > SHOWN ? `; ${SHOWN} of ${groups.length} are shown` : '';
  const rest =
    ungrouped === 0 ? '' : `; ${numberText(ungrouped)} requests have further names and are not shown`;
  const recorded = hasRecorded
    ? 'beside it the recorded latency of those of them that completed then'
    : 'no recorded latency';
  return {
    title,
    unit: 'requests; scheduled latency of completed requests in ms, s or min',
    source: `rows of the run by ${what}${cut}${rest}; ${recorded}`,
    lookFor:
      'where the p99 stands out, and where it grew most over the recording: that part of the mix finds the limit first',
    columns: columnsOf(
      ['name'],
      [
        'sent',
        'share',
        'failed',
        ...['p50', 'p95', 'p99', 'max'],
        ...(hasRecorded ? ['recorded p50', 'recorded p95', 'recorded p99'] : []),
      ],
    ),
    rows: groups
      .slice(0, SHOWN)
      .map((group) => [
        text(group.name),
        numberText(group.sent),
        shareText(group.share),
        numberText(group.failed),
        ...percentileTexts(group.latencyMs),
        msText(group.latencyMs.max),
        ...(hasRecorded ? percentileTexts(group.recordedMs) : []),
      ]),
  };
}

function percentileTexts({ p50, p95, p99 }: Distribution): string[] {
  return [p50, p95, p99].map(msText);
}

function groupName(name: string | null): string {
  return name ?? 'not known';
}

/** `1024–2047` as sizes are read. */
function sizeText(name: string | null): string {
  if (name === null) return NONE;
  const [from = 0, to = from] = name.split('–').map(Number);
  return from === to ? bytesText(from) : `${bytesText(from)} to under ${bytesText(to + 1)}`;
}

export function countsTable({ counts, summary }: Pick<ReportDocument, 'counts' | 'summary'>): Table {
  const whole = summary?.planCounted ?? true;
  const meanings = [
    [
      'recorded in the window',
      counts.recorded,
      whole ? 'all exchanges of the window, filtered ones too' : OF_A_PART,
    ],
    ['selected', counts.selected, whole ? 'what the filters kept' : OF_A_PART],
    ['planned', counts.planned, whole ? 'what the schedule asked for' : OF_A_PART],
    ['sent', counts.sent, 'completed + failed + cancelled'],
    ['completed', counts.completed, 'a whole answer of any status below 500'],
    ['failed', counts.failed, 'no whole answer, or a 5xx'],
    ['cancelled', counts.cancelled, 'ended by us where the recorded client had left'],
    ['refused', counts.refused, 'due, and stopped by a cap of our own'],
    ['unreached', counts.unreached, 'planned, and the run ended before'],
  ] as const;
  return {
    title: 'Requests',
    unit: 'requests',
    source: 'the plan and the rows of the run, without the warm-up',
    lookFor: 'planned that was not sent: the target had less load than the plan says',
    columns: columnsOf(['what', 'meaning'], ['requests', 'of planned']),
    rows: meanings.flatMap(([name, count, meaning], at) =>
      count === null
        ? []
        : [
            [
              name,
              meaning,
              numberText(count),
              at < 3 || !counts.planned ? NONE : shareText(count / counts.planned),
            ],
          ],
    ),
  };
}

const OF_A_PART = 'at least: the run was stopped, and read no farther';

export function skippedTable({ skipped }: Pick<ReportDocument, 'skipped'>): Table | null {
  if (skipped.length === 0) return null;
  return {
    title: 'Recorded and not sent',
    unit: 'requests',
    source: 'the replay’s audit of the window',
    lookFor: 'large counts: the load lacks these requests, and the effective multiplier shows it',
    columns: columnsOf(['reason', 'what it means'], ['requests']),
    rows: skipped.map(({ reason, meaning, requests }) => [reason, meaning, numberText(requests)]),
  };
}

export function errorTable({ errors }: Pick<ReportDocument, 'errors'>): Table | null {
  if (errors.length === 0) return null;
  return {
    title: 'Errors by kind',
    unit: 'requests; share of everything sent',
    source:
      'rows of the run; examples are the first of each kind: send (send_index of table send) and the exchange it repeats',
    lookFor: 'kinds that come with load (time-outs, 503), and kinds that come without it (resets, protocol)',
    columns: columnsOf(['kind', 'what it means', 'examples'], ['requests', 'share']),
    rows: errors.map((line) => [
      line.kind,
      line.meaning,
      sendsText(line.examples),
      numberText(line.requests),
      shareText(line.share),
    ]),
  };
}

/** Where to find the sends. @param placeOf what else is known of each */
function sendsText<Example extends SendId>(
  examples: readonly Example[],
  placeOf: (example: Example) => string = () => '',
): string {
  const texts = examples.map(
    (each) => `send ${each.index}: exchange ${each.exchangeId} of ${each.segment}${placeOf(each)}`,
  );
  return texts.join('; ') || NONE;
}

export function statusTable(
  statuses: ReplayDocument['statuses'],
  recorded: ReportDocument['recording']['statuses'],
): Table | null {
  const names = [...new Set([...Object.keys(statuses), ...Object.keys(recorded ?? {})])].sort();
  if (names.length === 0) return null;
  const total = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((sum, count) => sum + count, 0);
  const answered = total(statuses);
  const found = total(recorded ?? {});
  const cells = (count: number, of: number) => [numberText(count), of === 0 ? NONE : shareText(count / of)];
  return {
    title: 'Statuses',
    unit: 'requests; share of answers',
    source: `answers of the target${recorded === null ? '' : ', and the recorded ones of the same requests (none: no answer was recorded)'}`,
    lookFor: 'a mix that differs from the recording: answers other than 2xx are cheap',
    columns: columnsOf(['status'], ['sent', 'share', ...(recorded === null ? [] : ['recorded', 'share'])]),
    rows: names.map((status) => [
      status,
      ...cells(statuses[status] ?? 0, answered),
      ...(recorded === null ? [] : cells(recorded[status] ?? 0, found)),
    ]),
  };
}

const MISMATCH_TEXTS: Readonly<Record<MismatchKind, string>> = {
  status: 'another status',
  shape: 'another form: members, types, lengths of lists, or bytes',
  values: 'the same form with other values',
  length: 'generated text of another length',
  finish: 'ended for another reason, or broke off',
};

/** How answers compare with the recorded ones; null where that was not asked for. */
export function answerTable({ check }: Pick<ReplayDocument, 'check'>): Table | null {
  if (check === null) return null;
  const { answers, checked, mismatched, byKind, unchecked, examples, level } = check;
  const ignored = ignoredText(check);
  const line = (name: string, meaning: string, example: string, count: number) => [
    name,
    meaning,
    example,
    numberText(count),
    answers === 0 ? NONE : shareText(count / answers),
  ];
  return {
    title: 'Answers compared with the recorded ones',
    unit: 'requests; share of all answers',
    source: `replay --check, by ${level}; examples are the first of each kind`,
    lookFor: 'any mismatch: a build that answers something else may be faster for that alone',
    columns: columnsOf(['what', 'what it means', 'examples'], ['requests', 'share']),
    rows: [
      line('checked', 'compared with the recorded answer', NONE, checked),
      line('mismatched', 'not the recorded answer', NONE, mismatched),
      ...MISMATCH_KINDS.filter((kind) => byKind[kind] > 0).map((kind) =>
        line(
          `mismatched: ${kind}`,
          MISMATCH_TEXTS[kind],
          sendsText(examples[kind] ?? [], placeText),
          byKind[kind],
        ),
      ),
      ...UNCHECKED_REASONS.filter((reason) => (unchecked[reason] ?? 0) > 0).map((reason) =>
        line(`unchecked: ${reason}`, UNCHECKED_TEXTS[reason], NONE, unchecked[reason] ?? 0),
      ),
      ...(ignored === '' ? [] : [['places not compared', ignored, NONE, NONE, NONE]]),
    ],
  };
}

function placeText({ pointer }: MismatchExample): string {
  return pointer === null ? '' : ` at ${pointer === '' ? 'the whole document' : pointer}`;
}

function ignoredText({ level, ignored }: NonNullable<ReplayDocument['check']>): string {
  if (level === 'status') return '';
  return [
    ...(ignored.asked.length === 0 ? [] : [`${ignored.asked.join(' ')} (asked for)`]),
    ...Object.entries(ignored.byProtocol).map(([api, pointers]) => `${pointers.join(' ')} (${api})`),
  ].join('; ');
}

/** A stream of arrivals by its name. */
interface ArrivalStream {
  readonly name: 'recorded' | 'planned' | 'came due' | 'sent';
  readonly figures: ArrivalFigures;
}

/** The streams of a run, each made of the one before it. What was sent is compared with the last but one. */
export function arrivalStreams({ recorded, planned, resolved, sent }: ReplayDocument['fidelity']): {
  readonly streams: readonly ArrivalStream[];
  readonly due: ArrivalStream;
} {
  const plan: ArrivalStream = { name: 'planned', figures: planned };
  const due: ArrivalStream = resolved === null ? plan : { name: 'came due', figures: resolved };
  const before: ArrivalStream[] = [{ name: 'recorded', figures: recorded }, ...(due === plan ? [] : [plan])];
  return { streams: [...before, due, { name: 'sent', figures: sent }], due };
}

/** How arrivals were recorded, planned, came due where that is another stream, and sent. */
export function arrivalTable({ fidelity, bounds, interrupted }: ReplayDocument): Table {
  const { streams, due } = arrivalStreams(fidelity);
  const names = streams.map(({ name }) => name);
  const row = (name: string, value: (figures: ArrivalFigures) => number | null | undefined) => [
    name,
    ...streams.map(({ figures }) => numberText(value(figures))),
    changeText(value(due.figures) ?? null, value(fidelity.sent) ?? null),
  ];
  return {
    title: `Arrivals: ${names.join(', ')}`,
    unit: 'requests/s for rates; CV and index of dispersion (IDC) are ratios, 1 for random traffic',
    source: `arrivals as recorded, intended instants, and instants of sending${interrupted === null ? '' : ', as far as the plan was read before the run was stopped'}; IDC in windows from the first arrival, left out below 20 windows`,
    lookFor: `sent beside ${due.name}: CV and IDC may differ by ${shareText(bounds.arrivalShare)} or ${numberText(bounds.arrivalDifference)}. Recorded beside planned shows what the scaling bends${due.name === 'planned' ? '' : `, planned beside came due what the waiting of ${fidelity.waitsFor ?? 'sessions'} does`}`,
    columns: columnsOf(['measure'], [...names, `sent − ${due.name}`]),
    rows: [
      row('requests', ({ count }) => count),
      row('requests/s', ({ ratePerSecond }) => ratePerSecond),
      row('busiest second', ({ peak1s }) => peak1s),
      row('busiest second ÷ mean', ({ peakToMean1s }) => peakToMean1s),
      row('CV of gaps', ({ cv }) => cv),
      ...IDC_WINDOWS.map((window) => row(`IDC ${window} s`, ({ idc }) => idc[window])),
      row('ties', ({ ties }) => ties),
      row('gap p50, ms', ({ gapMs }) => gapMs?.p50),
      row('gap p99, ms', ({ gapMs }) => gapMs?.p99),
    ],
  };
}

function changeText(due: number | null, sent: number | null): string {
  if (due === null || sent === null) return NONE;
  const difference = sent - due;
  const text = numberText(difference);
  return difference > 0 ? `+${text}` : text;
}

/** How far two streams lie apart. */
export function distanceTable({ fidelity }: ReplayDocument): Table {
  const { recordedToPlanned, ksGaps, mixDistance } = fidelity;
  const { due } = arrivalStreams(fidelity);
  const ofSent = due.name === 'planned' ? '' : ` (of sent: to what ${due.name})`;
  return {
    title: 'Distances and repeats',
    unit: 'shares from 0 (alike) to 1',
    source:
      'KS distance of gaps scaled to one mean; mix as total variation over route, model and size; duplicates by method, route and body',
    lookFor:
      'anything far from 0 between planned and sent. Many duplicates: a cache of the target answers them, and production’s might not',
    columns: columnsOf(['measure'], ['recorded to planned', 'planned to sent']),
    rows: [
      [`KS distance of gaps${ofSent}`, numberText(recordedToPlanned.ksGaps), numberText(ksGaps)],
      ['distance of the mix', numberText(recordedToPlanned.mixDistance), numberText(mixDistance)],
      [
        `requests that repeat an earlier one${fidelity.duplicateRatioExact ? '' : ' (estimate)'}`,
        NONE,
        shareText(fidelity.duplicateRatio),
      ],
      ['recorded with 429 or 503', shareText(fidelity.recordedRejected), NONE],
    ],
  };
}

/** How the sending side did. */
export function healthTable(document: ReplayDocument): Table {
  const { health, lagUs, connectMs, connectionWaitMs, connectionWaits, bounds } = document;
  const us = (value: number | null) => msText(value === null ? null : value / 1e3);
  const known = (value: boolean | null) => (value === null ? 'not known' : value ? 'yes' : 'no');
  const waits =
    connectionWaits === null
      ? []
      : [
          [
            'waiting for the recorded connection p50 / p99 / max',
            [connectionWaitMs.p50, connectionWaitMs.p99, connectionWaitMs.max].map(msText).join(' / '),
          ],
          [
            'waited for the recorded connection',
            `${numberText(connectionWaits.waited)}, ${numberText(connectionWaits.late)} for over ${msText(connectionWaits.boundMs)}`,
          ],
        ];
  return {
    title: 'The generator',
    unit: 'as named in each row',
    source: 'the sending process itself',
    lookFor: `lag p99 over ${msText(bounds.lagNs / 1e6)} (or ${shareText(bounds.lagShare)} of the least latency objective), a thread busy over ${shareText(bounds.busyShare)}, any stall: then scheduled latency holds time of ours`,
    columns: columnsOf(['measure'], ['value']),
    rows: [
      ['schedule lag p50', us(lagUs.p50)],
      ['schedule lag p90', us(lagUs.p90)],
      ['schedule lag p99', us(lagUs.p99)],
      ['schedule lag max', us(lagUs.max)],
      ['connecting p50 / p99 / max', [connectMs.p50, connectMs.p99, connectMs.max].map(msText).join(' / ')],
      ...waits,
      ['busiest sender thread', shareText(health.busyShare)],
      ['held back by a CPU quota', known(health.throttled)],
      ['due before they reached a sender', numberText(health.starved)],
      ['stalls', `${numberText(health.stalls)}, ${msText(health.stalledMs)} in all`],
    ],
  };
}

/** What the target answered at recorded speed. */
export function calibrationTable({ calibration }: ReplayDocument): Table | null {
  if (calibration === null) return null;
  const { p50Ms, responseBytes, statusDistance, bounds, pairs, representative } = calibration;
  const state = representative === null ? 'not known' : representative ? 'as recorded' : 'NOT as recorded';
  return {
    title: `Calibration at 1x: ${state}`,
    unit: 'as named in each row',
    source: `${numberText(pairs)} requests that were answered while recording, sent again at recorded speed`,
    lookFor:
      'a target that is faster than production before any load: a cache, a smaller model, an error page',
    columns: columnsOf(['measure'], ['recorded', 'observed', 'allowed']),
    rows: [
      [
        'median latency',
        msText(p50Ms.recorded),
        msText(p50Ms.observed),
        `factor ${numberText(bounds.p50Factor)}`,
      ],
      [
        'median bytes of an answer',
        numberText(responseBytes.recorded),
        numberText(responseBytes.observed),
        shareText(bounds.sizeShare),
      ],
      ['answers with another status', NONE, shareText(statusDistance), shareText(bounds.statusShare)],
    ],
  };
}
