import { join } from 'node:path';
import { TextCounts } from '../core/text.ts';
import {
  countHeaderLosses,
  type ExportedFile,
  type ExportedSend,
  type ExportFacts,
  type ExportFormat,
  type ExportSettings,
  type ExportWriter,
  OutputFile,
  REQUESTS_FILE,
  requestLine,
} from './export-writer.ts';
import { k6Program } from './programs.ts';

const SCRIPT_FILE = 'replay.js';
/** Virtual users if no recorded latency says how many requests are open at once. */
const USERS_UNKNOWN = 200;
const USERS_LEAST = 20;
const USERS_MOST = 10_000;

/** A k6 script: sends every request at its instant, or requests at the recorded rate. */
export const K6: ExportFormat = {
  name: 'k6',
  summary: 'a k6 script and its data; --mode exact or rate',
  shape: 'directory',
  holds: 'requests',
  takes: ['target', 'mode'],
  needsTarget: false,
  cannotCarry: [
    'the order, the case and the repetition of header names',
    'the chunked transfer coding: bodies go with their length',
    'the connections requests came on, and trailers',
    'more data than fits in the memory of k6: export a window, not weeks',
    'responses',
  ],
  open: (path, settings) => new K6Writer(path, settings),
};

class K6Writer implements ExportWriter {
  readonly lost = new TextCounts();
  readonly usage: readonly string[];
  readonly #script: OutputFile;
  readonly #requests: OutputFile;
  readonly #steps = new RateSteps();
  readonly #settings: ExportSettings;

  constructor(directory: string, settings: ExportSettings) {
    this.#settings = settings;
    this.#script = new OutputFile(join(directory, SCRIPT_FILE));
    this.#requests = new OutputFile(join(directory, REQUESTS_FILE));
    this.usage = [`k6 run ${settings.origin === null ? '-e TARGET=URL ' : ''}${SCRIPT_FILE}`];
  }

  get files(): readonly ExportedFile[] {
    return [
      { name: SCRIPT_FILE, bytes: this.#script.bytes },
      { name: REQUESTS_FILE, bytes: this.#requests.bytes },
    ];
  }

  add(send: ExportedSend): boolean {
    if (send.request === null) return false;
    countHeaderLosses(send.request.headers, this.lost);
    if (send.request.chunked) this.lost.count('a chunked body: sent with its length');
    if (this.#settings.mode === 'rate') {
      this.lost.count('the instant within a step of the rate');
      this.#steps.add(send.offsetNs);
    }
    this.#requests.write(requestLine(send, send.request));
    return true;
  }

  end(facts: ExportFacts): void {
    const { mode, origin } = this.#settings;
    this.#script.write(
      k6Program({
        mode,
        target: origin,
        requests: facts.requests,
        users: usersFor(facts),
        spanS: Math.ceil(facts.spanNs / 1e9),
        stepS: this.#steps.stepS,
        counts: this.#steps.counts,
      }),
    );
    this.#script.end();
    this.#requests.end();
  }

  abandon(): void {
    this.#script.abandon();
    this.#requests.abandon();
  }
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
