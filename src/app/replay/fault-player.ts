import { type FaultFigures, HOLD_NS } from '../../analysis/run/fault-statistics.ts';
import type { Clock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { picked } from '../../core/picked.ts';
import type { Logger } from '../../core/ports.ts';
import type { FaultWindow } from '../../core/run.ts';
import { formatMs, NS_PER_MS, NS_PER_S, parseDurationMs } from '../../core/units.ts';
import {
  attributesProblem,
  type FaultDocument,
  type FaultsDocument,
  faultPlanSchema,
  type PlannedFault,
} from '../../documents/faults.ts';
import { factsOf } from '../../documents/metrics/metrics.ts';
import {
  IMPLIED_ERRORS,
  impliedOf,
  type Objective,
  ofFault,
  parseObjectives,
} from '../../documents/metrics/objectives.ts';
import { NO_FAULT } from '../../documents/metrics/slices.ts';
import { FaultControl } from '../fault-control.ts';
import { invalidYaml, readYaml, type YamlProblem } from '../yaml-file.ts';

/** Without a renewal of the lease in this time, the relay removes all faults. */
const LEASE_S = 5;
const RENEW_MS = 1_000;
/** Interval of checks whether the run has begun. */
const LOOK_MS = 5;
/** A fault that begins or ends later than this was not as planned. */
const LATE_NS = 0.25e9;

const PURPOSE = {
  what: 'fault plan',
  hint: 'See docs/guides/dependency-faults.md for a whole plan.',
};

/** One fault of a plan, with times on the clock of a run. */
interface ScheduledFault extends FaultWindow {
  readonly stated: PlannedFault;
  readonly during: readonly Objective[];
}

/** A plan of faults for a run. */
export interface FaultPlan {
  readonly control: string;
  readonly faults: readonly ScheduledFault[];
}

/**
 * Reads the file of `--faults` and calculates the times for a run.
 * @param plannedNs length of the judged part of the run; shares refer to it
 * @param originNs start of the judged part, after the warm-up
 * @throws AppError OPTION_INVALID listing every problem with its place
 */
export function readFaultPlan(path: string, plannedNs: number, originNs: number): FaultPlan {
  const [document] = readYaml(path, PURPOSE);
  const read = faultPlanSchema.safeParse(document?.value);
  const placeOf = (keys: readonly PropertyKey[]) => document?.placeOf(keys) ?? null;
  if (!read.success) {
    const problems = read.error.issues.map(({ path: keys, message }) => ({
      text: `${keys.join('.')}: ${message}`,
      place: placeOf(keys),
    }));
    throw invalidYaml(path, problems, PURPOSE);
  }
  const problems: YamlProblem[] = [];
  const names = new Set<string>();
  const faults = read.data.faults.flatMap((stated, index) => {
    const refuse = (key: string, text: string) =>
      problems.push({ text: `faults.${index}.${key}: ${text}`, place: placeOf(['faults', index, key]) });
    const name = stated.name ?? `${stated.proxy}-${stated.fault}`;
    if (names.has(name) || name === NO_FAULT)
      refuse('name', `give each fault its own name; ${name} is taken`);
    names.add(name);
    const unfit = attributesProblem(stated);
    if (unfit !== null) refuse('attributes', unfit);
    const at = (key: 'start' | 'duration' | 'recovery') =>
      timeOf(stated[key], plannedNs, (why) => refuse(key, why));
    const [startNs, durationNs, recoveryNs] = [at('start'), at('duration'), at('recovery')];
    const during = duringOf(stated, name, (why) => refuse('during', why));
    if (startNs >= plannedNs) refuse('start', `the run is over after ${formatMs(plannedNs / NS_PER_MS)}`);
    if (durationNs === 0) refuse('duration', 'is 0');
    const [fromNs, toNs] = [originNs + startNs, originNs + startNs + durationNs];
    const window = { name, fromNs, toNs, recoveredNs: toNs + recoveryNs, isJudgedApart: during.length > 0 };
    return [{ ...window, stated, during }];
  });
  // Without valid times, gaps and overlaps are not those of the plan.
  const conflicts =
    problems.length > 0 ? [] : [...shortGapsOf(faults, originNs + plannedNs), ...overlapsOf(faults)];
  for (const [index, key, text] of conflicts) {
    problems.push({ text: `faults.${index}.${key}: ${text}`, place: placeOf(['faults', index, key]) });
  }
  if (problems.length > 0) throw invalidYaml(path, problems, PURPOSE);
  return { control: read.data.control, faults: faults.sort((a, b) => a.fromNs - b.fromNs) };
}

/** A place in a plan: index of the fault, key; and why it is refused. */
type Conflict = readonly [number, string, string];

/**
 * Faults with a limit for the recovery that may not be seen: until the next fault or the end of the run there is less
 * time than the limit and the time for which the objectives must hold.
 */
function* shortGapsOf(faults: readonly ScheduledFault[], endNs: number): Generator<Conflict> {
  const text = (ns: number) => formatMs(ns / NS_PER_MS);
  for (const [index, { toNs, recoveredNs }] of faults.entries()) {
    const [next] = faults.filter((other) => other.toNs > toNs).toSorted((a, b) => a.fromNs - b.fromNs);
    const untilNs = next?.fromNs ?? endNs;
    const gapNs = Math.max(0, untilNs - toNs);
    const neededNs = recoveredNs - toNs + HOLD_NS;
    if (recoveredNs === toNs || gapNs >= neededNs) continue;
    const lack = text(toNs + neededNs - untilNs);
    const [what, move] =
      next === undefined
        ? ['the run ends', `Start this fault ${lack} earlier`]
        : [`fault ${next.name} begins`, `Start that fault ${lack} later`];
    const when = gapNs === 0 ? 'no later than this one ends' : `${text(gapNs)} after this one ends`;
    const needs = `the limit of ${text(recoveredNs - toNs)}, and ${text(HOLD_NS)} in which the objectives must hold`;
    const shorter = gapNs > HOLD_NS ? `state at most ${text(gapNs - HOLD_NS)}` : 'leave out recovery';
    yield [
      index,
      'recovery',
      `${what} ${when}, but ${text(neededNs)} are needed: ${needs}. ${move}, or ${shorter}`,
    ];
  }
}

/** Outages of a proxy that overlap, so that they could not be applied. */
function* overlapsOf(faults: readonly ScheduledFault[]): Generator<Conflict> {
  for (const [index, fault] of faults.entries()) {
    const { fromNs, toNs, stated } = fault;
    if (stated.fault !== 'down') continue;
    const downs = faults.slice(0, index).filter((other) => isDownOf(stated.proxy, other));
    const met = downs.find((other) => other.fromNs <= toNs && other.toNs >= fromNs);
    if (met !== undefined) {
      const text = `fault ${met.name} has ${stated.proxy} down at that time, and its end would end this fault too`;
      yield [index, 'start', text];
    }
  }
}

function isDownOf(proxy: string, { stated }: ScheduledFault): boolean {
  return stated.fault === 'down' && stated.proxy === proxy;
}

function timeOf(text: string | undefined, plannedNs: number, refuse: (why: string) => void): number {
  if (text === undefined) return 0;
  const share = /^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim());
  if (share !== null) {
    if (Number(share[1]) > 100) refuse(`${text} is more than the run`);
    return Math.round((Number(share[1]) / 100) * plannedNs);
  }
  try {
    return parseDurationMs(text.trim(), 'time') * NS_PER_MS;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    refuse(`${JSON.stringify(text)} is neither a time such as 30s nor a share such as 40%`);
    return 0;
  }
}

function duringOf({ during }: PlannedFault, name: string, refuse: (why: string) => void): Objective[] {
  try {
    const stated = parseObjectives(during);
    const whole = stated.find((each) => !factsOf(each).hasSlices);
    if (whole !== undefined) refuse(`${whole.metric} is of the whole run; give it to --slo`);
    return ofFault(stated, name);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    refuse(error.message);
    return [];
  }
}

/**
 * The objectives of a run with faults. In the window of a fault with its own objectives these apply, elsewhere those of
 * the run. If the run has none, at most 1 % may fail outside the windows, so that a fault hides no failures.
 */
export function withFaults(objectives: readonly Objective[], { faults }: FaultPlan): readonly Objective[] {
  const isApart = faults.some(({ isJudgedApart, toNs, recoveredNs }) => isJudgedApart || recoveredNs > toNs);
  if (!isApart) return objectives;
  const outside = objectives.length > 0 ? objectives : impliedOf(IMPLIED_ERRORS);
  return [...ofFault(outside, NO_FAULT), ...faults.flatMap(({ during }) => during)];
}

interface Applied {
  appliedNs: number | null;
  removedNs: number | null;
  problem: string | null;
  connections: number;
  injected: number;
}

/** Applies a plan of faults on the clock of a run, over the control API of a relay. */
export class FaultPlayer {
  readonly #plan: FaultPlan;
  readonly #control: FaultControl;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #applied: Applied[];
  /** Connections that each proxy accepted before the run. */
  #accepted: Readonly<Record<string, number>> = {};
  readonly #timers = new Set<NodeJS.Timeout>();
  #renewing: NodeJS.Timeout | null = null;
  /** Serialises changes of the relay. */
  #last: Promise<void> = Promise.resolve();
  #ended = false;
  /** Start of the run, on the clock. */
  #startNs = 0;

  /** @param runId identifies the lease */
  constructor(plan: FaultPlan, runId: string, clock: Clock, logger: Logger) {
    this.#plan = plan;
    this.#control = new FaultControl(plan.control, runId);
    this.#clock = clock;
    this.#logger = logger;
    this.#applied = plan.faults.map(() => ({
      appliedNs: null,
      removedNs: null,
      problem: null,
      connections: 0,
      injected: 0,
    }));
  }

  /** Called before anything is sent. @throws AppError TARGET_UNREACHABLE, or INPUT_INVALID for an unknown proxy */
  async check(): Promise<void> {
    const proxies = await this.#control.proxies();
    for (const { stated, name } of this.#plan.faults) {
      if (proxies.some((proxy) => proxy.name === stated.proxy)) continue;
      throw new AppError('INPUT_INVALID', `fault ${name}: the relay has no proxy ${stated.proxy}`, {
        hint: `It has: ${proxies.map((proxy) => proxy.name).join(', ') || 'none'}.`,
      });
    }
    const busy = proxies.find(({ enabled, toxics }) => !enabled || toxics.length > 0);
    if (busy !== undefined) {
      const fields = { proxy: busy.name, faults: busy.toxics.map(({ name }) => name), enabled: busy.enabled };
      this.#logger.warn(fields, 'the relay has faults that this run did not set; they stay');
    }
  }

  /** @param elapsedNs time since the start of the run; 0 before it */
  async begin(elapsedNs: () => number): Promise<void> {
    await this.#control.renew(LEASE_S);
    // Read now, because reading them when a fault is due would delay it.
    const counts = await this.#control.counts();
    for (const index of this.#applied.keys()) this.#count(index, counts, -1);
    this.#accepted = await this.#control.accepted();
    this.#renewing = setInterval(() => {
      this.#control.renew(LEASE_S).catch((error: unknown) => {
        this.#logger.warn({ reason: reasonOf(error) }, 'the lease of the planned faults was not renewed');
      });
    }, RENEW_MS);
    const begun = () => {
      const nowNs = elapsedNs();
      if (nowNs === 0) this.#later(LOOK_MS, begun);
      else {
        this.#startNs = this.#clock.nowNs() - nowNs;
        this.#schedule();
      }
    };
    begun();
  }

  /** Removes all active faults. If the relay does not respond, the end of the lease removes them. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#last;
    for (const [index, { appliedNs, removedNs }] of this.#applied.entries()) {
      if (appliedNs !== null && removedNs === null) await this.#attempt(index, () => this.#remove(index));
    }
    await this.#lookForUnmet();
    if (this.#renewing) clearInterval(this.#renewing);
    await this.#control.endLease().catch((error: unknown) => {
      this.#logger.warn(
        { reason: reasonOf(error) },
        `the end did not reach the relay; it resets within ${LEASE_S} s`,
      );
    });
  }

  /** What was applied, and its effects. @param isWhole whether the schedule was completed */
  document(figures: readonly FaultFigures[], isWhole: boolean): FaultsDocument {
    const documents = this.#plan.faults.map((fault, index) =>
      faultDocument(fault, this.#applied[index] as Applied, figures[index] as FaultFigures, isWhole),
    );
    return { control: this.#plan.control, faults: documents };
  }

  #schedule(): void {
    const inMs = (offsetNs: number) =>
      Math.max(0, (this.#startNs + offsetNs - this.#clock.nowNs()) / NS_PER_MS);
    for (const [index, { fromNs, toNs }] of this.#plan.faults.entries()) {
      this.#later(inMs(fromNs), () => this.#then(index, () => this.#apply(index)));
      this.#later(inMs(toNs), () => this.#then(index, () => this.#remove(index)));
    }
  }

  #later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }

  #then(index: number, act: () => Promise<void>): void {
    this.#last = this.#last.then(() => (this.#ended ? undefined : this.#attempt(index, act)));
  }

  /** What fails here, such as the log, must not end the process or keep the other faults from their end. */
  async #attempt(index: number, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#at(index)[1].problem ??= reasonOf(error);
    }
  }

  async #apply(index: number): Promise<void> {
    const [fault, applied] = this.#at(index);
    const { stated, name } = fault;
    const { proxy, fault: type, stream, toxicity, attributes } = stated;
    try {
      if (type === 'down') await this.#control.enable(proxy, false);
      else await this.#control.add(proxy, { name, type, stream, toxicity, attributes });
      applied.appliedNs = this.#clock.nowNs() - this.#startNs;
      this.#logger.info({ fault: name, proxy, type }, 'a planned fault is on');
    } catch (error) {
      applied.problem = `it could not be set: ${reasonOf(error)}`;
      this.#logger.error({ fault: name, reason: reasonOf(error) }, 'a planned fault could not be set');
    }
  }

  async #remove(index: number): Promise<void> {
    const [{ stated, name }, applied] = this.#at(index);
    if (applied.appliedNs === null) return;
    try {
      if (stated.fault === 'down') await this.#bringBack(stated.proxy, applied);
      else await this.#control.remove(stated.proxy, name);
      applied.removedNs = this.#clock.nowNs() - this.#startNs;
      this.#count(index, await this.#control.counts(), 1);
      if (stated.fault === 'down') this.#leaveEarlier(index);
      this.#logger.info({ fault: name, proxy: stated.proxy }, 'a planned fault is over');
    } catch (error) {
      applied.problem ??= `it was gone, or could not be taken away, at its end: ${reasonOf(error)}`;
      this.#logger.error({ fault: name, reason: reasonOf(error) }, 'a planned fault could not be taken away');
    }
  }

  /**
   * Ends a `down`. A relay reports an error for a removed toxic, but not for a proxy that is already enabled, so this
   * checks first.
   */
  async #bringBack(proxy: string, applied: Applied): Promise<void> {
    const shown = (await this.#control.proxies()).find(({ name }) => name === proxy);
    if (shown?.enabled === true) applied.problem ??= 'the proxy was switched on before its end';
    await this.#control.enable(proxy, true);
  }

  /**
   * A relay does not count refused clients. A `down` had no effect if it cut no connection and no new one was
   * attempted.
   */
  async #lookForUnmet(): Promise<void> {
    const unmet = this.#plan.faults.flatMap(({ stated }, index) => {
      const applied = this.#applied[index] as Applied;
      return stated.fault === 'down' && applied.connections === 0 ? [{ applied, proxy: stated.proxy }] : [];
    });
    if (unmet.length === 0) return;
    try {
      const accepted = await this.#control.accepted();
      for (const { applied, proxy } of unmet)
        if (accepted[proxy] === this.#accepted[proxy]) applied.injected = 0;
    } catch (error) {
      for (const { applied } of unmet)
        applied.problem ??= `it is not known whether anybody met it: ${reasonOf(error)}`;
    }
  }

  /** A relay keeps its counts after a fault, so earlier counts are subtracted. */
  #count(index: number, counts: Awaited<ReturnType<FaultControl['counts']>>, sign: 1 | -1): void {
    const [{ stated, name }, applied] = this.#at(index);
    const toxic = stated.fault === 'down' ? 'down' : name;
    const own = counts.find(
      (each) => each.proxy === stated.proxy && each.toxic === toxic && each.type === stated.fault,
    );
    applied.connections += sign * (own?.connections ?? 0);
    applied.injected += sign * (own?.injected ?? 0);
  }

  /** All outages of a proxy share one counter, so the counts of earlier ones are subtracted. */
  #leaveEarlier(index: number): void {
    const [{ stated }, applied] = this.#at(index);
    for (const [other, fault] of this.#plan.faults.entries()) {
      const { removedNs, connections, injected } = this.#applied[other] as Applied;
      if (other === index || removedNs === null || !isDownOf(stated.proxy, fault)) continue;
      applied.connections -= connections;
      applied.injected -= injected;
    }
  }

  #at(index: number): [ScheduledFault, Applied] {
    return [this.#plan.faults[index] as ScheduledFault, this.#applied[index] as Applied];
  }
}

function faultDocument(
  { stated, name, fromNs, toNs, recoveredNs, during }: ScheduledFault,
  applied: Applied,
  figures: FaultFigures,
  isWhole: boolean,
): FaultDocument {
  const seconds = (ns: number | null) => (ns === null ? null : ns / NS_PER_S);
  const limitNs = recoveredNs > toNs ? recoveredNs - toNs : null;
  // Measured from the actual end of the fault, because until then failures belong to the fault.
  const lateNs = Math.max(0, (applied.removedNs ?? toNs) - toNs);
  const recoveryNs = figures.recoveryNs === null ? null : Math.max(0, figures.recoveryNs - lateNs);
  const isUnseen = recoveryNs === null && !isWhole;
  return {
    name,
    ...picked(stated, 'proxy', 'fault', 'stream', 'toxicity', 'attributes'),
    fromS: fromNs / NS_PER_S,
    toS: toNs / NS_PER_S,
    appliedS: seconds(applied.appliedNs),
    removedS: seconds(applied.removedNs),
    problem: applied.problem ?? latenessOf(applied, { fromNs, toNs }, isWhole),
    connections: Math.max(0, applied.connections),
    injected: Math.max(0, applied.injected),
    judgedBy: during.map(({ expression }) => expression),
    ...picked(figures, 'inFlight', 'before', 'during', 'after'),
    recovery: {
      s: seconds(recoveryNs),
      limitS: seconds(limitNs),
      by: [...figures.recoveredBy],
      ok:
        limitNs === null || isUnseen
          ? null
          : recoveryNs === null
            ? figures.isRecoverySeen
              ? false
              : null
            : recoveryNs <= limitNs,
    },
  };
}

/** Why a fault was not as planned; null if it was. A stopped run may have ended before the fault. */
function latenessOf(
  { appliedNs, removedNs }: Applied,
  { fromNs, toNs }: Pick<FaultWindow, 'fromNs' | 'toNs'>,
  isWhole: boolean,
): string | null {
  if (appliedNs === null) return isWhole ? 'the run ended before it began' : null;
  if (appliedNs - fromNs > LATE_NS) return `it was on ${formatMs((appliedNs - fromNs) / NS_PER_MS)} late`;
  if (removedNs !== null && removedNs - toNs > LATE_NS) {
    return `it was over ${formatMs((removedNs - toNs) / NS_PER_MS)} late`;
  }
  return null;
}
