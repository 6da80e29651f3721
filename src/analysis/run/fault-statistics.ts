import { type FaultWindow, isDuring } from '../../core/fault-windows.ts';
import { LIMITS } from '../../core/limits.ts';
import { type CheckedSend, hasFailed, isTurnedAway, type Send } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import type { FaultPhase } from '../../documents/faults.ts';
import type { Threshold } from '../objectives/slo.ts';
import { PartStatistics } from './slice-statistics.ts';

/** Objectives have recovered when they hold for this long, over at least this many requests. */
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
  /** Whether null means that they did not hold again by the end of the window's time to recover. */
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
  /** The last planned instant of what was sent: until then the target was seen. */
  #lastNs = 0;

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
      if (send.actualOffsetNs !== null) this.#lastNs = Math.max(this.#lastNs, send.intendedOffsetNs);
      const phases = this.#watches.flatMap((watch) => watch.add(send) ?? []);
      const isKept = this.#isCompared && this.#compared.size < LIMITS.recoveryRequests;
      if (isKept && send.error === null && send.check == null) this.#compared.set(send.index, phases);
    }
  }

  /** Adds comparison results for sends added earlier. */
  addChecks(sends: readonly CheckedSend[]): void {
    for (const send of sends) {
      for (const phase of this.#compared.get(send.index) ?? []) phase.addCheck(send);
      this.#compared.delete(send.index);
    }
  }

  figures(): FaultFigures[] {
    return this.#watches.map((watch) => watch.figures(this.#lastNs));
  }
}

/** A bound on the share of requests that break one objective. */
interface Gate {
  readonly expression: string;
  readonly isBroken: (send: Send) => boolean;
  /** Whether it makes up for one that breaks it. */
  readonly isSpare?: (send: Send) => boolean;
  /** Broken requests, as a share, from which it does not hold. */
  readonly share: number;
}

/**
 * Objectives on the times, the errors and the refusals of all requests. Without any, at most 1 % of errors; and unless
 * it is stated, at most 1 % of refusals beyond those that were recorded.
 */
function gatesOf(objectives: readonly Threshold[]): Gate[] {
  const gates = objectives.flatMap((threshold) => gateOf(threshold) ?? []);
  if (gates.length === 0) gates.push({ expression: 'errors: rate<0.01', isBroken: hasFailed, share: 0.01 });
  const isStated = objectives.some(({ metric, slice }) => metric === 'rejected' && slice === null);
  if (isStated) return gates;
  const wasRefused = ({ recorded }: Send) => recorded != null && isRefused(recorded);
  const isBroken = (send: Send) => isRefused(send) && !wasRefused(send);
  const isSpare = (send: Send) => !isRefused(send) && wasRefused(send);
  return [...gates, { expression: 'rejected: rate<0.01', isBroken, isSpare, share: 0.01 }];
}

function isRefused({ status }: { readonly status: number | null }): boolean {
  return status !== null && isTurnedAway(status);
}

function gateOf({ expression, metric, aggregation, operator, limit, slice }: Threshold): Gate | null {
  if (slice !== null || !operator.startsWith('<')) return null;
  if (metric === 'errors' && aggregation.kind === 'rate')
    return { expression, isBroken: hasFailed, share: limit };
  if (metric === 'rejected' && aggregation.kind === 'rate')
    return { expression, isBroken: isRefused, share: limit };
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

/** A request after a fault: when it was planned, and the places of the objectives that it breaks or makes up for. */
interface Later {
  readonly atNs: number;
  readonly broken: readonly number[];
  readonly spare: readonly number[];
}

/** Most requests break none: they share it. */
const NONE: readonly number[] = [];

class FaultWatch {
  readonly #window: FaultWindow;
  readonly #beforeFromNs: number;
  readonly #afterToNs: number;
  readonly #gates: readonly Gate[];
  readonly #before: Phase;
  readonly #during: Phase;
  readonly #after: Phase;
  readonly #later: Later[] = [];
  /** The first request after it that was not kept, for its number. */
  #droppedNs = Number.POSITIVE_INFINITY;
  #inFlight = 0;

  constructor(window: FaultWindow, all: readonly FaultWindow[], originNs: number, gates: readonly Gate[]) {
    this.#window = window;
    this.#gates = gates;
    const ends = all.map(({ toNs }) => toNs).filter((toNs) => toNs <= window.fromNs);
    // Where another fault is on, nothing is learned of how the target recovers from this one.
    const others = all.filter(({ toNs }) => toNs > window.toNs);
    const starts = others.map(({ fromNs }) => Math.max(fromNs, window.toNs));
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
    if (phase === this.#after && send.actualOffsetNs !== null) this.#addLater(send);
    return phase;
  }

  #addLater(send: Send): void {
    const atNs = send.intendedOffsetNs;
    if (this.#later.length >= LIMITS.recoveryRequests) {
      this.#droppedNs = Math.min(this.#droppedNs, atNs);
      return;
    }
    const placesOf = (isSet: (gate: Gate) => boolean | undefined) => {
      const places = this.#gates.flatMap((gate, at) => (isSet(gate) ? [at] : []));
      return places.length === 0 ? NONE : places;
    };
    const broken = placesOf(({ isBroken }) => isBroken(send));
    this.#later.push({ atNs, broken, spare: placesOf(({ isSpare }) => isSpare?.(send)) });
  }

  /** @param lastNs until when the run was seen */
  figures(lastNs: number): FaultFigures {
    const { toNs, recoveredNs } = this.#window;
    const later = this.#later.filter(({ atNs }) => atNs < this.#droppedNs).sort((a, b) => a.atNs - b.atNs);
    const seenNs = Math.min(lastNs, this.#afterToNs, this.#droppedNs);
    const { heldNs, openNs } = holdsFrom(later, this.#gates, { seenNs, recoveredNs });
    return {
      window: this.#window,
      inFlight: this.#inFlight,
      before: this.#before.figures(),
      during: this.#during.figures(),
      after: this.#after.figures(),
      // With fewer requests after the fault than recovery takes, it is unknown.
      isRecoverySeen: later.length >= HOLD_REQUESTS && seenNs >= recoveredNs && openNs > recoveredNs,
      recoveryNs: heldNs === null ? null : Math.max(0, heldNs - toNs),
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
 * The first request that keeps every objective, and after which they hold for 5 s and 20 requests, and until the time
 * to recover is over. The last condition catches relapses, which nothing else judges.
 * @param seenNs until when the target was observed; a period that lasts longer is undecided
 * @returns `heldNs`: that request, null if none was seen; `openNs`: the first that may still be it
 */
function holdsFrom(
  later: readonly Later[],
  gates: readonly Gate[],
  { seenNs, recoveredNs }: { readonly seenNs: number; readonly recoveredNs: number },
): { heldNs: number | null; openNs: number } {
  const soon = new BrokenShares(gates);
  const whole = new BrokenShares(gates);
  let to = 0;
  let wholeTo = 0;
  for (const [from, first] of later.entries()) {
    while (to < later.length && (later[to]!.atNs < first.atNs + HOLD_NS || to - from < HOLD_REQUESTS)) {
      soon.count(later[to]!, 1);
      to += 1;
    }
    while (wholeTo < later.length && (wholeTo < to || later[wholeTo]!.atNs < recoveredNs)) {
      whole.count(later[wholeTo]!, 1);
      wholeTo += 1;
    }
    const isGood = first.broken.length === 0 && soon.areKept && whole.areKept;
    const isSeen = to - from >= HOLD_REQUESTS && seenNs >= first.atNs + HOLD_NS;
    if (isGood && isSeen) return { heldNs: first.atNs, openNs: first.atNs };
    if (first.broken.length === 0 && !isSeen) return { heldNs: null, openNs: first.atNs };
    soon.count(first, -1);
    whole.count(first, -1);
  }
  return { heldNs: null, openNs: Number.POSITIVE_INFINITY };
}

/** How many of the requests in a time break each objective. */
class BrokenShares {
  readonly #gates: readonly Gate[];
  readonly #over: number[];
  #requests = 0;

  constructor(gates: readonly Gate[]) {
    this.#gates = gates;
    this.#over = gates.map(() => 0);
  }

  count({ broken, spare }: Later, step: 1 | -1): void {
    this.#requests += step;
    for (const at of broken) this.#over[at]! += step;
    for (const at of spare) this.#over[at]! -= step;
  }

  get areKept(): boolean {
    return this.#gates.every(({ share }, at) => {
      const over = this.#over[at]!;
      return over <= 0 || over / this.#requests < share;
    });
  }
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
      p50Ms: at(50),
      p95Ms: at(95),
      p99Ms: at(99),
      checked: this.#checked,
      mismatched: this.#mismatched,
    };
  }
}
