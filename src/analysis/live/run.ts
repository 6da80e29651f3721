import type { Tone } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier } from '../../core/units.ts';
import type { CapacityStep } from '../../documents/capacity.ts';
import type { ReplayEvent, SecondEvent, StartEvent } from '../../documents/events.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import { PERCENTILE_NAMES } from '../../documents/percentiles.ts';
import type { Tile } from '../render/html.ts';
import { columnsOf, msText, NONE, numberText, shareText } from '../render/table.ts';
import { MANY_CLIENT_ERRORS, MANY_FAILURES, statusTone } from './answers.ts';
import { Course } from './course.ts';
import { chartsOf, type LiveChartRow, type LiveFact, type LiveTable, type LiveView } from './page.ts';

const PHASES = {
  calibration: { word: 'calibrating', does: 'by sending at 1x, to compare the answers with the recording' },
  warmup: { word: 'warming up', does: 'with requests that do not count yet' },
  run: { word: 'sending', does: '' },
  drain: { word: 'waiting', does: 'for the last answers' },
} as const;

const CHARTS: readonly LiveChartRow[] = [
  {
    ...{ key: 'load', title: 'Load', unit: 'requests/s', of: 'rates' },
    lines: [
      { label: 'offered', of: 'offered' },
      { label: 'completed', of: 'completed' },
    ],
  },
  {
    ...{ key: 'latency', title: 'Latency', unit: 'ms', of: 'levels', shows: ['latency', 'ttft'] },
    note: 'From the planned instant. Served requests of the last seconds, at most 30; a percentile of too few is left out.',
    lines: [
      ...PERCENTILE_NAMES.map((name) => ({ label: name, of: `latency-${name}` })),
      { label: 'first token p95', of: 'ttft-p95' },
    ],
  },
  {
    ...{ key: 'answers', title: 'Answers', unit: 'requests/s', of: 'rates' },
    lines: [
      { label: 'answered', of: 'answered', colour: 'good' },
      { label: '4xx', of: 'client-errors', colour: 'warn' },
      { label: 'failed', of: 'errors', colour: 'bad' },
      { label: 'refused by our cap', of: 'refused', colour: 'soft' },
    ],
  },
  {
    ...{ key: 'in-flight', title: 'In flight', unit: 'requests', of: 'levels' },
    lines: [
      { label: 'at the target', of: 'inFlight' },
      { label: 'waiting for their connection', of: 'waiting' },
    ],
  },
];

/** Shows a run, or the steps of a search, by their events. Memory is bounded. */
export class RunWatch {
  readonly #title: string;
  readonly #objectives: readonly Objective[];
  readonly #steps: string[][] = [];
  readonly #course = new Course();
  #last: SecondEvent | null = null;
  #sent = 0;
  /** Of the run so far: by status, and what failed or was refused. */
  #statuses = new Map<string, number>();
  #totals = { ended: 0, errors: 0, refused: 0 };
  #start: StartEvent | null = null;
  #calibration = '';
  #over: string | null = null;

  /** @param title title of the page, such as `Replay` */
  constructor(title: string, objectives: readonly Objective[]) {
    this.#title = title;
    this.#objectives = objectives;
  }

  /** @param atS when it came, epoch seconds */
  add(event: ReplayEvent, atS: number): void {
    if (event.event === 'start') {
      this.#start = event;
      this.#calibration = '';
      this.#forget();
    } else if (event.event === 'second') this.#addSecond(event, atS);
    else if (event.event === 'calibration') {
      const { representative, differences } = event;
      this.#calibration =
        representative === false
          ? `Calibration: the target does NOT answer as was recorded: ${differences.join('; ')}`
          : `Calibration: the target answers ${representative === null ? 'too little to tell' : 'as was recorded'}`;
      this.#forget();
    }
  }

  /** Adds a completed step of a search. */
  addStep({ multiplier, purpose, verdict, achieved, latencyMs }: CapacityStep): void {
    this.#steps.push([
      String(this.#steps.length + 1),
      `${formatMultiplier(multiplier)}x`,
      ...[purpose, verdict ?? NONE],
      `${numberText(achieved.ratePerSecond)}/s`,
      msText(latencyMs.p99),
    ]);
  }

  /** No more events will come. @param why the reason, or what happens next */
  end(why: string): void {
    this.#over = why;
  }

  view(): LiveView {
    const last = this.#last;
    const phase = last === null ? null : PHASES[last.phase];
    const { tone, sentence } = this.#judged(last);
    return {
      title: this.#title,
      state: this.#over === null ? (last?.phase ?? 'ready').toUpperCase() : 'OVER',
      tone,
      word: this.#over === null ? (phase?.word ?? 'starting') : 'over',
      sentence: this.#over ?? [this.#doing(last), sentence].filter((each) => each !== '').join(': '),
      about: this.#about(),
      progress: last === null ? null : this.#progress(last),
      tiles: last === null ? [] : tilesOf(last),
      charts: last === null ? [] : chartsOf(CHARTS, this.#course, (row) => this.#limitsOn(row)),
      facts: last === null ? [] : this.#facts(last),
      tables: [...this.#statusTable(), ...this.#stepTable()],
    };
  }

  /** Requests of an earlier run, or of the calibration, are none of the run. */
  #forget(): void {
    this.#statuses = new Map();
    this.#totals = { ended: 0, errors: 0, refused: 0 };
  }

  #addSecond(second: SecondEvent, atS: number): void {
    const { achieved, errors, refused, inFlight, recentLatencyMs, recentTtftMs } = second;
    const before = this.#totals;
    const clientErrors = clientErrorsIn(Object.entries(second.statuses));
    this.#totals = {
      ended: before.ended + achieved,
      errors: before.errors + errors,
      refused: before.refused + refused,
    };
    for (const [status, count] of Object.entries(second.statuses))
      this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + count);
    this.#sent = Math.max(0, achieved + inFlight - (this.#last?.inFlight ?? 0));
    this.#last = second;
    this.#course.add({
      atS,
      spanS: second.spanS,
      counts: {
        offered: second.offered,
        completed: achieved - errors,
        answered: Math.max(0, achieved - errors - clientErrors),
        'client-errors': clientErrors,
        errors,
        refused,
      },
      levels: {
        ...Object.fromEntries(PERCENTILE_NAMES.map((name) => [`latency-${name}`, recentLatencyMs[name]])),
        'ttft-p95': recentTtftMs.p95,
        inFlight,
        waiting: second.waiting > 0 ? second.waiting : null,
      },
    });
  }

  #about(): string[] {
    if (this.#start === null) return [];
    const { capture, target, scaling, plannedRequests, plannedS, directory } = this.#start;
    return [
      `${capture} → ${target} (${scaling}), about ${numberText(plannedRequests)} requests in ${formatMs(plannedS * 1e3)}; the run is written to ${directory}`,
      ...(this.#calibration === '' ? [] : [this.#calibration]),
    ];
  }

  #doing(last: SecondEvent | null): string {
    if (last === null) return 'the senders, and reading the plan';
    const { does } = PHASES[last.phase];
    return does === '' && this.#start !== null ? `at ${formatMultiplier(this.#start.multiplier)}x` : does;
  }

  /** What is known so far. The verdict at the end is based on more data. */
  #judged(last: SecondEvent | null): { readonly tone: Tone; readonly sentence: string } {
    if (last === null) return { tone: 'plain', sentence: '' };
    const broken = last.slo.filter(({ ok }) => ok === false);
    const known = last.slo.filter(({ ok }) => ok !== null);
    const { ended, errors } = this.#totals;
    const all = Math.max(1, ended);
    const clientErrors = clientErrorsIn([...this.#statuses]);
    const troubles = [
      ...(clientErrors / all >= MANY_CLIENT_ERRORS
        ? [`${shareText(clientErrors / all)} of the answers are 4xx.`]
        : []),
      ...(errors / all >= MANY_FAILURES ? [`${shareText(errors / all)} of the requests failed.`] : []),
    ];
    const met =
      broken.length > 0
        ? `${broken.length} of ${countOf(last.slo.length, 'objective')} not met so far.`
        : known.length > 0
          ? `${known.length} of ${countOf(last.slo.length, 'objective')} met so far.`
          : `${countOf(ended, 'request')} completed, ${numberText(errors)} failed.`;
    const tone =
      broken.length > 0 ? 'bad' : troubles.length > 0 ? 'warn' : known.length > 0 ? 'good' : 'plain';
    return { tone, sentence: [met, ...troubles].join(' ') };
  }

  #progress({ phase, elapsedS, etaS, inFlight }: SecondEvent): LiveView['progress'] {
    const time = (seconds: number) => formatMs(seconds * 1e3);
    const step = this.#steps.length > 0 ? `step ${this.#steps.length + 1}: ` : '';
    if (phase === 'drain')
      return {
        share: 1,
        text: `${step}${time(elapsedS)} since the start; ${countOf(inFlight, 'answer')} missing`,
      };
    const whole = elapsedS + etaS;
    return { share: whole === 0 ? 0 : elapsedS / whole, text: `${step}${time(etaS)} left of ${time(whole)}` };
  }

  #facts(last: SecondEvent): LiveFact[] {
    const { ended, errors, refused } = this.#totals;
    return [
      ['sent in the last second', 'sent', rateText(this.#sent, last)],
      ['our lag p99', 'lag', lagText(last)],
      ['completed', 'completed', numberText(ended - errors)],
      ['failed', 'errors', `${numberText(errors)} (${shareText(ended === 0 ? null : errors / ended)})`],
      ['refused by our cap', 'refused', refused > 0 ? numberText(refused) : ''],
    ];
  }

  /** The limits of objectives on all requests. Objectives on a part of them have no line in a chart. */
  #limitsOn({ shows = [] }: LiveChartRow) {
    return this.#objectives
      .filter(({ metric, slice }) => shows.includes(metric) && slice === null)
      .map(({ expression, limit }) => ({ label: expression, at: limit }));
  }

  #statusTable(): LiveTable[] {
    if (this.#statuses.size === 0) return [];
    const rows = [...this.#statuses]
      .sort(([one], [other]) => one.localeCompare(other))
      .map(([status, count]) => [
        status === 'none' ? 'no answer' : status,
        numberText(count),
        shareText(count / Math.max(1, this.#totals.ended)),
      ]);
    return [
      {
        ...{ key: 'statuses', title: 'Answers by status', rows },
        columns: columnsOf(['status'], ['requests', 'share']),
        toneOf: (cell, column) => (column === 0 ? statusTone(cell) : null),
      },
    ];
  }

  #stepTable(): LiveTable[] {
    if (this.#steps.length === 0) return [];
    const columns = columnsOf(['step', 'load', 'purpose', 'verdict'], ['completed', 'latency p99']);
    const tones = { PASS: 'good', FAIL: 'bad', INCONCLUSIVE: 'warn' } as const;
    const toneOf = (cell: string) => (Object.hasOwn(tones, cell) ? tones[cell as keyof typeof tones] : null);
    return [{ key: 'steps', title: 'Steps', columns, rows: this.#steps, toneOf }];
  }
}

function clientErrorsIn(statuses: readonly (readonly [status: string, count: number])[]): number {
  return statuses.reduce((sum, [status, count]) => sum + (statusTone(status) === 'warn' ? count : 0), 0);
}

function lagText({ lagP99Us }: SecondEvent): string {
  return msText(lagP99Us === null ? null : lagP99Us / 1e3);
}

function rateText(count: number, { spanS }: SecondEvent): string {
  return spanS > 0 ? `${numberText(count / spanS)}/s` : NONE;
}

const otherText = (value: number | 'Infinity' | null) => (value === 'Infinity' ? value : numberText(value));
const UNITS = { ms: msText, share: shareText, count: otherText, number: otherText } as const;

/** Every objective of the run, or without any the usual figures. */
function tilesOf(last: SecondEvent): Tile[] {
  const { slo, recentLatencyMs } = last;
  if (slo.length === 0)
    return [
      ...PERCENTILE_NAMES.map((name) => ({
        label: `latency ${name}`,
        value: msText(recentLatencyMs[name]),
        note: '',
      })),
      { label: 'our lag p99', value: lagText(last), note: '' },
    ];
  return slo.map(({ expression, unit, observed, limit, ok }) => ({
    label: expression,
    value: UNITS[unit](observed),
    state:
      ok === null
        ? { tone: 'plain', word: 'not known yet' }
        : ok
          ? { tone: 'good', word: 'met so far' }
          : { tone: 'bad', word: 'not met so far' },
    note: `limit ${UNITS[unit](limit)}`,
  }));
}
