import { setTimeout as pause } from 'node:timers/promises';
import { request } from 'undici';
import type { Clock } from '../core/clock.ts';
import { reasonOf } from '../core/errors.ts';
import type { Send } from '../core/run.ts';
import { NS_PER_S } from '../core/units.ts';
import type { TelemetryDocument } from '../documents/parts.ts';
import { RunInstruments } from './instruments.ts';
import type { Receiver, TelemetryOptions } from './options.ts';
import { type ExportedRun, otlpMetrics, otlpTraces, spanOf } from './otlp.ts';
import { samplesOf, writeRequest } from './remote-write.ts';
import { TraceSample } from './traces.ts';

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

type ReceiverState = {
  -readonly [Key in keyof TelemetryDocument['receivers'][number]]: TelemetryDocument['receivers'][number][Key];
};

/**
 * Exports metrics and spans of one run while it lasts. It runs on the command thread, so senders never wait for it. A
 * failed push is counted but not repeated, because metrics are cumulative and spans are a sample.
 */
export class RunTelemetry {
  readonly #parts: TelemetryParts;
  readonly #instruments = new RunInstruments();
  readonly #traces: TraceSample | null;
  readonly #receivers: readonly { readonly receiver: Receiver; readonly state: ReceiverState }[];
  readonly #spans = { traced: 0, delivered: 0, dropped: 0 };
  /** Planned requests of each second of the run that was not exported yet. */
  readonly #offered = new Map<number, number>();
  #exportedToS = 0;
  #waiting: object[] = [];
  #run: ExportedRun | null = null;
  #timer: NodeJS.Timeout | undefined;
  #pushing: Promise<void> | null = null;

  constructor(parts: TelemetryParts) {
    const { receivers, traceShare } = parts.options;
    this.#parts = parts;
    this.#traces = traceShare === null ? null : new TraceSample(parts.run.id, traceShare);
    this.#receivers = receivers.map((receiver) => {
      const { kind, url } = receiver;
      const state = { kind, url, pushes: 0, failed: 0, rejected: 0, complete: false, lastError: null };
      return { receiver, state };
    });
  }

  /** Adds a traceparent to headers of planned requests; undefined if no request is traced. */
  get traced(): TraceSample['headersOf'] | undefined {
    return this.#traces?.headersOf;
  }

  begin(): void {
    this.#timer = setInterval(() => {
      // Skipped during a push, so that a slow receiver gets fewer pushes and never two at once.
      this.#pushing ??= this.#push(1).finally(() => {
        this.#pushing = null;
      });
    }, this.#parts.options.intervalMs);
  }

  planned(_: unknown, intendedOffsetNs: number): void {
    const second = Math.floor(intendedOffsetNs / NS_PER_S);
    this.#offered.set(second, (this.#offered.get(second) ?? 0) + 1);
  }

  ended(sends: readonly Send[]): void {
    this.#instruments.addSends(sends);
    const run = this.#traces === null ? null : this.#exported();
    if (run === null) return;
    for (const send of sends) {
      const context = this.#traces?.of(send.index) ?? null;
      const span = context && spanOf(send, context, run);
      if (span === null) continue;
      this.#spans.traced += 1;
      if (this.#waiting.length < MAX_SPANS) this.#waiting.push(span);
      else this.#spans.dropped += 1;
    }
  }

  /** Exports the rest. Takes half a minute at most, if a receiver hangs. */
  async end(): Promise<void> {
    this.stop();
    await this.#pushing;
    await this.#push(LAST_TRIES);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  document(): TelemetryDocument {
    return {
      receivers: this.#receivers.map(({ state }) => ({ ...state })),
      traceShare: this.#parts.options.traceShare,
      spans: { ...this.#spans },
    };
  }

  #exported(): ExportedRun | null {
    const startNs = this.#parts.startNs();
    if (this.#run === null && startNs !== null) {
      const anchor = this.#parts.clock.anchor();
      const startUs = anchor.epochUs + (startNs - anchor.monotonicNs) / 1e3;
      this.#run = { ...this.#parts.run, startUs };
    }
    return this.#run;
  }

  async #push(tries: number): Promise<void> {
    const run = this.#exported();
    if (run === null) return;
    this.#instruments.setGauges({ inFlight: this.#parts.inFlight(), offered: this.#offeredRate() });
    const nowUs = this.#parts.clock.epochUs();
    const spans = this.#waiting;
    this.#waiting = [];
    await Promise.all(
      this.#receivers.map(async ({ receiver, state }) => {
        state.complete = await this.#pushMetrics(receiver, state, run, nowUs, tries);
        if (receiver.kind === 'otlp') await this.#pushSpans(receiver, state, run, spans);
      }),
    );
  }

  async #pushMetrics(
    receiver: Receiver,
    state: ReceiverState,
    run: ExportedRun,
    nowUs: number,
    tries: number,
  ): Promise<boolean> {
    const { all } = this.#instruments;
    const common = { job: 'reprise', instance: run.id, ...(run.name === null ? {} : { test: run.name }) };
    const [path, body] =
      receiver.kind === 'otlp'
        ? ['/v1/metrics', JSON.stringify(otlpMetrics(run, all, nowUs))]
        : ['', writeRequest(samplesOf(all, common), Math.floor(nowUs / 1e3))];
    for (let attempt = 1; ; attempt += 1) {
      const accepted = (await post(receiver, path, body, state)) !== null;
      if (accepted || attempt === tries) return accepted;
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
      const rejected = await post(receiver, '/v1/traces', JSON.stringify(otlpTraces(run, some)), state);
      // The rest is dropped, because a receiver that hangs would take the full time limit of each push.
      if (rejected === null) break;
      left -= some.length;
      this.#spans.dropped += rejected;
      this.#spans.delivered += some.length - rejected;
    }
    this.#spans.dropped += left;
  }

  /** Planned requests per second since the last export, over whole seconds of the run. */
  #offeredRate(): number {
    const { clock, startNs } = this.#parts;
    const toS = Math.floor((clock.nowNs() - (startNs() ?? 0)) / NS_PER_S);
    let planned = 0;
    for (const [second, count] of this.#offered) {
      if (second >= toS) continue;
      planned += count;
      this.#offered.delete(second);
    }
    const spanS = toS - this.#exportedToS;
    this.#exportedToS = toS;
    return spanS <= 0 ? 0 : planned / spanS;
  }
}

const CONTENT: Readonly<Record<Receiver['kind'], Readonly<Record<string, string>>>> = {
  otlp: { 'content-type': 'application/json' },
  remote_write: {
    'content-type': 'application/x-protobuf',
    'content-encoding': 'snappy',
    'x-prometheus-remote-write-version': '0.1.0',
  },
};

/** @returns how many points or spans the receiver rejected; null if it did not accept the push */
async function post(
  { kind, url, headers }: Receiver,
  path: string,
  body: string | Buffer,
  state: ReceiverState,
): Promise<number | null> {
  state.pushes += 1;
  try {
    const answer = await request(`${url}${path}`, {
      method: 'POST',
      headers: { ...Object.fromEntries(headers), ...CONTENT[kind], 'user-agent': 'reprise' },
      body,
      signal: AbortSignal.timeout(PUSH_MS),
    });
    const text = await textOf(answer.body);
    if (answer.statusCode < 200 || answer.statusCode > 299)
      throw new Error(`status ${answer.statusCode}: ${text.slice(0, 200)}`);
    const rejected = kind === 'otlp' ? rejectedIn(text) : 0;
    state.rejected += rejected;
    return rejected;
  } catch (thrown) {
    state.failed += 1;
    state.lastError = reasonOf(thrown);
    return null;
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
