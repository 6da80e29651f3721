import { LIMITS } from '../../core/limits.ts';
import {
  type CheckedSend,
  type FaultWindow,
  hasFailed,
  isDuring,
  isTurnedAway,
  type Send,
} from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import type { FaultPhase } from '../../documents/faults.ts';
import { boundsRefusals, type Objective } from '../../documents/metrics/objectives.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import { measureOf } from '../metrics/index.ts';
import { PartStatistics } from './slice-statistics.ts';

/** Objectives count as recovered if they hold for this time and for this number of requests. */
export const HOLD_NS = 5e9;
const HOLD_REQUESTS = 20;

/** The figures of one fault. */
export interface FaultFigures {
  readonly window: FaultWindow;
  readonly inFlight: number;
  readonly before: FaultPhase;
  readonly during: FaultPhase;
  readonly after: FaultPhase;
  /** From the end of the fault until the objectives held again; null if this was not observed. */
  readonly recoveryNs: number | null;
  /**
   * If `recoveryNs` is null: whether the objectives certainly did not hold again before the window's recovery limit.
   */
  readonly isRecoverySeen: boolean;
  /** The objectives that recovery was measured with. */
  readonly recoveredBy: readonly string[];
}

/**
 * Collects the requests before, during and after each planned fault, with bounded memory. Measures how long after the
 * fault's end the objectives of the run hold again.
 */
export class FaultStatistics {
  readonly #watches: readonly FaultWatch[];
  /** The phases of sends whose answers are still to be compared. */
  readonly #compared = new Map<number, readonly Phase[]>();
  readonly #isCompared: boolean;
  /** The last planned instant of a sent request. The target was observed until then. */
  #lastNs = 0;

  /** @param originNs start of the judged part @param objectives the objectives of the run */
  constructor(
    windows: readonly FaultWindow[],
    originNs: number,
    { objectives, isCompared }: { readonly objectives: readonly Objective[]; readonly isCompared: boolean },
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

/** A limit of the share of requests that violate one objective. */
interface Gate {
  readonly expression: string;
  readonly isBroken: (send: Send) => boolean;
  /** Whether the request compensates for one that violates it. */
  readonly isSpare?: (send: Send) => boolean;
  /** The objective is violated from this share of violating requests on. */
  readonly share: number;
}

/**
 * Limits from the objectives on times, errors and refusals of all requests. Without objectives, fewer than 1 % may
 * fail. Unless there is one on refusals, fewer than 1 % may be refused beyond the recorded refusals.
 */
function gatesOf(objectives: readonly Objective[]): Gate[] {
  const gates = objectives.flatMap((objective) => gateOf(objective) ?? []);
  if (gates.length === 0) gates.push({ expression: 'errors: rate<0.01', isBroken: hasFailed, share: 0.01 });
  if (boundsRefusals(objectives)) return gates;
  const wasRefused = ({ recorded }: Send) => recorded != null && isRefused(recorded);
  const isBroken = (send: Send) => isRefused(send) && !wasRefused(send);
  const isSpare = (send: Send) => !isRefused(send) && wasRefused(send);
  return [...gates, { expression: 'rejected: rate<0.01', isBroken, isSpare, share: 0.01 }];
}

function isRefused({ status }: { readonly status: number | null }): boolean {
  return status !== null && isTurnedAway(status);
}

function gateOf(objective: Objective): Gate | null {
  const { expression, operator, slice } = objective;
  const { allowedShare, isBroken } = measureOf(objective);
  const share = slice === null && operator.startsWith('<') ? (allowedShare?.(objective) ?? null) : null;
  if (share === null || isBroken === undefined) return null;
  return { expression, isBroken: (send) => isBroken(objective, send, 'target'), share };
}

/**
 * A request after a fault: its planned instant, and the indexes of the objectives that it violates or compensates for.
 */
interface Later {
  readonly atNs: number;
  readonly broken: readonly number[];
  readonly spare: readonly number[];
}

/** Shared by most requests, which violate none. */
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
  /** The first request after the fault that was dropped because of the limit. */
  #droppedNs = Number.POSITIVE_INFINITY;
  #inFlight = 0;

  constructor(window: FaultWindow, all: readonly FaultWindow[], originNs: number, gates: readonly Gate[]) {
    this.#window = window;
    this.#gates = gates;
    const ends = all.map(({ toNs }) => toNs).filter((toNs) => toNs <= window.fromNs);
    // While another fault is active, recovery from this one cannot be observed.
    const others = all.filter(({ toNs }) => toNs > window.toNs);
    const starts = others.map(({ fromNs }) => Math.max(fromNs, window.toNs));
    this.#beforeFromNs = Math.max(originNs, ...ends);
    this.#afterToNs = Math.min(Number.POSITIVE_INFINITY, ...starts);
    this.#before = new Phase(originNs);
    this.#during = new Phase(originNs);
    this.#after = new Phase(originNs);
  }

  /** @returns the phase of the send; null for none */
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

  /** @param lastNs until when the run was observed */
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
      // With fewer requests after the fault than recovery needs, it is unknown whether the target recovered.
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
 * The first request that keeps every objective if all of them also hold afterwards. They must hold for 5 s and 20
 * requests, and until the recovery limit. The last condition detects relapses, which nothing else judges.
 * @param seenNs until when the target was observed; a period that lasts longer is undecided
 * @returns `heldNs`: this request, null if none was seen; `openNs`: the first request that may still be it
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

/** Counts for each objective the requests in a period that violate it. */
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
    const atMs = (percent: number) => {
      const ns = latency.scheduled.percentile(percent);
      return ns === null ? null : ns / NS_PER_MS;
    };
    return {
      requests: this.#part.requests,
      failed: outcomes.failed,
      errorShare: outcomes.sent === 0 ? null : outcomes.failed / outcomes.sent,
      ...byPercent(PERCENTS, atMs, 'Ms'),
      checked: this.#checked,
      mismatched: this.#mismatched,
    };
  }
}
