import { FIRST_SERVER_ERROR } from '../../core/exchange.ts';
import {
  MISMATCH_KINDS,
  type MismatchKind,
  type SendError,
  UNCHECKED_REASONS,
  UNCHECKED_TEXTS,
} from '../../core/run.ts';
import type { MismatchExample, ObjectiveLine, ReplayDocument, SendId } from '../../documents/replay.ts';
import type { ErrorLine, ReportDocument, ReportedCounts, SkippedLine } from '../../documents/report.ts';
import { judgedSends } from '../metrics/measure.ts';
import { columnsOf, msText, NONE, numberText, shareText, type Table } from '../render/table.ts';
import { answerKinds } from '../run/outcomes.ts';
import { failureWords } from '../verdict/advice.ts';
import { objectiveNotes } from './objective-notes.ts';
import type { RowFigures } from './statistics.ts';

/** The states of an objective in words. `kept` means with the required confidence. */
const STATES = {
  kept: 'met',
  violated: 'VIOLATED',
  undecided: 'undecided',
  unmeasured: 'not measured',
} as const;
type ObjectiveState = keyof typeof STATES;

/** Reasons that leave the objectives undecided that they are about. */
const UNDECIDING: ReadonlySet<string> = new Set(['too_close', 'too_few_samples', 'censored']);

/** Reasons that leave all objectives undecided, because the run or its answers differ from the request. */
const UNDECIDING_ALL: ReadonlySet<string> = new Set([
  'interrupted',
  'not_comparable',
  'staging_not_representative',
]);

/** The reason of a violation that the target caused. */
const VIOLATING = 'slo_violated';

type Found = Pick<ReplayDocument, 'reasons' | 'notes'>;

export function stateOf({ ok, expression }: ObjectiveLine, { reasons, notes }: Found): ObjectiveState {
  if (ok === null) return 'unmeasured';
  const found = [...reasons, ...notes];
  const isAbout = ({ about }: Found['reasons'][number]) => about?.includes(expression) === true;
  // What only our lateness violated, or a load that was not as planned, has no such reason.
  if (!ok) return found.some((each) => each.code === VIOLATING && isAbout(each)) ? 'violated' : 'undecided';
  const isOpen =
    reasons.some(({ code }) => UNDECIDING_ALL.has(code)) ||
    found.some((each) => UNDECIDING.has(each.code) && isAbout(each));
  return isOpen ? 'undecided' : 'kept';
}

export function stateText(line: ObjectiveLine, found: Found): string {
  return STATES[stateOf(line, found)];
}

/** @param summary the document of the run; null if it was not sealed */
export function objectivesTable(
  document: Pick<ReplayDocument, 'slo'> & Found,
  summary: ReplayDocument | null,
): Table | null {
  const { slo } = document;
  if (slo.length === 0) return null;
  const hasSlices = slo.some(({ slice }) => slice != null);
  return {
    title: 'Objectives',
    unit: 'as named in each objective',
    source:
      'scheduled latency unless an objective names another; what failed or was refused counts as never answered',
    lookFor: 'how far observed is from the limit: a narrow pass leaves no reserve',
    notes: summary === null ? [] : objectiveNotes(summary),
    columns: columnsOf(['objective', 'result'], ['observed', 'limit', ...(hasSlices ? ['requests'] : [])]),
    toneOf: (cell) => (cell === STATES.kept ? 'good' : cell === STATES.violated ? 'bad' : null),
    rows: slo.map((line) => [
      line.expression,
      stateText(line, document),
      `${valueText(line, line.observed)}${line.goodput == null ? '' : ` (${numberText(line.goodput.perSecond)}/s)`}`,
      valueText(line, line.limit),
      ...(hasSlices ? [line.requests == null ? 'all' : numberText(line.requests)] : []),
    ]),
  };
}

/** A value of an objective in its unit. */
export function valueText({ unit }: Pick<ObjectiveLine, 'unit'>, value: ObjectiveLine['observed']): string {
  if (value === 'Infinity') return 'not served';
  if (unit === 'ms') return msText(value);
  return unit === 'share' ? shareText(value) : numberText(value);
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
    ['cancelled', counts.cancelled, 'ended by the replay when the recorded client left'],
    ['refused', counts.refused, 'due, and refused by a cap of the replay'],
    ['unreached', counts.unreached, 'planned, but the run ended first'],
  ] as const;
  return {
    title: 'Requests',
    unit: 'requests',
    source: 'the plan and the rows of the run, without the warm-up',
    lookFor: 'planned requests that were not sent: the target had less load than planned',
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
    lookFor: 'large counts: the load lacks these requests, and the effective multiplier is lower',
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

/** Identifies the sends. @param placeOf further text for each */
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
  { statuses, grpcStatuses }: Pick<ReplayDocument, 'statuses' | 'grpcStatuses'>,
  recorded: ReportDocument['recording']['statuses'],
): Table | null {
  const names = [...new Set([...Object.keys(statuses), ...Object.keys(recorded ?? {})])].sort();
  if (names.length === 0) return null;
  const total = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((sum, count) => sum + count, 0);
  const answered = total(statuses);
  const found = total(recorded ?? {});
  const calls = Map.groupBy(
    answerKinds({ statuses, grpcStatuses }).filter(
      ({ kind, status }) => status !== 200 && !kind.startsWith('status_'),
    ),
    ({ status }) => `${status}`,
  );
  const nameOf = (status: string) =>
    [status, ...(calls.get(status) ?? []).map(({ kind, answers }) => `${kind} ${answers}`)].join(', ');
  const cells = (count: number, of: number) => [numberText(count), of === 0 ? NONE : shareText(count / of)];
  return {
    title: 'Statuses',
    unit: 'requests; share of answers',
    source: `answers of the target${recorded === null ? '' : ', and the recorded ones of the same requests (none: no answer was recorded)'}`,
    lookFor: 'a mix that differs from the recording: answers other than 2xx are cheap',
    columns: columnsOf(['status'], ['sent', 'share', ...(recorded === null ? [] : ['recorded', 'share'])]),
    rows: names.map((status) => [
      nameOf(status),
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

/** The comparison of answers with the recorded ones; null if it was not requested. */
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
    lookFor: 'any mismatch: a build may be faster only because it answers something else',
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

export function countsOf({ outcomes }: RowFigures, summary: ReplayDocument | null): ReportedCounts {
  const { sent, completed, failed, cancelled, refused, unreached } = outcomes;
  return {
    recorded: summary?.recorded ?? null,
    selected: summary?.selected ?? null,
    planned: summary?.planned ?? null,
    sent,
    completed,
    failed,
    cancelled,
    refused,
    unreached: summary?.unreached ?? unreached,
    unreplayable: summary?.unreplayable ?? null,
  };
}

/** The failed ones of the requests that count for objectives on errors, and their share. */
export function judgedFailures(
  counts: Pick<ReplayDocument, 'sent' | 'failed' | 'cancelled'>,
  errors: ReplayDocument['errors'],
  { interrupted }: Pick<ReplayDocument, 'interrupted'>,
): { readonly failed: number; readonly share: number | null } {
  const outcomes = { ...counts, stopped: errors.stopped ?? 0 };
  const { sent, failed } = judgedSends({ outcomes }, interrupted !== null);
  return { failed, share: sent === 0 ? null : failed / sent };
}

/** Recorded requests that were not sent, by reason. */
export function skippedLines({ audit, skipped, unreplayable }: ReplayDocument): SkippedLine[] {
  const why = Object.entries(audit?.unreplayableByReason ?? {})
    .filter(([, requests]) => requests > 0)
    .map(([reason, requests]) => `${reason} ${requests}`);
  return Object.entries({ ...skipped, unreplayable })
    .filter(([, requests]) => requests > 0)
    .map(([reason, requests]) => {
      const details = reason === 'unreplayable' && why.length > 0 ? `: ${why.join(', ')}` : '';
      return { reason, requests, meaning: `${skippedMeaning(reason)}${details}` };
    });
}

/** Requests without a complete answer or with a 5xx answer, by kind, the most frequent first. */
export function errorLines({
  errors,
  sent,
  errorExamples,
  ...answers
}: Pick<ReplayDocument, 'statuses' | 'grpcStatuses' | 'errors' | 'sent' | 'errorExamples'>): ErrorLine[] {
  const served = answerKinds(answers)
    .filter(({ status }) => status >= FIRST_SERVER_ERROR)
    .map(({ kind, answers }) => [kind, answers] as const);
  return [...Object.entries(errors), ...served]
    .map(([kind, requests]) => ({
      kind,
      requests,
      share: requests / sent,
      meaning: errorMeaning(kind),
      examples: errorExamples[kind] ?? [],
    }))
    .sort((a, b) => b.requests - a.requests || (a.kind < b.kind ? -1 : 1));
}

/** Why recorded exchanges were not sent, and what to do about it. */
const SKIPPED: Readonly<Record<string, string>> = {
  filtered: 'left out by the filters that were asked for',
  incomplete_request: 'the client left before its request was whole; nothing that could be sent again',
  truncated_request: 'the recorder kept only a part of the body; raise its cap on request bodies',
  no_payload: 'the recording holds no request; record with bodies, or give the import payloads',
  unreplayable: 'the client library cannot send it unaltered; see the reasons beside it',
};

/** Why sends have no complete answer, and where to look. */
const ERRORS: Readonly<Record<SendError, string>> = {
  connect_refused: 'nothing listened, or the accept queue was full: check whether the target restarted',
  connect_timeout: 'the target did not accept in time: its accept queue or a firewall',
  connect_failed: 'no connection came about: name, route or TLS',
  no_socket: 'this host had no socket for it: raise its open files or local ports; the target was not asked',
  reset_on_reuse: 'the target closed an idle connection as we used it: its keep-alive is shorter than ours',
  reset: 'the target or something between cut the connection: a crash, an eviction, a proxy',
  closed_early: 'the connection ended before the answer was whole',
  first_byte_timeout: 'no answer began in time: a queue that grows, or a stuck worker',
  idle_timeout: 'an answer began and then fell silent',
  total_timeout: 'the answer took longer than it was waited for in all',
  protocol: 'the answer was not valid in the protocol of the request, HTTP/1.1 or HTTP/2',
  broken_stream: 'a stream ended without its end mark: the generation was cut off',
  deadline: 'a gRPC call had no complete answer within its own grpc-timeout',
  no_status: 'a gRPC call ended without a grpc-status: a proxy answered, or the server was cut off',
  no_message: 'a gRPC call ended with OK, but without any message',
  refused_stream: 'the target refused the stream before it served it: it is overloaded, or shuts down',
  goaway: 'the target ended the HTTP/2 connection with GOAWAY before it served the request',
  stopped: 'ended by the replay when the run was stopped; not the target’s failure',
  other: 'none of the known kinds; see its row',
};

const SERVER_ERROR = 'the target answered that it failed: see its log at these times';

export function skippedMeaning(reason: string): string {
  return (Object.hasOwn(SKIPPED, reason) ? SKIPPED[reason] : null) ?? 'not sent; see the replay’s audit';
}

/** @param kind a kind of error, `status_503` or `UNAVAILABLE` */
export function errorMeaning(kind: string): string {
  if (kind.startsWith('status_')) return SERVER_ERROR;
  if (/^[A-Z]/.test(kind)) return `${failureWords(kind)}: ${SERVER_ERROR}`;
  return (Object.hasOwn(ERRORS, kind) ? ERRORS[kind as SendError] : null) ?? ERRORS.other;
}
