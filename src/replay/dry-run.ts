import { setImmediate } from 'node:timers/promises';
import type { ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import { AuditCounter, type ReplayAudit } from './audit.ts';
import { Concurrency } from './concurrency.ts';
import type { Shard } from './options/parsers.ts';
import { type PayloadAudit, PayloadAuditor } from './payload-audit.ts';
import type { RateCeiling } from './rate-ceiling.ts';
import type { RequestBuilder } from './request-builder.ts';
import { arrivalsIn, playedAs } from './scaling/arrivals.ts';
import type { Scaling } from './scaling/scaling.ts';
import { type ScalingCounts, ScalingTally } from './scaling/tally.ts';
import { isOfWindow, scheduleOf } from './schedule.ts';
import type { OpenSessions } from './sessions.ts';
import { skipReasonOf } from './skip.ts';
import { Stripe } from './stripe.ts';

/**
 * Requests whose payload is opened: stretches of neighbours, which share a block to unpack, spread evenly over
 * the window. One by one they would cost eight times the unpacking and a hundred megabytes of it at once.
 */
const SAMPLE_STRETCHES = 32;
const SAMPLE_STRETCH = 8;

export interface DryRunParts {
  readonly source: CaptureSource;
  readonly range: TimeRange;
  readonly scaling: Scaling;
  /** Sessions begun before the window; null where the capture knows no sessions. */
  readonly openSessions: OpenSessions | null;
  /** Which of several processes is planned; without it the whole schedule is. */
  readonly shard?: Shard | null;
  /** Of the whole plan, without what is played before it. So is the ceiling. */
  readonly maxRequests: number | null;
  readonly ceiling: RateCeiling;
  /** The plan ends before this instant of the run; without it, with the window. */
  readonly durationNs?: number | null;
  /** Sends expected of the plan, by which the sample is spread. */
  readonly expected: number;
  /** The capture has arrivals alone: their timing is planned although nothing could be sent. */
  readonly arrivalsOnly: boolean;
  readonly builder: RequestBuilder;
}

/** Told of the plan as it unfolds. */
export interface DryRunListener {
  recorded(row: ExchangeRow): void;
  planned(row: ExchangeRow, intendedOffsetNs: number): void;
}

/** What a plan comes to, whichever shard plays it, as far as the facts of its rows tell. */
export interface PlanCount {
  /** Exchanges of the windows that are played. */
  readonly recorded: number;
  /** Requests, as if all of them could be built. */
  readonly planned: number;
  /** The instant of the last request where a most of them ends the plan, nanoseconds of the run; null where it does not. */
  readonly cappedAtNs: number | null;
}

export interface DryRunReport {
  /** What the plan comes to, whichever shard plays it. */
  readonly whole: PlanCount;
  /** From the facts of every row. */
  readonly audit: ReplayAudit;
  readonly scaling: ScalingCounts;
  /** Of what is planned, over the ceiling on a second. */
  readonly refusedForRate: number;
  /** From the payloads of a sample. */
  readonly payloads: PayloadAudit;
  /** Connections in use at once if the target is as fast as what was recorded; null where that is not known. */
  readonly connections: number | null;
}

/** Sends planned between two turns of the event loop: what was printed appears, and signals are heard. */
const SENDS_A_TURN = 8_192;

/** Plans a whole window and sends nothing: constant memory, and no payload opened but the sample's. */
export async function dryRun(parts: DryRunParts, listener: DryRunListener): Promise<DryRunReport> {
  const audit = new AuditCounter();
  const auditor = new PayloadAuditor(parts.builder);
  const stride = Math.max(SAMPLE_STRETCH, Math.ceil(parts.expected / SAMPLE_STRETCHES));
  const concurrency = new Concurrency();
  const tally = new ScalingTally();
  const stripe = new Stripe(parts.shard ?? null, parts.scaling.draws);
  let walked = 0;
  let selected = 0;
  let places = 0;
  let planned = 0;
  let lastNs = 0;
  let cappedAtNs: number | null = null;
  let refusedForRate = 0;
  const { source, scaling, openSessions } = parts;
  for (const send of scheduleOf(arrivalsIn(source, parts.range, scaling), scaling)) {
    const { row, intendedOffsetNs } = send;
    if (walked++ % SENDS_A_TURN === 0) await setImmediate();
    if (intendedOffsetNs >= (parts.durationNs ?? Number.POSITIVE_INFINITY)) break;
    if (places === parts.maxRequests) {
      cappedAtNs = lastNs;
      break;
    }
    const own = stripe.holds(send);
    if (isOfWindow(send)) selected += 1;
    if (own && isOfWindow(send)) {
      listener.recorded(row);
      openSessions?.see(row);
    }
    if (!send.kept) {
      if (own) tally.leftOut(send);
      continue;
    }
    const skipped = skipReasonOf(row);
    const sendable = skipped === null || (parts.arrivalsOnly && skipped === 'no_payload');
    if (sendable) {
      places += 1;
      lastNs = intendedOffsetNs;
    }
    const admitted = !sendable || parts.ceiling.admits(intendedOffsetNs);
    if (skipped !== null && own) audit.skip(skipped);
    if (!sendable || !own) continue;
    if (skipped === null && planned % stride < SAMPLE_STRETCH) {
      auditor.add(source.payload(row), playedAs(send, scaling));
    }
    tally.planned(send);
    listener.planned(row, intendedOffsetNs);
    concurrency.add(intendedOffsetNs, row.lastByteOffsetUs === null ? null : row.lastByteOffsetUs * 1000);
    planned += 1;
    if (!admitted) refusedForRate += 1;
  }
  return {
    whole: { recorded: selected, planned: places, cappedAtNs },
    audit: audit.report(),
    scaling: tally.counts(scaling.forgottenSessions, openSessions?.figures() ?? null),
    refusedForRate,
    payloads: auditor.report(),
    connections: concurrency.max,
  };
}
