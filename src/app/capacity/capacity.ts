import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { capacityDocument, playedSteps } from '../../analysis/capacity/build-document.ts';
import { NoiseStatistics } from '../../analysis/capacity/noise.ts';
import { CapacitySearch, type NextStep } from '../../analysis/capacity/search.ts';
import { capacityView } from '../../analysis/capacity/view.ts';
import { CalibrationStatistics } from '../../analysis/run/calibration.ts';
import { RepeatStatistics } from '../../analysis/run/repeats.ts';
import { ciReportOfCapacity } from '../../analysis/verdict/ci-report.ts';
import { systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import type { Logger } from '../../core/ports.ts';
import type { Send } from '../../core/run.ts';
import { countOf, formatInstantUs, formatMs, formatMultiplier } from '../../core/units.ts';
import {
  CAPACITY_SCHEMA_VERSION,
  type CapacityDocument,
  type CapacityPlanDocument,
  type CapacityState,
  type CapacityStep,
  type EndedBy,
  type StepWindow,
} from '../../documents/capacity.ts';
import { joinedDetails } from '../../documents/server-details.ts';
import { encryptionKeyOf, openForReplay } from '../open-capture.ts';
import type { ReplayReporter } from '../replay/progress.ts';
import type { RunRows, StopSource } from '../replay/run.ts';
import { newRunId } from '../run-files.ts';
import { deliverVerdict } from '../verdict/delivery.ts';
import { makeReady } from '../verdict/options.ts';
import { type Settled, settle } from './await-recovery.ts';
import type { CapacityOptions } from './options.ts';
import {
  assertWorth,
  type CapacityPlan,
  capacityPlanDocument,
  endOf,
  factsOf,
  largestLimitMs,
  planCapacity,
  sceneOf,
} from './plan.ts';
import { goingOn, readNoise, readState, writeCapacityDocument, writeNoise, writeState } from './state.ts';
import {
  playStep,
  type StepOrder,
  type StepPlayed,
  type StepScene,
  type StepStop,
  secondsSince,
  stepDirectory,
} from './step.ts';
import { CACHED, isCached, stepOf } from './step-document.ts';

/** The longest recovery of a target between two steps. */
const PATIENCE_MS = 60_000;
/** Before the first step, a target without an answer is missing, unless --ready-when waits for it. */
const FIRST_PATIENCE_MS = 5_000;
/** The longest time that most answers may take, as a multiple of the p99 at 1x. */
const LONGEST_OVER_P99 = 2;

/** Longer texts for purposes that one word does not explain. */
const PURPOSE: Partial<Record<CapacityStep['purpose'], string>> = {
  widen: 'widen: windows contradict the bounds',
};

export interface CapacityDeps {
  /** Called before anything is sent; not for a simulation. */
  readonly onPlan?: (plan: CapacityPlanDocument, options: CapacityOptions) => Promise<void>;
  /** Starts listening for stops, when the search is planned. */
  readonly listen: () => StopSource;
  readonly reporter: ReplayReporter;
  readonly logger: Logger;
  /** Called after each step. */
  readonly onStep?: ((step: CapacityStep) => void) | undefined;
}

/**
 * Searches the breaking point of a target, or of a queue that is fitted to the recording. A dry run sends nothing.
 * @throws AppError the errors of opening a capture; CAPTURE_EMPTY, OPTION_INVALID, OUTPUT_EXISTS, TARGET_UNREACHABLE,
 *   TARGET_FORBIDDEN
 */
export async function findCapacity(
  directory: string,
  options: CapacityOptions,
  deps: CapacityDeps,
): Promise<CapacityDocument | CapacityPlanDocument> {
  const { run, simulates } = options;
  const opened = openForReplay(directory, encryptionKeyOf(run), run.options.window.recorders);
  try {
    const planned = planCapacity(opened, options);
    assertWorth(planned);
    if (simulates) return (await import('./simulate.ts')).simulateCapacity(planned);
    const place = run.options.dryRun ? null : placeOf(planned);
    const kept = place?.kept ?? null;
    const plan = kept === null ? planned : planCapacity(opened, options, kept);
    assertWorth(plan);
    const document = capacityPlanDocument(plan);
    await deps.onPlan?.(document, options);
    return place === null ? document : await searchCapacity(plan, place, deps);
  } finally {
    opened.source.close();
  }
}

/** Where a search is kept, and what goes on of an earlier call; null for nothing. */
interface SearchPlace {
  readonly directory: string;
  readonly kept: CapacityState | null;
}

/** @throws AppError OPTION_INVALID, OUTPUT_EXISTS, OUTPUT_UNWRITABLE, before anything is shown or sent */
function placeOf({ options, settings, generator }: CapacityPlan): SearchPlace {
  makeReady(options.verdict);
  const directory = options.out ?? join('runs', newRunId());
  const left = readState(directory, settings);
  return { directory, kept: left && goingOn(left, generator) };
}

/**
 * Searches how much more than the recorded traffic a target can carry. Keeps its state after each step, so that the
 * same call continues a stopped search.
 * @throws AppError TARGET_UNREACHABLE, TARGET_FORBIDDEN
 */
async function searchCapacity(
  plan: CapacityPlan,
  { directory, kept }: SearchPlace,
  deps: CapacityDeps,
): Promise<CapacityDocument> {
  const { verdict } = plan.options;
  const stop = deps.listen();
  const search = new Search(plan, directory, kept, { ...deps, stop });
  const document = await search.run().finally(() => stop.end());
  if (document.steps.length > 0) writeCapacityDocument(directory, document);
  if (search.wasOver) {
    deps.reporter.note(
      `The search in ${directory} was over at ${document.endedAt}: nothing was sent, and its result is not delivered again`,
      '  for another search give a new directory to --out, or ask this one for more (--budget, --multiplier)',
    );
    return document;
  }
  const outcome = ciReportOfCapacity(document, capacityView(document), verdict.name);
  deps.reporter.note(...deliverVerdict(outcome, directory, verdict));
  return document;
}

type SearchDeps = CapacityDeps & { readonly stop: StopSource };

class Search {
  readonly #plan: CapacityPlan;
  readonly #directory: string;
  readonly #deps: SearchDeps;
  readonly #scene: StepScene;
  readonly #overtime = new AbortController();
  readonly #stepsBefore: number;
  #isDone = false;
  #state: CapacityState;

  constructor(plan: CapacityPlan, directory: string, kept: CapacityState | null, deps: SearchDeps) {
    this.#plan = plan;
    this.#directory = directory;
    this.#deps = deps;
    this.#scene = sceneOf(plan, deps.logger);
    this.#stepsBefore = kept?.steps.length ?? 0;
    this.#state = kept ?? {
      schemaVersion: CAPACITY_SCHEMA_VERSION,
      kind: 'capacity-state',
      settings: plan.settings,
      generator: plan.generator,
      windowS: plan.windowS,
      load: plan.load,
      startedAt: now(),
      endedAt: null,
      calibration: null,
      noise: null,
      baselineMs: null,
      steps: [],
    };
  }

  /** Whether the search was completed before this call, so that nothing was sent. */
  get wasOver(): boolean {
    return this.#isDone && this.#stepsBefore > 0 && this.#state.steps.length === this.#stepsBefore;
  }

  async run(): Promise<CapacityDocument> {
    const { search } = this.#plan;
    const left = search.budgetS - this.#spentS;
    // The search plans within its budget. The timer is for a step that takes longer than planned.
    const timer = setTimeout(() => this.#overtime.abort(), Math.max(0, left + search.overheadS) * 1e3);
    try {
      const endedBy = await this.#search();
      const endedAt = (this.wasOver ? this.#state.endedAt : null) ?? now();
      const { tested, ...facts } = factsOf(this.#plan, this.#options, this.#directory);
      const { serverDetails = {} } = this.#state;
      return capacityDocument(
        { ...facts, tested: { ...tested, serverDetails } },
        this.#state,
        endedBy,
        endedAt,
      );
    } finally {
      clearTimeout(timer);
    }
  }

  get #spentS(): number {
    return this.#state.steps.reduce((sum, { spentS }) => sum + spentS, 0);
  }

  get #options() {
    return { ...this.#plan.search, noise: this.#state.noise?.share ?? 0 };
  }

  get #stop(): StepStop {
    const { stop } = this.#deps;
    return {
      signal: AbortSignal.any([stop.signal, this.#overtime.signal]),
      received: () => stop.received ?? (this.#overtime.signal.aborted ? 'budget' : null),
    };
  }

  async #search(): Promise<EndedBy> {
    if (this.#state.steps.length > 0) {
      this.#deps.reporter.note(
        `Going on with the search in ${this.#directory}: ${countOf(this.#state.steps.length, 'step')} done`,
      );
    }
    const calibrated = await this.#calibrate();
    if (calibrated !== null) return calibrated;
    for (;;) {
      if (this.#state.steps.some(isCached)) {
        this.#isDone = true;
        return 'repeats_cached';
      }
      const next = this.#next();
      if (next.kind === 'done') {
        this.#isDone = true;
        return endOf(next.reason, this.#plan.ceilingBy);
      }
      const ended = await this.#play(next);
      if (ended !== null) return ended;
    }
  }

  #next(): NextStep {
    return new CapacitySearch(this.#options, playedSteps(this.#state.steps)).next();
  }

  /**
   * Replays 1x twice, or the largest allowed load if that is less. Skipped if it was done before or is switched off.
   * @returns why the search ends here; null if it continues
   */
  async #calibrate(): Promise<EndedBy | null> {
    const { options, search } = this.#plan;
    const target = options.run.options.target?.url ?? '';
    if (this.#state.noise === null && options.noiseFile !== null) {
      this.#keep({ noise: readNoise(options.noiseFile, target) });
    }
    if (!options.calibrates || this.#state.calibration !== null) return null;
    const compared = new CalibrationStatistics(options.calibrationBounds);
    const pair = new NoiseStatistics();
    const repeats = new RepeatStatistics();
    const addPair = (sends: readonly Send[]) => {
      pair.addSends(sends);
      for (const send of sends) repeats.add(send);
    };
    const isNoiseKnown = this.#state.noise !== null;
    const before = this.#state.steps.length;
    const order = { multiplier: search.start, windows: 1, longestAnswerS: null } as const;
    const ended = await this.#step(
      { ...order, purpose: 'calibrate' },
      {
        planned: (row) => compared.addPlanned(row),
        ended: (sends) => {
          compared.addSends(sends);
          addPair(sends);
        },
      },
    );
    if (ended !== null) return ended;
    if (!isNoiseKnown) {
      pair.beginSecond();
      const second = await this.#step({ ...order, purpose: 'calibrate' }, { ended: addPair });
      if (second !== null) return second;
    }
    const isOverloaded = this.#state.steps.slice(before).every(isBeyond);
    const isFaster = !isNoiseKnown && repeats.figures()?.faster === true;
    if (isFaster) this.#nameCache();
    const measured = isNoiseKnown || isOverloaded || isFaster ? null : pair.figures();
    if (measured !== null) {
      this.#keep({ noise: measured });
      if (options.noiseFile !== null) writeNoise(options.noiseFile, target, measured, now());
      this.#deps.reporter.note(`  noise: the same requests differ by ${(measured.share * 100).toFixed(1)} %`);
    }
    return this.#compare(compared, isOverloaded);
  }

  /** Reports a cache. Faster repeats are not noise: they show that a cache answers. */
  #nameCache(): void {
    const steps = this.#state.steps.map((step, at, { length }) =>
      at === length - 1 && !isCached(step) ? { ...step, reasons: [...step.reasons, CACHED] } : step,
    );
    this.#keep({ steps });
    this.#deps.reporter.note(`  ${CACHED.code}: ${CACHED.text}`);
  }

  /**
   * Ends the search if the target does not match the recorded server, because another server breaks at another load. A
   * target that cannot carry 1x is always slower, so its latency is not compared.
   */
  #compare(compared: CalibrationStatistics, isOverloaded: boolean): EndedBy | null {
    const whole = compared.report(false);
    const isPart = isOverloaded && whole.representative === false;
    const calibration = isPart ? compared.report(false, true) : whole;
    this.#keep({ calibration });
    const { note } = this.#deps.reporter;
    if (calibration.representative === false) {
      note(`  the target does NOT answer as was recorded: ${calibration.differences.join('; ')}`);
      return 'not_representative';
    }
    if (isPart) note('  this is more than the target stands: its latency is not compared with the recording');
    return null;
  }

  async #play(next: Extract<NextStep, { readonly kind: 'play' }>): Promise<EndedBy | null> {
    const { multiplier, windows, purpose } = next;
    return this.#step({ multiplier, windows, purpose, longestAnswerS: this.#longestAnswerS() });
  }

  /** The longest time of most answers while the target keeps up, by its objectives or by its p99 at 1x. */
  #longestAnswerS(): number {
    const atRest = this.#state.steps.filter(({ multiplier }) => multiplier <= 1);
    const p99Ms = Math.max(0, ...atRest.map(({ latencyMs }) => latencyMs.p99 ?? 0));
    return Math.max(largestLimitMs(this.#plan.options.objectives) ?? 0, LONGEST_OVER_P99 * p99Ms) / 1e3;
  }

  /** Lets the target settle, then replays one step and keeps it. */
  async #step(order: Order, rows?: Partial<RunRows>): Promise<EndedBy | null> {
    const begunNs = systemClock.nowNs();
    const leftS = () => Math.max(0, this.#plan.search.budgetS - this.#spentS - secondsSince(begunNs));
    const stop = this.#stop;
    let isAtRest = endedAtRest(this.#state.steps.at(-1));
    for (;;) {
      const settled = await this.#settle(stop.signal, isAtRest);
      if (stop.signal.aborted) return this.#stopped();
      if (!settled.isSettled) return settled.missing === 'ready' ? 'not_ready' : 'target_failed';
      const directory = this.#nextDirectory();
      const played = await this.#played({ ...order, directory }, { stop, leftS }, rows);
      if (this.#deps.stop.signal.aborted) return 'interrupted';
      // The target was assumed to be at rest but is unreachable. Next time its answers are checked first.
      isAtRest = false;
      if (played === null) continue;
      const { multiplier, purpose } = order;
      const step = stepOf(played, {
        multiplier,
        purpose,
        run: directory.slice(this.#directory.length + 1),
        settledS: settled.tookS,
        spentS: secondsSince(begunNs),
        endedEarly: endedEarly(played, stop.received()),
      });
      const serverDetails = joinedDetails(
        this.#state.serverDetails ?? {},
        played.document.serverDetails ?? {},
      );
      this.#keep({ steps: [...this.#state.steps, step], serverDetails, endedAt: now() });
      this.#deps.reporter.note(...stepLines(step));
      this.#deps.onStep?.(step);
      return stop.signal.aborted ? this.#stopped() : null;
    }
  }

  /** Null if the target cannot be reached. */
  async #played(
    order: Order & StepOrder,
    { stop, leftS }: { readonly stop: StepStop; readonly leftS: () => number },
    rows: Partial<RunRows> | undefined,
  ): Promise<StepPlayed | null> {
    const { reporter } = this.#deps;
    const name = `${formatMultiplier(order.multiplier)}x`;
    reporter.note(
      `Step ${this.#state.steps.length + 1}: ${name}, ${countOf(order.windows, 'window')} of ${formatMs(this.#plan.search.windowSAt(order.multiplier) * 1e3)} (${PURPOSE[order.purpose] ?? order.purpose})`,
    );
    try {
      const played = await playStep(this.#scene, order, stop, stepReporter(reporter, { name, leftS }), rows);
      if (played.end.kind === 'aborted' && played.end.error.code !== 'RUN_ABORTED') throw played.end.error;
      return played;
    } catch (thrown) {
      if (thrown instanceof AppError && thrown.code === 'TARGET_UNREACHABLE') return null;
      throw thrown;
    }
  }

  async #settle(signal: AbortSignal, isAtRest: boolean): Promise<Settled> {
    const { options } = this.#plan;
    const { baselineMs, steps } = this.#state;
    const isFirst = baselineMs === null;
    // The baseline is from a cold target until 1x was replayed.
    const wasCold = steps.at(-1)?.purpose === 'calibrate';
    const settled = await settle({
      scene: this.#scene,
      coolDownMs: isFirst ? 0 : options.coolDownMs,
      readyWhen: options.readyWhen,
      baselineMs,
      isAtRest: isAtRest && !wasCold,
      patienceMs: isFirst && options.readyWhen === null ? FIRST_PATIENCE_MS : PATIENCE_MS,
      signal,
      onWaiting: (what) => this.#deps.reporter.note(`  ${what}`),
    });
    const { probeMs } = settled;
    if (probeMs !== null && (isFirst || (wasCold && probeMs < baselineMs)))
      this.#keep({ baselineMs: probeMs });
    return settled;
  }

  #stopped(): EndedBy {
    return this.#deps.stop.signal.aborted ? 'interrupted' : 'budget';
  }

  /** The next free directory. A stopped step has left a directory, but is not in the state. */
  #nextDirectory(): string {
    let at = this.#state.steps.length + 1;
    while (existsSync(stepDirectory(this.#directory, at))) at += 1;
    return stepDirectory(this.#directory, at);
  }

  #keep(changed: Partial<CapacityState>): void {
    this.#state = { ...this.#state, ...changed };
    writeState(this.#directory, this.#state);
  }
}

type Order = Omit<StepOrder, 'directory'> & Pick<CapacityStep, 'purpose'>;

/** Whether a load is more than the target can carry. */
function isBeyond({ windows, reasons }: CapacityStep): boolean {
  return (
    windows.some(({ result }) => result === 'bad') || reasons.some(({ code }) => code === 'backlog_grew')
  );
}

function now(): string {
  return formatInstantUs(systemClock.epochUs());
}

function endedAtRest(last: CapacityStep | undefined): boolean {
  return last !== undefined && last.endedEarly === null && last.windows.at(-1)?.result === 'good';
}

function endedEarly({ isHopeless, end }: StepPlayed, received: string | null): CapacityStep['endedEarly'] {
  if (end.kind === 'aborted') return 'failed';
  return isHopeless ? 'hopeless' : received;
}

/** Shows only the progress of a step, because the plan of the search was already shown. */
function stepReporter(reporter: ReplayReporter, within: ReplayReporter['within']): ReplayReporter {
  return {
    interactive: reporter.interactive,
    note: () => undefined,
    progress: (parts) => reporter.progress(parts),
    endProgress: () => reporter.endProgress(),
    event: reporter.event,
    within,
  };
}

function stepLines(step: CapacityStep): string[] {
  const { verdict, reasons, latencyMs, ratePerSecond, achieved, windows, endedEarly } = step;
  const count = (result: StepWindow['result']) => windows.filter((each) => each.result === result).length;
  const [good, spoilt] = [count('good'), count('void')];
  const unjudged = spoilt === 0 ? '' : `, ${spoilt} not judged`;
  const p99 = latencyMs.p99 === null ? '–' : formatMs(latencyMs.p99);
  const early = endedEarly === null ? '' : `, ended early (${endedEarly})`;
  const why = reasons.map(({ text }) => text).join('; ');
  return [
    `  ${verdict}: ${good} of ${countOf(windows.length - spoilt, 'window')} good${unjudged}, ${ratePerSecond.toFixed(1)}/s sent, ${achieved.ratePerSecond.toFixed(1)}/s completed, p99 ${p99}${early}${why === '' ? '' : `; ${why}`}`,
  ];
}
