import { setTimeout as pause } from 'node:timers/promises';
import { request } from 'undici';
import type { Clock } from '../core/clock.ts';
import { reasonOf } from '../core/errors.ts';
import type { ExchangeRow } from '../core/exchange.ts';
import type { Send } from '../core/run.ts';
import { NS_PER_S } from '../core/units.ts';
import type { TelemetryDocument } from '../documents/parts.ts';
import { type Instrument, type Judgement, RunInstruments } from './instruments.ts';
import type { Receiver, TelemetryOptions } from './options.ts';
import { type ExportedRun, otlpMetrics, otlpTraces, spanOf } from './otlp.ts';
import { samplesOf, writeRequest } from './remote-write.ts';
import { type TraceContext, TraceSample } from './traces.ts';

/** Most spans that wait for the next push, and most spans of one push request. */
const MAX_SPANS = 4_096;
const SPANS_A_PUSH = 512;
const PUSH_MS = 3_000;
const ANSWER_BYTES = 64 * 1024;
/** Tries of the last push. It is repeated because dashboards keep its values. */
const LAST_TRIES = 3;
const RETRY_MS = 500;

interface TelemetryParts {
  readonly options: TelemetryOptions;
  readonly run: Omit<ExportedRun, 'startUs'>;
  readonly clock: Clock;
  /** The run's zero on the monotonic clock; null before it is known. */
  readonly startNs: () => number | null;
  readonly inFlight: () => number;
}

interface Export {
  readonly run: ExportedRun;
  readonly all: readonly Instrument[];
  readonly nowUs: number;
}

/** A receiver, and what is known of it. */
interface KnownReceiver {
  readonly receiver: Receiver;
  readonly state: ReceiverState;
  /** Whether it takes exponential histograms; null before it answered a push with them. */
  takesExponential: boolean | null;
}

type ReceiverState = {
  -readonly [Key in keyof TelemetryDocument['receivers'][number]]: TelemetryDocument['receivers'][number][Key];
};

/**
 * Exports metrics and spans of one run while it lasts. It runs on the command thread, so senders never wait for it. A
 * failed push is counted but not repeated, because metrics are cumulative and spans are a sample.
 */
export class RunTelemetry {
  readonly #parts: TelemetryParts;
  readonly #instruments: RunInstruments;
  readonly #traces: TraceSample | null;
  readonly #receivers: readonly KnownReceiver[];
  readonly #spans = { traced: 0, delivered: 0, dropped: 0 };
  /** Planned requests of each second of the run that was not exported yet. */
  readonly #offered = new Map<number, number>();
  #exportedToS = 0;
  #offeredRate = 0;
  #waiting: object[] = [];
  #run: ExportedRun | null = null;
  #timer: NodeJS.Timeout | undefined;
  #pushing: Promise<void> | null = null;
  /** Set if counters were made that no push has sent. */
  #soon: NodeJS.Immediate | undefined;
  #hasNew = false;

  constructor(parts: TelemetryParts) {
    const { receivers, traceShare } = parts.options;
    this.#parts = parts;
    this.#instruments = new RunInstruments(parts.run.tested);
    this.#traces = traceShare === null ? null : new TraceSample(parts.run.id, traceShare);
    this.#receivers = receivers.map((receiver) => {
      const { kind, url } = receiver;
      const state = { kind, url, pushes: 0, failed: 0, rejected: 0, complete: false, lastError: null };
      const isExplicit = kind === 'otlp' && parts.options.otlpHistograms === 'explicit';
      return { receiver, state, takesExponential: isExplicit ? false : null };
    });
  }

  /** Adds a traceparent to headers of planned requests; undefined if no request is traced. */
  get traced(): TraceSample['headersOf'] | undefined {
    return this.#traces?.headersOf;
  }

  begin(): void {
    this.#timer = setInterval(() => this.#beginPush(), this.#parts.options.intervalMs);
  }

  planned(row: Pick<ExchangeRow, 'route' | 'model'>, intendedOffsetNs: number): void {
    if (this.#instruments.expect(row)) {
      // Requests are planned before they are sent: receivers get the counters at 0 before anything is counted.
      this.#hasNew = true;
      this.#soon ??= setImmediate(() => this.#beginPush());
    }
    const second = Math.floor(intendedOffsetNs / NS_PER_S);
    this.#offered.set(second, (this.#offered.get(second) ?? 0) + 1);
  }

  ended(sends: readonly Send[]): void {
    const traces = this.#traces;
    const run = traces === null ? null : this.#exported();
    if (traces === null || run === null) {
      this.#instruments.addSends(sends);
      return;
    }
    const atUs = this.#parts.clock.epochUs();
    this.#instruments.addSends(sends, (send) => {
      const trace = traces.of(send.index);
      if (trace === null) return null;
      this.#addSpan(send, trace, run);
      return { trace, atUs };
    });
  }

  #addSpan(send: Send, trace: TraceContext, run: ExportedRun): void {
    const span = spanOf(send, trace, run);
    if (span === null) return;
    this.#spans.traced += 1;
    if (this.#waiting.length < MAX_SPANS) this.#waiting.push(span);
    else this.#spans.dropped += 1;
  }

  /** Exports the rest, and the verdict. Takes half a minute at most, if a receiver hangs. */
  async end(judged: Judgement): Promise<void> {
    this.stop();
    await this.#pushing;
    this.#instruments.setVerdict(judged);
    await this.#push(LAST_TRIES);
  }

  stop(): void {
    clearInterval(this.#timer);
    clearImmediate(this.#soon);
  }

  document(): TelemetryDocument {
    return {
      receivers: this.#receivers.map(({ state }) => ({ ...state })),
      traceShare: this.#parts.options.traceShare,
      spans: { ...this.#spans },
    };
  }

  /** The run; null before it is known when it starts. */
  #exported(): ExportedRun | null {
    const startNs = this.#parts.startNs();
    if (this.#run === null && startNs !== null) {
      const anchor = this.#parts.clock.anchor();
      const startUs = anchor.epochUs + (startNs - anchor.monotonicNs) / 1e3;
      this.#run = { ...this.#parts.run, startUs };
    }
    return this.#run;
  }

  /** Skipped during a push, so that a slow receiver gets fewer pushes and never two at once. */
  #beginPush(): void {
    this.#pushing ??= this.#pushNew().finally(() => {
      this.#pushing = null;
    });
  }

  async #pushNew(): Promise<void> {
    do {
      this.#hasNew = false;
      this.#soon = undefined;
      await this.#push(1);
    } while (this.#hasNew);
  }

  async #push(tries: number): Promise<void> {
    const nowUs = this.#parts.clock.epochUs();
    // Before the run starts, its counters are 0 and count from now.
    const run = this.#exported() ?? { ...this.#parts.run, startUs: nowUs };
    this.#instruments.setGauges({ inFlight: this.#parts.inFlight(), offered: this.#offeredNow() });
    const exported = { run, all: this.#instruments.collect(), nowUs };
    const spans = this.#waiting;
    this.#waiting = [];
    await Promise.all(
      this.#receivers.map(async (to) => {
        to.state.complete = await this.#pushMetrics(to, exported, tries);
        if (to.receiver.kind === 'otlp') await this.#pushSpans(to.receiver, to.state, run, spans);
      }),
    );
  }

  async #pushMetrics(to: KnownReceiver, exported: Export, tries: number): Promise<boolean> {
    for (let attempt = 1; ; attempt += 1) {
      const isAccepted = await pushedMetrics(to, exported);
      if (isAccepted || attempt === tries) return isAccepted;
      await pause(RETRY_MS);
    }
  }

  async #pushSpans(
    receiver: Receiver,
    state: ReceiverState,
    run: ExportedRun,
    spans: readonly object[],
  ): Promise<void> {
    let left = spans.length;
    for (let at = 0; at < spans.length; at += SPANS_A_PUSH) {
      const some = spans.slice(at, at + SPANS_A_PUSH);
      const rejected = counted(
        state,
        await post(receiver, '/v1/traces', JSON.stringify(otlpTraces(run, some))),
      );
      // The rest is dropped, because a receiver that hangs would take the full time limit of each push.
      if (rejected === null) break;
      left -= some.length;
      this.#spans.dropped += rejected;
      this.#spans.delivered += some.length - rejected;
    }
    this.#spans.dropped += left;
  }

  /** Planned requests per second since the last export, over whole seconds of the run. */
  #offeredNow(): number {
    const startNs = this.#parts.startNs();
    if (startNs === null) return 0;
    const toS = Math.floor((this.#parts.clock.nowNs() - startNs) / NS_PER_S);
    const spanS = toS - this.#exportedToS;
    if (spanS <= 0) return this.#offeredRate;
    let planned = 0;
    for (const [second, count] of this.#offered) {
      if (second >= toS) continue;
      planned += count;
      this.#offered.delete(second);
    }
    this.#exportedToS = toS;
    this.#offeredRate = planned / spanS;
    return this.#offeredRate;
  }
}

/**
 * Pushes all metrics once. A receiver that may take no exponential histograms gets explicit ones alone if it refuses
 * the first, or leaves some out.
 */
async function pushedMetrics(to: KnownReceiver, exported: Export): Promise<boolean> {
  const { receiver, state } = to;
  const pushed = async (exponential: boolean) =>
    await post(receiver, ...metricsFor(receiver, exported, exponential));
  const answer = await pushed(to.takesExponential !== false);
  if (answer.kind === 'accepted' && answer.rejected === 0) to.takesExponential ??= true;
  else if (to.takesExponential === null && answer.kind !== 'failed') {
    const explicit = await pushed(false);
    if (explicit.kind === 'accepted' && explicit.rejected === 0) {
      to.takesExponential = false;
      return counted(state, explicit) !== null;
    }
  }
  return counted(state, answer) !== null;
}

function metricsFor(
  { kind }: Receiver,
  { run, all, nowUs }: Export,
  exponential: boolean,
): readonly [path: string, body: string | Buffer] {
  if (kind === 'otlp') {
    const metrics = otlpMetrics(run, all, nowUs, exponential ? 'exponential' : 'explicit');
    return ['/v1/metrics', JSON.stringify(metrics)];
  }
  const common = { job: 'reprise', instance: run.id, ...(run.name === null ? {} : { test: run.name }) };
  return ['', writeRequest(samplesOf(all, common, exponential), all, Math.floor(nowUs / 1e3))];
}

const CONTENT: Readonly<Record<Receiver['kind'], Readonly<Record<string, string>>>> = {
  otlp: { 'content-type': 'application/json' },
  remote_write: {
    'content-type': 'application/x-protobuf',
    'content-encoding': 'snappy',
    'x-prometheus-remote-write-version': '0.1.0',
  },
};

/** What came of one push: how many points or spans the receiver left out, or why it took none. */
type Answer =
  | { readonly kind: 'accepted'; readonly rejected: number }
  | { readonly kind: 'refused' | 'failed'; readonly error: string };

/** Statuses of a receiver that cannot take what was sent. Prometheus without native histograms answers 500. */
const REFUSING: ReadonlySet<number> = new Set([400, 415, 422, 500]);

/** Counts a push. @returns how many points or spans the receiver rejected; null if it did not accept the push */
function counted(state: ReceiverState, answer: Answer): number | null {
  state.pushes += 1;
  if (answer.kind === 'accepted') {
    state.rejected += answer.rejected;
    return answer.rejected;
  }
  state.failed += 1;
  state.lastError = answer.error;
  return null;
}

async function post({ kind, url, headers }: Receiver, path: string, body: string | Buffer): Promise<Answer> {
  try {
    const answer = await request(`${url}${path}`, {
      method: 'POST',
      headers: { ...Object.fromEntries(headers), ...CONTENT[kind], 'user-agent': 'reprise' },
      body,
      signal: AbortSignal.timeout(PUSH_MS),
    });
    const text = await textOf(answer.body);
    if (answer.statusCode < 200 || answer.statusCode > 299)
      return {
        kind: REFUSING.has(answer.statusCode) ? 'refused' : 'failed',
        error: `status ${answer.statusCode}: ${text.slice(0, 200)}`,
      };
    return { kind: 'accepted', rejected: kind === 'otlp' ? rejectedIn(text) : 0 };
  } catch (thrown) {
    return { kind: 'failed', error: reasonOf(thrown) };
  }
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES) throw new Error(`the answer is longer than ${ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** The rejected count of a partial success. A receiver that accepts all may return an empty body or another type. */
function rejectedIn(text: string): number {
  const [, count] = /"rejected(?:DataPoints|Spans)"\s*:\s*"?(\d+)/.exec(text) ?? [];
  return Number(count ?? 0);
}
