import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { AppError, reasonOf } from '../core/errors.ts';
import type { ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource } from '../core/ports.ts';
import type {
  ExportedFile,
  ExportedSend,
  ExportFormat,
  ExportSettings,
  ExportWriter,
} from '../formats/export-writer.ts';
import { AnswerForecast } from '../replay/answers/expected-answer.ts';
import { describeFilters } from '../replay/filter.ts';
import { RateCeiling, resolveHost, TargetFence } from '../replay/guard.ts';
import { Concurrency } from '../replay/plan/dry-run.ts';
import {
  AuditCounter,
  type PlannedRequest,
  plannedRequests,
  type ReplayAudit,
  ScalingTally,
} from '../replay/plan/plan.ts';
import { isOfWindow, scheduleOf } from '../replay/plan/schedule.ts';
import { OpenSessions } from '../replay/plan/sessions.ts';
import { arrivalsIn, copyIdentityOf } from '../replay/plan/superpose.ts';
import { BodyChanges, NO_BODY_CHANGES } from '../replay/request/body-changes.ts';
import { RequestBuilder } from '../replay/request/build.ts';
import { arrivalsAlone, nothingSelected, skipReasonOf } from '../replay/window/capture.ts';
import type { Playback } from '../replay/window/playback.ts';
import type { ReplayPlan } from './replay/plan.ts';
import { StagedDirectory, StagedFile } from './staged-output.ts';

/** Sends between two looks at whether somebody wants it to stop. */
const BREATH = 256;
const TABLES_HOLD_ALL = 'csv and parquet hold what can be said without requests.';

export interface ExportRequest {
  readonly format: ExportFormat;
  readonly settings: ExportSettings;
  readonly plan: ReplayPlan;
  readonly source: Playback;
  readonly out: string;
}

export interface ExportDeps {
  readonly signal: AbortSignal;
  readonly onProgress: (sends: number) => void;
}

export interface ExportResult {
  /** Exchanges of the window that the filters left. */
  readonly recorded: number;
  readonly filtered: number;
  /** Requests, or rows of a table, that the output holds. */
  readonly exported: number;
  readonly spanNs: number;
  readonly audit: ReplayAudit;
  /** Requests that lost something on the way, by what it was. */
  readonly lost: Readonly<Record<string, number>>;
  readonly files: readonly ExportedFile[];
  readonly usage: readonly string[];
}

/**
 * Writes what is planned of a capture in another tool's format, whole or not at all.
 * @throws AppError for bad output or nothing to write; the signal's reason when it aborts; nothing is left then
 */
export async function exportCapture(request: ExportRequest, deps: ExportDeps): Promise<ExportResult> {
  const { format, settings, out, plan } = request;
  if (format.holds === 'requests' && plan.overview.arrivalsOnly) throw arrivalsAlone(plan.overview.name);
  const planned = new ExportPlan(plan, request.source);
  await planned.check();
  const staged =
    format.shape === 'file' ? new StagedFile(out, 'exporting') : new StagedDirectory(out, 'exporting');
  let writer: ExportWriter | null = null;
  try {
    writer = written(out, () => format.open(staged.path, settings));
    const exported = await fill(writer, planned, request, deps);
    staged.publish();
    return {
      recorded: planned.recorded,
      filtered: request.source.filtered,
      exported,
      spanNs: planned.spanNs,
      audit: planned.audit,
      lost: writer.lost.all,
      files: writer.files,
      usage: writer.usage,
    };
  } catch (thrown) {
    writer?.abandon();
    staged.discard();
    throw thrown;
  }
}

/** @returns how many sends the output holds */
async function fill(
  writer: ExportWriter,
  planned: ExportPlan,
  { format, plan, out }: ExportRequest,
  { signal, onProgress }: ExportDeps,
): Promise<number> {
  let exported = 0;
  const sends = format.holds === 'requests' ? planned.requests() : planned.rows();
  for (const send of sends) {
    if (written(out, () => writer.add(send))) exported += 1;
    if (send.index % BREATH !== BREATH - 1) continue;
    await setImmediate();
    signal.throwIfAborted();
    onProgress(exported);
  }
  signal.throwIfAborted();
  if (planned.recorded === 0) throw nothingSelected(describeFilters(plan.options.filters));
  if (planned.sends === 0) throw nothingSendable(planned);
  if (exported === 0) throw nothingFits(format, planned, writer);
  const { spanNs, concurrency } = planned;
  written(out, () => writer.end({ requests: exported, spanNs, concurrency }));
  return exported;
}

function nothingFits({ name }: ExportFormat, { sends }: ExportPlan, { lost }: ExportWriter): AppError {
  const why = Object.entries(lost.all).map(([what, count]) => `${what} ${count}`);
  return new AppError('CAPTURE_EMPTY', `None of ${sends} requests fits ${name}: ${why.join(', ')}`, {
    hint: TABLES_HOLD_ALL,
  });
}

function nothingSendable({ recorded, audit }: ExportPlan): AppError {
  const why = Object.entries({ ...audit.skipped, ...audit.unreplayableByReason })
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason} ${count}`);
  return new AppError('CAPTURE_EMPTY', `None of ${recorded} exchanges can be sent: ${why.join(', ')}`, {
    hint: TABLES_HOLD_ALL,
  });
}

/** The file system's errors, as errors of the output. */
function written<T>(out: string, write: () => T): T {
  try {
    return write();
  } catch (thrown) {
    if (thrown instanceof AppError || !(thrown instanceof Error) || !('syscall' in thrown)) throw thrown;
    throw new AppError('OUTPUT_UNWRITABLE', `${out} cannot be written: ${reasonOf(thrown)}`, {
      hint: 'Nothing was kept. Make room or name another place, then export again.',
      cause: thrown,
    });
  }
}

/** Requests of load tools are marked like those of a replay, so that no recorder takes them for traffic. */
const RUN_PREFIX = 'export-';

/** What was planned of a capture, send by send, and what became of the rest. */
export class ExportPlan {
  readonly #plan: ReplayPlan;
  readonly #source: CaptureSource;
  readonly #audit = new AuditCounter();
  readonly #concurrency = new Concurrency();
  readonly #fence: TargetFence | null;
  #recorded = 0;
  #sends = 0;
  #lastOffsetNs = 0;
  #startUs: number | null = null;

  constructor(plan: ReplayPlan, source: CaptureSource) {
    const { target, productionHosts, allowedProductionHosts } = plan.options;
    this.#plan = plan;
    this.#source = source;
    this.#fence =
      target === null ? null : new TargetFence({ target, productionHosts, allowed: allowedProductionHosts });
  }

  /** @throws AppError TARGET_FORBIDDEN where the target is what was recorded */
  async check(): Promise<void> {
    await this.#fence?.check(this.#plan.overview.targets, resolveHost);
  }

  /** Exchanges of the window that the filters left. */
  get recorded(): number {
    return this.#recorded;
  }

  get sends(): number {
    return this.#sends;
  }

  get spanNs(): number {
    return this.#lastOffsetNs;
  }

  get concurrency(): number | null {
    return this.#concurrency.max;
  }

  get audit(): ReplayAudit {
    return this.#audit.report();
  }

  /** What a replay of the same plan would send. */
  *requests(): Generator<ExportedSend> {
    const { options, overview, window, scaling } = this.#plan;
    // Told of just before it is yielded.
    const told: PlannedRequest[] = [];
    const requests = plannedRequests(
      {
        source: this.#source,
        range: window,
        scaling,
        tally: new ScalingTally(),
        openSessions: OpenSessions.before(overview, this.#source, window),
        maxRequests: options.maxRequests,
        durationNs: window.durationNs,
        builder: new RequestBuilder({
          basePath: options.target?.basePath ?? '',
          host: options.host,
          addedHeaders: [],
          removedHeaders: options.removedHeaders,
          pathMappings: options.pathMappings,
          runId: `${RUN_PREFIX}${randomBytes(4).toString('hex')}`,
          identity: copyIdentityOf(overview, scaling),
        }),
        // A file holds what was recorded; how it is answered, and when its client leaves, is the tool's own.
        changes: new BodyChanges(NO_BODY_CHANGES),
        answers: new AnswerForecast('wait'),
        fence: { checkRecorded: (authority) => this.#fence?.checkRecorded(authority) },
        // A tool that plays the file has ceilings of its own.
        ceiling: new RateCeiling(Number.POSITIVE_INFINITY),
        audit: this.#audit,
      },
      {
        recorded: () => {
          this.#recorded += 1;
        },
        planned: (request) => told.push(request),
        refusedByCeiling: () => undefined,
      },
    );
    for (const request of requests) {
      for (const { row, index, intendedOffsetNs } of told.splice(0)) {
        yield this.#send(row, index, intendedOffsetNs, { request });
      }
    }
  }

  /** All that is planned, also what could not be sent: for tables. */
  *rows(): Generator<ExportedSend> {
    const { options, window, scaling } = this.#plan;
    let index = 0;
    for (const send of scheduleOf(arrivalsIn(this.#source, window, scaling), scaling)) {
      if (index === options.maxRequests) return;
      if (send.intendedOffsetNs >= (window.durationNs ?? Number.POSITIVE_INFINITY)) return;
      if (isOfWindow(send)) this.#recorded += 1;
      if (!send.kept) continue;
      const skipped = skipReasonOf(send.row);
      yield this.#send(send.row, index, send.intendedOffsetNs, { copy: send.copy, skipped });
      index += 1;
    }
  }

  #send(
    row: ExchangeRow,
    index: number,
    offsetNs: number,
    rest: Partial<Pick<ExportedSend, 'copy' | 'skipped' | 'request'>>,
  ): ExportedSend {
    const offsetUs = Math.round(offsetNs / 1e3);
    this.#startUs ??= row.arrivalUs - offsetUs;
    this.#sends += 1;
    this.#lastOffsetNs = offsetNs;
    this.#concurrency.add(offsetNs, row.lastByteOffsetUs === null ? null : row.lastByteOffsetUs * 1e3);
    return {
      index,
      offsetNs,
      instantUs: this.#startUs + offsetUs,
      row,
      copy: null,
      request: null,
      skipped: null,
      ...rest,
      recorded: () => this.#source.payload(row),
    };
  }
}
