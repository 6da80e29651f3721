import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LIMITS } from '../core/limits.ts';
import { inertJson, shownText } from '../core/text.ts';
import {
  asciiTarget,
  countRequestLosses,
  type ExportedRequest,
  type ExportedSend,
  type ExportFacts,
  type ExportFormat,
  type ExportSettings,
  ExportWriter,
  headerPairs,
  type OutputFile,
} from './export-writer.ts';

/** Name of the data file beside a script. */
const REQUESTS_FILE = 'requests.jsonl';

/** Writes our program for another tool, and the requests that it plays. */
abstract class ScriptWriter extends ExportWriter {
  protected readonly program: OutputFile;
  readonly #requests: OutputFile;

  constructor(directory: string, programFile: string) {
    super();
    this.program = this.open(join(directory, programFile), programFile);
    this.#requests = this.open(join(directory, REQUESTS_FILE), REQUESTS_FILE);
  }

  override add(send: ExportedSend): boolean {
    if (send.request === null) return false;
    countRequestLosses(send.request, this.lost);
    this.#requests.write(requestLine(send, send.request, this.tagsOf(send)));
    return true;
  }

  /** Tags of a request besides its route; null for none. */
  protected tagsOf(_send: ExportedSend): Readonly<Record<string, string>> | null {
    return null;
  }
}

/**
 * One request a line, for our scripts in other tools. Members in order: number, milliseconds after the start,
 * method, target, header pairs, body as base64 (or null), route, tags where there are any.
 */
function requestLine(
  send: ExportedSend,
  request: ExportedRequest,
  tags: Readonly<Record<string, string>> | null,
): string {
  return `${inertJson({
    i: send.index,
    t: send.offsetNs / 1e6,
    m: request.method,
    p: asciiTarget(request.path),
    h: headerPairs(request.headers),
    b: request.body === null ? null : Buffer.from(request.body).toString('base64'),
    // The name in the tool's printed statistics.
    r: shownText(send.row.route ?? request.method),
    ...(tags === null ? {} : { g: tags }),
  })}\n`;
}

/** One of our programs, with its line of settings replaced. */
function programWith(file: string, line: RegExp, settings: string): string {
  const program = readFileSync(new URL(`./programs/${file}`, import.meta.url), 'utf8');
  if (!line.test(program)) throw new Error(`programs/${file} has no line ${line}`);
  return program.replace(line, () => settings);
}

const LOCUST_FILE = 'locustfile.py';

/** A Locust file that plays a schedule, open loop, in one process or as a master with workers. */
export const LOCUST: ExportFormat = {
  name: 'locust',
  summary: 'a Locust file and its data, for one process or a master with workers',
  shape: 'directory',
  holds: 'requests',
  takes: ['target'],
  needsTarget: false,
  cannotCarry: [
    'the order, the case and the repetition of header names',
    'the chunked transfer coding: bodies go with their length',
    'the connections requests came on',
    'what the client adds: User-Agent and Accept-Encoding where the request has none',
    'responses: Locust counts every 4xx and 5xx as a failure, even if it was recorded',
  ],
  open: (directory, settings) => new LocustWriter(directory, settings),
};

class LocustWriter extends ScriptWriter {
  readonly usage: readonly string[];

  constructor(directory: string, { origin }: ExportSettings) {
    super(directory, LOCUST_FILE);
    // An ASCII JSON string is also a Python string.
    const host = origin === null ? 'None' : JSON.stringify(origin);
    this.program.write(programWith(LOCUST_FILE, /^HOST = None$/m, `HOST = ${host}`));
    const command = `locust -f ${LOCUST_FILE} --headless${origin === null ? ' --host URL' : ''}`;
    this.usage = [
      command,
      `${command} --master --expect-workers N; on each machine: locust -f ${LOCUST_FILE} --worker --master-host HOST`,
    ];
  }
}

const K6_FILE = 'replay.js';
/** Virtual users if no recorded latency says how many requests are open at once. */
const USERS_UNKNOWN = 200;
const USERS_LEAST = 20;
const USERS_MOST = 10_000;

/** A k6 script: sends every request at its instant, or requests at the recorded rate. */
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
    'more data than fits in the memory of k6: export a window, not weeks',
    'responses',
  ],
  open: (directory, settings) => new K6Writer(directory, settings),
};

class K6Writer extends ScriptWriter {
  readonly usage: readonly string[];
  readonly #steps = new RateSteps();
  /** Values of the tags that an objective is about each of. */
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

  /** By the names of k6: `scheduled_latency{model:gpt}`. */
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

/** The plan of an exported k6 script; of captured text it contains names that thresholds are about. */
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

/** Targets of Vegeta, one JSON object a line. */
export const VEGETA: ExportFormat = {
  name: 'vegeta',
  summary: 'JSON targets of Vegeta',
  shape: 'file',
  holds: 'requests',
  takes: ['target'],
  needsTarget: true,
  cannotCarry: [
    'arrival times: Vegeta sends at a rate of its own',
    'stages, bursts and silences',
    'the order and the case of header names',
    'the chunked transfer coding: bodies go with their length',
    'responses',
  ],
  open: (path, settings) => new VegetaWriter(path, settings),
};

class VegetaWriter extends ExportWriter {
  readonly #file: OutputFile;
  readonly #origin: string;
  #rate = '1/1s';

  constructor(path: string, { origin }: ExportSettings) {
    super();
    this.#file = this.open(path);
    this.#origin = origin ?? '';
  }

  override get usage(): readonly string[] {
    const attack = `vegeta attack -format=json -lazy -redirects=-1 -rate=${this.#rate} -targets=FILE`;
    return [`${attack} | vegeta report`];
  }

  override add({ request }: ExportedSend): boolean {
    if (request === null) return false;
    countRequestLosses(request, this.lost, false);
    this.#file.write(`${inertJson(this.#target(request))}\n`);
    return true;
  }

  protected override finish({ requests, spanNs }: ExportFacts): void {
    this.#rate = `${Math.max(1, requests)}/${spanNs > 0 ? goDuration(spanNs) : '1s'}`;
  }

  #target({ method, path, headers, body }: ExportedRequest): object {
    const header = new Map<string, string[]>();
    for (const [name, value] of headerPairs(headers)) header.set(name, [...(header.get(name) ?? []), value]);
    return {
      method,
      url: this.#origin + asciiTarget(path),
      ...(body === null ? {} : { body: Buffer.from(body).toString('base64') }),
      header: Object.fromEntries(header),
    };
  }
}

/**
 * A duration in Go's format, in the largest unit that is exact. A whole number of requests a second would
 * differ from the mean rate.
 */
function goDuration(ns: number): string {
  const whole = Math.max(1, Math.round(ns));
  const [unit, size] = GO_UNITS.find(([, each]) => whole % each === 0) ?? ['ns', 1];
  return `${whole / size}${unit}`;
}

const GO_UNITS = [
  ['s', 1e9],
  ['ms', 1e6],
  ['us', 1e3],
] as const;
