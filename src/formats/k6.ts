import { z } from 'zod';
import { LIMITS } from '../core/limits.ts';
import { inertJson } from '../core/text.ts';
import type { Figure } from '../documents/history.ts';
import { RUN_VALUES } from '../documents/run-values.ts';
import type { ExportedSend, ExportFacts, ExportFormat, ExportSettings } from './export-writer.ts';
import { programWith, ScriptWriter } from './script-writer.ts';

const K6_FILE = 'replay.js';
/** Virtual users if the number of open requests is unknown, because no latency was recorded. */
const USERS_UNKNOWN = 200;
const USERS_LEAST = 20;
const USERS_MOST = 10_000;

/** A k6 script that sends every request at its instant, or requests at the recorded rate. */
export const K6: ExportFormat = {
  name: 'k6',
  summary: 'a k6 script and its data; --pacing exact or rate',
  shape: 'directory',
  holds: 'requests',
  takes: ['target', 'pacing', 'slo'],
  needsTarget: false,
  cannotCarry: [
    'the order, the case and the repetition of header names',
    'the chunked transfer coding: bodies go with their length',
    'the connections requests came on, and trailers',
    'values that the server issued: they are sent as recorded, because users of k6 share nothing',
    'more data than fits in the memory of k6: export a window, not weeks',
    'responses',
  ],
  open: (directory, settings) => new K6Writer(directory, settings),
};

class K6Writer extends ScriptWriter {
  readonly usage: readonly string[];
  readonly #steps = new RateSteps();
  /** The values of each tag for which an objective applies to every value. */
  readonly #values = new Map<string, Set<string>>();
  readonly #settings: ExportSettings;

  constructor(directory: string, settings: ExportSettings) {
    super(directory, K6_FILE);
    this.#settings = settings;
    this.usage = [`k6 run ${settings.origin === null ? '-e TARGET=URL ' : ''}${K6_FILE}`];
  }

  override add(send: ExportedSend): boolean {
    if (!super.add(send)) return false;
    if (this.#settings.mode === 'rate') {
      this.lost.count('the instant within a step of the rate');
      this.#steps.add(send.offsetNs);
    }
    return true;
  }

  protected override tagsOf(send: ExportedSend): Readonly<Record<string, string>> | null {
    const { objectives: stated } = this.#settings;
    if (stated === null) return null;
    const tags: Record<string, string> = {};
    for (const { tags: named, each } of stated.objectives) {
      for (const tag of [...named.map(([name]) => name), ...(each === null ? [] : [each])]) {
        const value = stated.tagValueOf(send, tag);
        if (value === null) continue;
        tags[tag] = value;
        if (tag === each) this.#see(tag, value);
      }
    }
    return Object.keys(tags).length === 0 ? null : tags;
  }

  #see(tag: string, value: string): void {
    const values = this.#values.get(tag) ?? new Set();
    this.#values.set(tag, values);
    if (values.has(value)) return;
    if (/[,"']/.test(value)) this.lost.count('a tag with commas or quotes, which no threshold can be about');
    else if (values.size < LIMITS.slices) values.add(value);
    else this.lost.count(`a tag beyond ${LIMITS.slices} values, of which no threshold is`);
  }

  /** Thresholds by k6's metric names, such as `scheduled_latency{model:gpt}`. */
  #thresholds(): Record<string, string[]> {
    const thresholds: Record<string, string[]> = {};
    for (const { metric, condition, tags, each } of this.#settings.objectives?.objectives ?? []) {
      const values =
        each === null ? [[]] : [...(this.#values.get(each) ?? [])].map((value) => [[each, value]]);
      for (const value of values) {
        const all = [...tags, ...value].map(([tag, text]) => `${tag}:${text}`);
        const name = all.length === 0 ? metric : `${metric}{${all.join(',')}}`;
        thresholds[name] = [...(thresholds[name] ?? []), condition];
      }
    }
    return thresholds;
  }

  protected override finish(facts: ExportFacts): void {
    const { mode, origin } = this.#settings;
    this.program.write(
      k6Program({
        mode,
        target: origin ?? '',
        requests: facts.requests,
        users: usersFor(facts),
        spanS: Math.ceil(facts.spanNs / 1e9),
        stepS: this.#steps.stepS,
        counts: this.#steps.counts,
        thresholds: this.#thresholds(),
      }),
    );
  }
}

/** The plan of an exported k6 script. Its only captured text is the tag values in threshold names. */
interface K6Plan {
  readonly mode: 'exact' | 'rate';
  /** Scheme and authority; empty if the user sets it. */
  readonly target: string;
  readonly requests: number;
  /** Virtual users: the most requests open at once. */
  readonly users: number;
  readonly spanS: number;
  readonly stepS: number;
  /** Requests per step. */
  readonly counts: readonly number[];
  /** Objectives, by k6's name of a metric with its tags. */
  readonly thresholds: Readonly<Record<string, readonly string[]>>;
}

export function k6Program(plan: K6Plan): string {
  return programWith('k6-script.js', /^const plan = \{$[\s\S]*?^\};$/m, `const plan = ${inertJson(plan)};`);
}

/** The recorded concurrency with a margin: a slower target needs more users. */
function usersFor({ concurrency, requests }: ExportFacts): number {
  const wanted = concurrency === null ? USERS_UNKNOWN : Math.ceil(concurrency * 1.5) + USERS_LEAST;
  return Math.max(1, Math.min(wanted, USERS_MOST, requests));
}

const MAX_STEPS = 512;

/** Sends counted in equal time steps. If there are too many steps for a script, pairs are merged. */
export class RateSteps {
  readonly #most: number;
  #counts: number[] = [];
  #stepS = 1;

  constructor(most = MAX_STEPS) {
    this.#most = most;
  }

  /** Length of a step in seconds. */
  get stepS(): number {
    return this.#stepS;
  }

  get counts(): readonly number[] {
    return this.#counts;
  }

  add(offsetNs: number): void {
    while (offsetNs / 1e9 / this.#stepS >= this.#most) this.#widen();
    const step = Math.floor(offsetNs / 1e9 / this.#stepS);
    while (this.#counts.length <= step) this.#counts.push(0);
    this.#counts[step] = (this.#counts[step] ?? 0) + 1;
  }

  #widen(): void {
    const wide: number[] = [];
    for (const [at, count] of this.#counts.entries()) {
      wide[at >> 1] = (wide[at >> 1] ?? 0) + count;
    }
    this.#counts = wide;
    this.#stepS *= 2;
  }
}

/** Figures of a k6 test. A figure is null if the summary does not have it. */
interface K6Figures {
  readonly durationS: number | null;
  /** When the summary was written, epoch milliseconds. */
  readonly writtenMs: number | null;
  /** Version of the k6 that wrote it. */
  readonly version: string | null;
  /** Whether every threshold held; null if the summary does not say. */
  readonly passed: boolean | null;
  readonly figures: readonly Figure[];
}

const numbers = z.record(z.string(), z.unknown());
/** `handleSummary` and `--summary-export` have an object of metrics; the newer machine-readable summary has lists. */
const summary = z.object({
  metrics: z.record(z.string(), numbers).optional(),
  state: z.object({ testRunDurationMs: z.number() }).optional(),
  config: z.object({ duration: z.number() }).optional(),
  metadata: z.object({ generated_at: z.string(), k6_version: z.string() }).optional(),
  results: z.object({ metrics: z.array(z.object({ name: z.string(), values: numbers })) }).optional(),
});

/**
 * Reads the summary of a k6 test: the file of `--summary-export`, the data passed to `handleSummary`, or the
 * machine-readable summary. Times are in milliseconds.
 * @returns null if it is not a k6 summary
 * @see https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/
 */
export function k6Figures(document: unknown): K6Figures | null {
  const { data } = summary.safeParse(document);
  if (data === undefined) return null;
  const { metrics, state, config, metadata, results } = data;
  const listed = results?.metrics.map(({ name, values }) => [name, values] as const);
  if (metrics === undefined && listed === undefined) return null;
  const byName = new Map(listed ?? Object.entries(metrics ?? {}));
  const numberIn = (name: string, keys: readonly string[]): number | null => {
    const metric = byName.get(name);
    const values = numbers.safeParse(metric?.['values']).data ?? metric ?? {};
    return keys.map((key) => values[key]).find((value) => typeof value === 'number') ?? null;
  };
  const spanOf = (counter: string): number | null => {
    const [count, perSecond] = [numberIn(counter, ['count']), numberIn(counter, ['rate'])];
    return count && perSecond ? count / perSecond : null;
  };
  const figures = RUN_VALUES.flatMap(({ name, unit, k6 }): Figure[] => {
    const value = k6 === undefined ? null : numberIn(...k6);
    return name === undefined || value === null ? [] : [{ name, unit, value }];
  });
  const written = metadata === undefined ? Number.NaN : Date.parse(metadata.generated_at);
  const durationMs = state?.testRunDurationMs ?? null;
  return {
    // The older export has no duration, so it is computed from the counters.
    durationS:
      durationMs !== null
        ? durationMs / 1e3
        : (config?.duration ?? spanOf('http_reqs') ?? spanOf('iterations')),
    writtenMs: Number.isNaN(written) ? null : written,
    version: metadata?.k6_version ?? null,
    passed: metrics === undefined ? null : Object.values(metrics).every(thresholdsHold),
    figures,
  };
}

/** For each threshold, `handleSummary` says whether it held, and `--summary-export` whether it failed. */
function thresholdsHold({ thresholds }: Readonly<Record<string, unknown>>): boolean {
  return Object.values(numbers.safeParse(thresholds).data ?? {}).every((each) =>
    typeof each === 'boolean' ? !each : numbers.safeParse(each).data?.['ok'] === true,
  );
}
