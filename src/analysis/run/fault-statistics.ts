import { type FaultWindow, isDuring } from '../../core/fault-windows.ts';
import { LIMITS } from '../../core/limits.ts';
import { type CheckedSend, hasFailed, type Send } from '../../core/run.ts';
import type { FaultPhase } from '../../documents/faults.ts';
import type { Threshold } from '../verdict/slo.ts';
import { PartStatistics } from './slice-statistics.ts';

const NS_PER_MS = 1e6;
/** Objectives hold again where they hold for this long, over at least so many requests. */
const HOLD_NS = 5e9;
const HOLD_REQUESTS = 20;

/** What the requests of one fault showed. */
export interface FaultFigures {
  readonly window: FaultWindow;
  readonly inFlight: number;
  readonly before: FaultPhase;
  readonly during: FaultPhase;
  readonly after: FaultPhase;
  /** From its end until the objectives held again; null where that was not seen. */
  readonly recoveryNs: number | null;
  /** Whether enough requests followed for null to mean that they did not hold again. */
  readonly isRecoverySeen: boolean;
  /** The objectives that this went by. */
  readonly recoveredBy: readonly string[];
}

/**
 * Gathers the requests before, during and after each planned fault, at bounded memory, and how long after its end the
 * objectives of the run hold again.
 */
export class FaultStatistics {
  readonly #watches: readonly FaultWatch[];
  /** The phases of sends whose answers are being compared. */
  readonly #compared = new Map<number, readonly Phase[]>();
  readonly #isCompared: boolean;

  /** @param originNs where the judged part begins @param objectives those of the run */
  constructor(
    windows: readonly FaultWindow[],
    originNs: number,
    { objectives, isCompared }: { readonly objectives: readonly Threshold[]; readonly isCompared: boolean },
  ) {
    this.#isCompared = isCompared;
    const gates = gatesOf(objectives);
    this.#watches = windows.map((window) => new FaultWatch(window, windows, originNs, gates));
  }

  addSends(sends: readonly Send[]): void {
    for (const send of sends.filter(({ warmup }) => !warmup)) {
      const phases = this.#watches.flatMap((watch) => watch.add(send) ?? []);
      const isKept = this.#isCompared && this.#compared.size < LIMITS.recoveryRequests;
      if (isKept && send.error === null && send.check == null) this.#compared.set(send.index, phases);
    }
  }

  /** Takes how answers compare whose sends were added without that. */
  addChecks(sends: readonly CheckedSend[]): void {
    for (const send of sends) {
      for (const phase of this.#compared.get(send.index) ?? []) phase.addCheck(send);
      this.#compared.delete(send.index);
    }
  }

  figures(): FaultFigures[] {
    return this.#watches.map((watch) => watch.figures());
  }
}

/** A bound on the share of requests that break one objective. */
interface Gate {
  readonly expression: string;
  readonly isBroken: (send: Send) => boolean;
  /** Broken requests, as a share, from which it does not hold. */
  readonly share: number;
}

/** Objectives on the times and the errors of all requests; without any, at most 1 % of errors. */
function gatesOf(objectives: readonly Threshold[]): Gate[] {
  const gates = objectives.flatMap((threshold) => gateOf(threshold) ?? []);
  return gates.length > 0 ? gates : [{ expression: 'errors: rate<0.01', isBroken: hasFailed, share: 0.01 }];
}

function gateOf({ expression, metric, aggregation, operator, limit, slice }: Threshold): Gate | null {
  if (slice !== null || !operator.startsWith('<')) return null;
  if (metric === 'errors' && aggregation.kind === 'rate')
    return { expression, isBroken: hasFailed, share: limit };
  if (metric !== 'latency' && metric !== 'service') return null;
  const share =
    aggregation.kind === 'percentile' ? 1 - aggregation.percent / 100 : aggregation.kind === 'max' ? 0 : null;
  if (share === null) return null;
  const isBroken = (send: Send) => hasFailed(send) || (serviceNs(send) ?? 0) > limit * NS_PER_MS;
  return { expression, isBroken, share };
}

function serviceNs({ actualOffsetNs, lastByteOffsetNs }: Send): number | null {
  return actualOffsetNs === null || lastByteOffsetNs === null ? null : lastByteOffsetNs - actualOffsetNs;
}

/** A request after a fault: when it was planned, and which objectives it breaks, one bit each. */
interface Later {
  readonly atNs: number;
  readonly broken: number;
}

class FaultWatch {
  readonly #window: FaultWindow;
  readonly #beforeFromNs: number;
  readonly #afterToNs: number;
  readonly #gates: readonly Gate[];
  readonly #before: Phase;
  readonly #during: Phase;
  readonly #after: Phase;
  readonly #later: Later[] = [];
  #inFlight = 0;

  constructor(window: FaultWindow, all: readonly FaultWindow[], originNs: number, gates: readonly Gate[]) {
    this.#window = window;
    this.#gates = gates;
    const ends = all.map(({ toNs }) => toNs).filter((toNs) => toNs <= window.fromNs);
    const starts = all.map(({ fromNs }) => fromNs).filter((fromNs) => fromNs >= window.toNs);
    this.#beforeFromNs = Math.max(originNs, ...ends);
    this.#afterToNs = Math.min(Number.POSITIVE_INFINITY, ...starts);
    this.#before = new Phase(originNs);
    this.#during = new Phase(originNs);
    this.#after = new Phase(originNs);
  }

  /** @returns the phase that it is in; null for none */
  add(send: Send): Phase | null {
    const phase = this.#phaseOf(send);
    if (phase === null) return null;
    phase.add(send);
    if (phase === this.#during && send.intendedOffsetNs < this.#window.fromNs) this.#inFlight += 1;
    const isLater = phase === this.#after && send.actualOffsetNs !== null;
    if (!isLater || this.#later.length >= LIMITS.recoveryRequests) return phase;
    const broken = this.#gates.reduce((bits, { isBroken }, at) => bits | (isBroken(send) ? 1 << at : 0), 0);
    this.#later.push({ atNs: send.intendedOffsetNs, broken });
    return phase;
  }

  figures(): FaultFigures {
    const holdsFromNs = holdsFrom(
      this.#later.sort((a, b) => a.atNs - b.atNs),
      this.#gates,
    );
    return {
      window: this.#window,
      inFlight: this.#inFlight,
      before: this.#before.figures(),
      during: this.#during.figures(),
      after: this.#after.figures(),
      // Where fewer requests follow than it takes to hold, nothing is said of it.
      isRecoverySeen: this.#later.length >= HOLD_REQUESTS && this.#later.length < LIMITS.recoveryRequests,
      recoveryNs: holdsFromNs === null ? null : Math.max(0, holdsFromNs - this.#window.toNs),
      recoveredBy: this.#gates.map(({ expression }) => expression),
    };
  }

  #phaseOf(send: Send): Phase | null {
    const { fromNs, toNs } = this.#window;
    const atNs = send.intendedOffsetNs;
    if (isDuring(this.#window, send)) return this.#during;
    if (atNs < fromNs) return atNs >= this.#beforeFromNs ? this.#before : null;
    return atNs >= toNs && atNs < this.#afterToNs ? this.#after : null;
  }
}

/**
 * The first request that keeps every objective, and from which on they hold for 5 s and over 20 requests; null where
 * none is seen. A fault that nothing followed in time was not recovered from.
 */
function holdsFrom(later: readonly Later[], gates: readonly Gate[]): number | null {
  const over = gates.map(() => 0);
  const count = (each: Later | undefined, step: 1 | -1) => {
    for (const bit of gates.keys()) over[bit]! += step * (((each?.broken ?? 0) >> bit) & 1);
  };
  let to = 0;
  for (const [from, first] of later.entries()) {
    while (to < later.length && (later[to]!.atNs < first.atNs + HOLD_NS || to - from < HOLD_REQUESTS)) {
      count(later[to], 1);
      to += 1;
    }
    if (to - from < HOLD_REQUESTS) return null;
    const isKept = gates.every(({ share }, bit) => over[bit] === 0 || over[bit]! / (to - from) < share);
    if (first.broken === 0 && isKept) return first.atNs;
    count(first, -1);
  }
  return null;
}

/** The requests of one phase. */
class Phase {
  readonly #part: PartStatistics;
  #checked = 0;
  #mismatched = 0;

  constructor(originNs: number) {
    this.#part = new PartStatistics(originNs, []);
  }

  add(send: Send): void {
    this.#part.add(send);
    if (send.check != null) this.addCheck({ check: send.check });
  }

  addCheck({ check }: Pick<CheckedSend, 'check'>): void {
    if (check.result === 'unchecked') return;
    this.#checked += 1;
    if (check.result !== 'same') this.#mismatched += 1;
  }

  figures(): FaultPhase {
    const { outcomes, latency } = this.#part.figures();
    const at = (percent: number) => {
      const ns = latency.scheduled.percentile(percent);
      return ns === null ? null : ns / NS_PER_MS;
    };
    return {
      requests: this.#part.requests,
      failed: outcomes.failed,
      errorShare: outcomes.sent === 0 ? null : outcomes.failed / outcomes.sent,
      ...{ p50Ms: at(50), p95Ms: at(95), p99Ms: at(99) },
      checked: this.#checked,
      mismatched: this.#mismatched,
    };
  }
}
