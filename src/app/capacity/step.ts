import { join } from 'node:path';
import { AnsweredRate } from '../../analysis/capacity/curve.ts';
import { BacklogWatch, LittlesLaw } from '../../analysis/capacity/early-stop.ts';
import { StepWindows } from '../../analysis/capacity/step-windows.ts';
import type { Tier } from '../../analysis/capacity/tiers.ts';
import type { Threshold } from '../../analysis/objectives/slo.ts';
import { systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import type { CaptureSource, Logger, TimeRange } from '../../core/ports.ts';
import { hasFailed, isOfWrongServer, type Send } from '../../core/run.ts';
import type { StepWindow } from '../../documents/capacity.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { rowFilterOf } from '../../replay/filter.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import { defaultScaling, type ScalingName, unreachable } from '../../replay/plan/scaling.ts';
import type { ReplayEnd } from '../../replay/run.ts';
import type { Target } from '../../replay/target.ts';
import type { OpenedCapture } from '../open-capture.ts';
import { waitsForOf } from '../replay/document.ts';
import { chooseReplay, planOf, statedBounds } from '../replay/plan.ts';
import { type RunOptions, runPartsOf } from '../replay/prepare.ts';
import type { ReplayReporter } from '../replay/progress.ts';
import { type RunRows, replayMaker, runReplay, type StopSource } from '../replay/run.ts';

const SECOND_US = 1e6;
/** Requests of a probe, and how much of the recording it may reach into. */
const PROBE_REQUESTS = 3;
const PROBE_MS = 2_000;
/** Places of the recording that are looked at before a target is called wrong, and requests that it must refuse there. */
const PLACES = 8;
const LEAST_REFUSED = 20;

/** What every step of a search shares. */
export interface StepScene {
  readonly opened: OpenedCapture;
  readonly run: RunOptions;
  readonly isScalingStated: boolean;
  readonly target: Target;
  readonly thresholds: readonly Threshold[];
  readonly tiers: readonly Tier[];
  /** What is played of the capture at 1x, in order. */
  readonly parts: readonly TimeRange[];
  /** Each step is played so long before its first window. */
  readonly settlingS: number;
  readonly windowS: number;
  /** The largest limit on the time of an answer; null where no objective has one. */
  readonly limitS: number | null;
  /** Of the recording, by filters: forecasts are of all of it. */
  readonly selectedShare: number;
  /** How long the last answers of a step are waited for. */
  readonly drainMs: number;
  readonly logger: Logger;
}

export interface StepOrder {
  readonly multiplier: number;
  readonly windows: number;
  /** Where in the recording it begins, as a share of its length. */
  readonly position: number;
  readonly directory: string;
  /** Longest time that most answers may take, seconds; null, or 0, where that is not known: the step plays to its end. */
  readonly longestAnswerS: number | null;
}

/** What stops a step from outside. */
export interface StepStop {
  readonly signal: AbortSignal;
  /** What stopped it; null while nothing has. */
  readonly received: () => string | null;
}

/** A step that is over. */
export interface StepPlayed {
  readonly windows: readonly StepWindow[];
  /** Of `LittlesLaw`; null where nothing was in flight, or nobody knows how long answers take. */
  readonly littlesLaw: number | null;
  /** Answers in a second of its windows. */
  readonly answeredPerS: number;
  readonly document: ReplayDocument;
  /** Objectives on what monitors saw: they are of the whole step. */
  readonly monitored: readonly string[];
  readonly end: ReplayEnd;
  readonly isHopeless: boolean;
  /** Planned requests in a second, on average. */
  readonly ratePerSecond: number;
}

/**
 * Plays the recording at one multiplier, as a run of its own, and judges it window by window.
 * @throws AppError as `runReplay`
 */
export async function playStep(
  scene: StepScene,
  order: StepOrder,
  stop: StepStop,
  reporter: ReplayReporter,
  also?: Partial<RunRows>,
): Promise<StepPlayed> {
  const { opened, run, target, logger, thresholds, settlingS, windowS } = scene;
  const stepS = settlingS + order.windows * windowS;
  const options = stepOptions(scene, order, stepS * 1e3);
  const choice = chooseReplay(opened, options);
  const plan = planOf(choice);
  const parts = runPartsOf(
    { ...run, options, out: order.directory },
    opened,
    { choice, plan, target },
    logger,
  );
  const ratePerSecond =
    (scene.selectedShare * plan.forecast.plannedExchanges) / Math.max(1e-9, plan.window.plannedSpanNs / 1e9);
  const { windows, backlog, answered, law } = measuresOf(scene, order, options, ratePerSecond);
  const hopeless = new AbortController();
  const untilNs = () => (hopeless.signal.aborted ? seenNs : stepS * 1e9);
  let seenNs = 0;
  const result = await runReplay({
    ...parts,
    settlingNs: settlingS * 1e9,
    listen: () => stopSourceOf(stop, hopeless.signal),
    reporter: {
      ...reporter,
      event: (event) => {
        reporter.event?.(event);
        if (event.event !== 'second' || event.phase !== 'run' || hopeless.signal.aborted) return;
        seenNs = event.elapsedS * 1e9;
        if (backlog === null) return;
        backlog.add({ due: windows.dueAt(seenNs), inFlight: event.inFlight });
        if (backlog.isHopeless) hopeless.abort();
      },
    },
    rows: {
      planned: (row, offsetNs) => {
        windows.addPlanned(row, offsetNs);
        also?.planned?.(row, offsetNs);
      },
      ended: (sends) => {
        windows.addSends(sends);
        law?.add(sends);
        answered.add(sends, untilNs());
        also?.ended?.(sends);
      },
    },
  });
  const { end, document } = result;
  const isHopeless = end.kind === 'aborted' || (end.kind === 'interrupted' && hopeless.signal.aborted);
  windows.finish(isHopeless ? 'hopeless' : end.kind === 'complete' ? 'complete' : 'cut', seenNs);
  const monitored = thresholds
    .filter(({ metric }) => metric === 'monitored')
    .map(({ expression }) => expression);
  return {
    windows: windows.over,
    littlesLaw: law?.residual ?? null,
    answeredPerS: answered.perSecond(end.kind === 'complete' ? untilNs() : seenNs),
    document,
    monitored,
    end,
    isHopeless,
    ratePerSecond,
  };
}

/** What follows a step. Without a time that most answers may take there is no backlog to tell, and no law to ask. */
function measuresOf(
  scene: StepScene,
  { multiplier, windows: count, longestAnswerS }: StepOrder,
  options: ReplayOptions,
  offeredPerS: number,
) {
  const { thresholds, tiers, settlingS, windowS } = scene;
  const dispersion = dispersionOf(scene, multiplier, options.scaling);
  const knownS = longestAnswerS || scene.limitS;
  const lengths = { settlingNs: settlingS * 1e9, windowNs: windowS * 1e9 };
  return {
    windows: new StepWindows({
      ...lengths,
      multiplier,
      tiers,
      bounds: statedBounds(options),
      waitsFor: waitsForOf(options),
      // What monitors saw is known when the step is over.
      thresholds: thresholds.filter(({ metric }) => metric !== 'monitored'),
    }),
    backlog: longestAnswerS ? new BacklogWatch({ offeredPerS, dispersion, longestAnswerS }) : null,
    answered: new AnsweredRate(lengths.settlingNs),
    law: knownS === null ? null : new LittlesLaw((settlingS + count * windowS) * 1e9, knownS * 1e9),
  };
}

/**
 * Sends the first few requests at 1x that were answered while recording, and keeps nothing of them. Answers are waited
 * for as long as a replay does.
 * @returns the mean service time, milliseconds; null where one failed, or the target refuses all of the recording
 * @throws AppError TARGET_UNREACHABLE, TARGET_FORBIDDEN, CAPTURE_EMPTY where nothing was answered
 */
export async function probe(scene: StepScene, signal: AbortSignal): Promise<number | null> {
  const answered = { ...scene, opened: { ...scene.opened, source: answeredOf(scene.opened.source) } };
  const over = await sentFrom(answered, firstPlace(answered.opened.source, scene), signal);
  const tookNs = over.flatMap(({ actualOffsetNs, lastByteOffsetNs }) =>
    actualOffsetNs === null || lastByteOffsetNs === null ? [] : lastByteOffsetNs - actualOffsetNs,
  );
  if (over.length === 0 || tookNs.length < over.length) return null;
  const isWrong = over.every(isOfWrongServer) && (await refusesAll(answered, signal));
  if (isWrong || over.some((send) => hasFailed(send) && !isOfWrongServer(send))) return null;
  return tookNs.reduce((sum, each) => sum + each, 0) / tookNs.length / 1e6;
}

/** Whether the target refuses requests from all over the recording. Ends at the first that it does not. */
async function refusesAll(scene: StepScene, signal: AbortSignal): Promise<boolean> {
  let refused = 0;
  for (let place = 0; place < PLACES && !signal.aborted; place += 1) {
    const sends = await sentFrom(scene, place / PLACES, signal).catch((thrown: unknown) => {
      // The recording has no request there.
      if (thrown instanceof AppError && thrown.code === 'CAPTURE_EMPTY') return [];
      throw thrown;
    });
    if (!sends.every(isOfWrongServer)) return false;
    refused += sends.length;
  }
  return refused >= LEAST_REFUSED;
}

/** Sends a few requests from a place of the recording. @returns what ended; what was open when we stopped it says nothing */
async function sentFrom(scene: StepScene, position: number, signal: AbortSignal): Promise<Send[]> {
  const { opened, run, target, logger } = scene;
  const { drainDeadlineMs } = run.options;
  const order = { multiplier: 1, position };
  const options = { ...stepOptions(scene, order, PROBE_MS), drainDeadlineMs, maxRequests: PROBE_REQUESTS };
  const choice = chooseReplay(opened, options);
  const plan = planOf(choice);
  const parts = runPartsOf({ ...run, options }, opened, { choice, plan, target }, logger);
  const replay = replayMaker('probe', parts)(plan, choice.source);
  await replay.check();
  const sends: Send[] = [];
  await replay.run(
    {
      recorded: () => undefined,
      planned: () => undefined,
      ended: (ended) => {
        sends.push(...ended);
      },
    },
    signal,
  );
  return sends.filter(({ actualOffsetNs, error }) => actualOffsetNs !== null && error !== 'stopped');
}

/** The capture without requests that had no answer or a 5xx. */
function answeredOf(source: CaptureSource): CaptureSource {
  return {
    *rows(range) {
      for (const row of source.rows(range)) {
        if (row.outcome === 'completed' && (row.status ?? 200) < 500) yield row;
      }
    },
    payload: (row) => source.payload(row),
    close: () => source.close(),
  };
}

/** Where the first request lies that is played, as a share of the length of all parts; 0 without one. */
function firstPlace(source: CaptureSource, { run, parts }: Pick<StepScene, 'run' | 'parts'>): number {
  const isPlayed = rowFilterOf(run.options.filters, (row) => source.payload(row)) ?? (() => true);
  const lengthUs = parts.reduce((sum, { fromUs, toUs }) => sum + toUs - fromUs, 0);
  let beforeUs = 0;
  for (const range of parts) {
    for (const row of source.rows(range)) {
      if (isPlayed(row)) return (beforeUs + row.arrivalUs - range.fromUs) / lengthUs;
    }
    beforeUs += range.toUs - range.fromUs;
  }
  return 0;
}

/** A search asks nothing of a step but its multiplier, where it begins and how long it lasts. */
export function stepOptions(
  {
    run: { options },
    isScalingStated,
    parts,
    drainMs,
  }: Pick<StepScene, 'run' | 'isScalingStated' | 'parts' | 'drainMs'>,
  { multiplier, position }: Pick<StepOrder, 'multiplier' | 'position'>,
  durationMs: number,
): ReplayOptions {
  const isAsked = isScalingStated && unreachable(options.scaling, multiplier, multiplier) === null;
  return {
    ...options,
    multiplier,
    scaling: isAsked ? options.scaling : defaultScaling(multiplier, multiplier),
    drainDeadlineMs: drainMs,
    window: { ...options.window, ranges: begunAt(parts, position), search: null, loops: null, durationMs },
  };
}

/** The parts from a share of their length on, and what comes before it behind them. */
export function begunAt(parts: readonly TimeRange[], position: number): readonly TimeRange[] {
  const lengthUs = parts.reduce((sum, { fromUs, toUs }) => sum + toUs - fromUs, 0);
  let leftUs = Math.round(position * lengthUs);
  for (const [at, { fromUs, toUs }] of parts.entries()) {
    if (leftUs < toUs - fromUs) {
      const cutUs = fromUs + leftUs;
      const before = leftUs === 0 ? [] : [{ fromUs, toUs: cutUs }];
      return [{ fromUs: cutUs, toUs }, ...parts.slice(at + 1), ...parts.slice(0, at), ...before];
    }
    leftUs -= toUs - fromUs;
  }
  return parts;
}

/**
 * Variance over mean of the arrival counts, in windows that become one second of the step. A copy is in the second of
 * its original, so bursts grow by the multiplier.
 */
export function dispersionOf(
  { opened, parts }: Pick<StepScene, 'opened' | 'parts'>,
  multiplier: number,
  scaling: ScalingName,
): number {
  const copies = scaling === 'amplify' ? multiplier : 1;
  const seconds = Math.max(1, Math.round(multiplier / copies));
  const counts = parts.flatMap((range) => {
    const from = Math.floor(range.fromUs / SECOND_US);
    const inWindows = new Array<number>(Math.floor((range.toUs / SECOND_US - from) / seconds)).fill(0);
    for (const { second, exchanges } of opened.overview.seconds(range)) {
      const at = Math.floor((second - from) / seconds);
      if (at >= 0 && at < inWindows.length) inWindows[at] = (inWindows[at] ?? 0) + exchanges;
    }
    return inWindows;
  });
  if (counts.length < 2) return 1;
  const mean = counts.reduce((sum, each) => sum + each, 0) / counts.length;
  const variance = counts.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (counts.length - 1);
  return mean === 0 ? 1 : Math.max(1, (copies * variance) / mean);
}

function stopSourceOf({ signal, received }: StepStop, hopeless: AbortSignal): StopSource {
  return {
    signal: AbortSignal.any([signal, hopeless]),
    get received() {
      return received() ?? (hopeless.aborted ? 'hopeless' : null);
    },
    end: () => undefined,
  };
}

/** Where a step's run is kept, from 1. */
export function stepDirectory(out: string, step: number): string {
  return join(out, 'steps', String(step).padStart(2, '0'));
}

/** Seconds since an instant of the monotonic clock. */
export function secondsSince(ns: number): number {
  return (systemClock.nowNs() - ns) / 1e9;
}
