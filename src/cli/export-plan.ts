import { randomBytes } from 'node:crypto';
import type { ReplayPlan } from '../app/replay/plan.ts';
import type { ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource } from '../core/ports.ts';
import type { ExportedSend } from '../formats/export-writer.ts';
import { AnswerForecast } from '../replay/answers/expected-answer.ts';
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
import { skipReasonOf } from '../replay/window/capture.ts';

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
