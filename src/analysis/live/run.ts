import { formatMs, formatMultiplier } from '../../core/units.ts';
import type { CapacityStep } from '../../documents/capacity.ts';
import type { ReplayEvent, SecondEvent, StartEvent } from '../../documents/events.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import { PERCENTILE_NAMES } from '../../documents/percentiles.ts';
import { msText, NONE, numberText, shareText } from '../render/table.ts';
import type { LiveChart, LiveFact, LiveTable, LiveView } from './page.ts';

/** Number of kept seconds. */
const SECONDS = 300;
const RECENT =
  'Each percentile is over as many of the last seconds as give it enough requests, at most 30; else it is left out.';
const PHASES = {
  calibration: 'calibration',
  warmup: 'warm-up',
  run: 'sending',
  drain: 'waiting for the last answers',
} as const;

/** Requests of a run so far. */
interface Totals {
  readonly ended: number;
  readonly errors: number;
  readonly refused: number;
}
const NOTHING: Totals = { ended: 0, errors: 0, refused: 0 };

/** Shows a run, or the steps of a search, by their events. Memory is bounded: it keeps the last five minutes. */
export class RunWatch {
  readonly #title: string;
  readonly #objectives: readonly Objective[];
  readonly #steps: string[][] = [];
  #seconds: SecondEvent[] = [];
  #totals = NOTHING;
  #start: StartEvent | null = null;
  #calibration = '';
  #over: string | null = null;

  /** @param title title of the page, such as `Replay` */
  constructor(title: string, objectives: readonly Objective[]) {
    this.#title = title;
    this.#objectives = objectives;
  }

  add(event: ReplayEvent): void {
    if (event.event === 'start') this.#begin(event);
    else if (event.event === 'second') this.#addSecond(event);
    else if (event.event === 'calibration') {
      const { representative, differences } = event;
      this.#calibration =
        representative === false
          ? `Calibration: the target does NOT answer as was recorded: ${differences.join('; ')}`
          : `Calibration: the target answers ${representative === null ? 'too little to tell' : 'as was recorded'}`;
      this.#totals = NOTHING;
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
    const last = this.#seconds.at(-1) ?? null;
    const slo = last?.slo ?? [];
    const isBroken = slo.some(({ ok }) => ok === false);
    const phase = last === null ? 'making ready' : PHASES[last.phase];
    return {
      title: this.#title,
      state: this.#over === null ? (last?.phase ?? 'ready').toUpperCase() : 'OVER',
      tone: isBroken ? 'bad' : last === null ? 'soft' : 'good',
      badge: this.#over === null ? phase : 'over',
      why: this.#over ?? (isBroken ? 'an objective is broken so far' : ''),
      about: this.#about(),
      facts: last === null ? [] : this.#facts(last),
      charts: last === null ? [] : this.#charts(),
      tables: this.#stepTable(),
    };
  }

  #begin(event: StartEvent): void {
    this.#start = event;
    this.#totals = NOTHING;
    this.#calibration = '';
  }

  #addSecond(second: SecondEvent): void {
    // The last event of a phase may cover only a moment.
    const { ended, errors, refused } = this.#totals;
    this.#totals = {
      ended: ended + second.achieved,
      errors: errors + second.errors,
      refused: refused + second.refused,
    };
    this.#seconds.push(second);
    if (this.#seconds.length > SECONDS) this.#seconds.shift();
  }

  #about(): string[] {
    if (this.#start === null) return [];
    const { capture, target, multiplier, scaling, plannedRequests, plannedS, directory } = this.#start;
    return [
      `${capture} against ${target} at ${formatMultiplier(multiplier)}x (${scaling}), some ${numberText(plannedRequests)} requests in ${formatMs(plannedS * 1e3)}`,
      `kept in ${directory}`,
      ...(this.#calibration === '' ? [] : [this.#calibration]),
    ];
  }

  #facts(last: SecondEvent): LiveFact[] {
    const { ended, errors, refused } = this.#totals;
    const before = this.#seconds.at(-2)?.inFlight ?? 0;
    const { recentLatencyMs: latencyMs, recentTtftMs: ttftMs } = last;
    return [
      ['time left', 'left', last.phase === 'drain' ? NONE : formatMs(last.etaS * 1e3)],
      ...last.slo.map(objectiveFact),
      ['offered', 'offered', rateText(last.offered, last)],
      ['sent', 'sent', rateText(Math.max(0, last.achieved + last.inFlight - before), last)],
      ['answered or failed', 'achieved', rateText(last.achieved, last)],
      ['in flight', 'in-flight', numberText(last.inFlight)],
      ['waiting for their connection', 'waiting', last.waiting > 0 ? numberText(last.waiting) : ''],
      ...PERCENTILE_NAMES.map(
        (name): LiveFact => [`latency ${name}`, `latency-${name}`, msText(latencyMs[name])],
      ),
      ['first token p95', 'ttft-p95', ttftMs.p95 === null ? '' : msText(ttftMs.p95)],
      ['our lag p99', 'lag', msText(last.lagP99Us === null ? null : last.lagP99Us / 1e3)],
      ['over so far', 'ended', numberText(ended)],
      [
        'failed so far',
        'errors',
        `${numberText(errors)} (${shareText(ended === 0 ? null : errors / ended)})`,
      ],
      ['refused by a cap of ours', 'refused', refused > 0 ? numberText(refused) : ''],
    ];
  }

  #charts(): LiveChart[] {
    const line = (label: string, of: (second: SecondEvent) => number | null) => ({
      label,
      values: this.#seconds.map(of),
    });
    const rate = (count: (second: SecondEvent) => number) => (second: SecondEvent) =>
      second.spanS > 0 ? count(second) / second.spanS : null;
    const perSecond = (value: number) => `${numberText(value)}/s`;
    const percentiles = (key: 'recentLatencyMs' | 'recentTtftMs') =>
      PERCENTILE_NAMES.map((each) => line(each, (second) => second[key][each] ?? null));
    const streams = this.#seconds.some(({ recentTtftMs }) => recentTtftMs.p50 !== null);
    return [
      {
        key: 'rates',
        caption: 'Offered and over each second, of the last five minutes at most.',
        lines: [
          line(
            'offered',
            rate(({ offered }) => offered),
          ),
          line(
            'over',
            rate(({ achieved }) => achieved),
          ),
        ],
        limits: [],
        text: perSecond,
      },
      {
        key: 'latency',
        caption: `Latency of what was served, from the planned instant to the last byte. ${RECENT}`,
        lines: percentiles('recentLatencyMs'),
        limits: this.#limitsOn('latency'),
        text: formatMs,
      },
      ...(streams
        ? [
            {
              key: 'ttft',
              caption: `Time from the planned instant to the first token. ${RECENT}`,
              lines: percentiles('recentTtftMs'),
              limits: this.#limitsOn('ttft'),
              text: formatMs,
            },
          ]
        : []),
      {
        key: 'in-flight-chart',
        caption: 'Requests in flight at the target.',
        lines: [line('in flight', ({ inFlight }) => inFlight)],
        limits: [],
        text: numberText,
      },
      {
        key: 'errors-chart',
        caption: 'Failed, and refused by a cap of ours, each second.',
        lines: [
          line(
            'failed',
            rate(({ errors }) => errors),
          ),
          line(
            'refused',
            rate(({ refused }) => refused),
          ),
        ],
        limits: [],
        text: perSecond,
      },
    ];
  }

  /** The limits of objectives on all requests. Objectives on a part of them have no line in this chart. */
  #limitsOn(metric: Objective['metric']): LiveChart['limits'] {
    return this.#objectives
      .filter((each) => each.metric === metric && each.slice === null)
      .map(({ expression, limit }) => ({ label: expression, at: limit }));
  }

  #stepTable(): LiveTable[] {
    if (this.#steps.length === 0) return [];
    const columns = ['step', 'load', 'purpose', 'verdict', 'completed', 'latency p99'];
    return [{ key: 'steps', title: 'Steps', columns, rows: this.#steps }];
  }
}

function rateText(count: number, { spanS }: SecondEvent): string {
  return spanS > 0 ? `${numberText(count / spanS)}/s` : NONE;
}

const UNITS = {
  ms: msText,
  share: shareText,
  count: (value: number | 'Infinity' | null) => (value === 'Infinity' ? value : numberText(value)),
  number: (value: number | 'Infinity' | null) => (value === 'Infinity' ? value : numberText(value)),
} as const;

/** An objective's state so far. The verdict at the end is based on more data. */
function objectiveFact({ expression, unit, observed, ok }: SecondEvent['slo'][number], at: number): LiveFact {
  const state = ok === null ? '' : ok ? ', holds' : ', broken';
  return [`${expression} so far`, `objective-${at}`, `${UNITS[unit](observed)}${state}`];
}
