import { unseenOverload } from '../../src/analysis/capacity/boundary.ts';
import { type HealthyStep, LittlesLaw } from '../../src/analysis/capacity/early-stop.ts';
import {
  type DueRequest,
  hopelessAtS,
  playQueue,
  type QueueModel,
  uniformBy,
} from '../../src/analysis/capacity/queue-model.ts';
import {
  CapacitySearch,
  type PlayedStep,
  type PlayedWindow,
  type SearchEnd,
  type SearchOptions,
} from '../../src/analysis/capacity/search.ts';
import { SHARE_OF_BUDGET, windowLengthS } from '../../src/app/capacity/load.ts';
import { settlingOf, windowOf } from '../../src/app/capacity/plan.ts';
import { STEADY_RESIDUAL } from '../../src/app/capacity/step-document.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import { findStretch } from '../../src/replay/window/search.ts';
import { SERVICE_TIMES, type ServiceName, uniform } from '../support/queue-simulator.ts';

/** A recording, seconds of its arrivals. */
export type Recording = readonly number[];

/** A search of a queue by the busiest stretch of a recording, on a virtual clock. */
export interface StretchCase {
  readonly recording: Recording;
  readonly service: ServiceName;
  readonly executors: number;
  /** Share of the executors' time that the busiest stretch uses at 1x. */
  readonly load: number;
  /** The objective: this percentile is below `limitMs`. */
  readonly percent: number;
  readonly limitMs: number;
}

const BUDGET_S = 300;
/** What a search with this budget chooses by default. */
const STRETCH_S = BUDGET_S * SHARE_OF_BUDGET;
const NS_PER_S = 1e9;
const GOAL = 'latency';
const REQUEST_BYTES = 1_000;
/** From the end of a step to the beginning of the next: cool-down, threads and connections. */
const BETWEEN_S = 2;
/** What the app allows for this in advance: the longest drain too. */
const ALLOWED_BETWEEN_S = 7;

/** Traffic whose rate wanders between 25 and 75 requests a second within minutes. */
export function wanderingRecording(seed: number, minutes = 10): Recording {
  const random = uniformBy(seed);
  const arrivals: number[] = [];
  const [slow, quick] = [random() * 2 * Math.PI, random() * 2 * Math.PI];
  for (let now = 0; ; ) {
    now -= Math.log(1 - random()) / 75;
    if (now >= minutes * 60) return arrivals;
    const wave =
      0.7 * Math.sin((2 * Math.PI * now) / 150 + slow) + 0.3 * Math.sin((2 * Math.PI * now) / 37 + quick);
    if (random() * 75 < 50 + 25 * wave) arrivals.push(now);
  }
}

/** The busiest stretch, as seconds from its begin. */
export function busiestOf(recording: Recording): readonly number[] {
  const seconds = [...Map.groupBy(recording, Math.floor)].map(([second, { length }]) => ({
    second,
    exchanges: length,
    latencyCount: 0,
    latencySumUs: 0,
  }));
  const found = findStretch(seconds, {
    kind: 'busiest',
    lengthS: STRETCH_S,
    fromSecond: 0,
    toSecond: Math.floor(recording.at(-1)!),
    minLatencies: 0,
  })!;
  return recording
    .filter((at) => at >= found.fromSecond && at < found.toSecond)
    .map((at) => at - found.fromSecond);
}

/** A case with what does not change from step to step. */
interface Scene extends Omit<StretchCase, 'recording'> {
  readonly stretch: readonly number[];
  readonly model: QueueModel;
  readonly settlingS: number;
  readonly options: SearchOptions;
  /** As `CapacityFacts.unseenAt`. */
  readonly unseenAt: (multiplier: number) => number;
}

export function sceneOf({ recording, ...queue }: StretchCase): Scene {
  const stretch = busiestOf(recording);
  const { executors, service, load, percent, limitMs } = queue;
  const meanS = (executors * load * STRETCH_S) / stretch.length;
  const random = uniform(1);
  const servicesS = Array.from({ length: 20_000 }, () => SERVICE_TIMES[service](random) * meanS);
  const objectives = parseObjectives([`latency: p(${percent})<${limitMs}`]);
  const windowS = windowOf({ budgetS: BUDGET_S, objectives }, (100 * STRETCH_S) / stretch.length);
  const settlingS = settlingOf({ objectives }, windowS);
  const windowSAt = (multiplier: number) => windowLengthS(STRETCH_S, windowS, multiplier);
  return {
    ...queue,
    stretch,
    model: { executors, sizes: [{ upToBytes: Number.POSITIVE_INFINITY, servicesS }] },
    settlingS,
    unseenAt: (multiplier) => unseenOverload(limitMs / 1e3, settlingS, windowSAt(multiplier)),
    options: {
      goals: [GOAL],
      start: 1,
      floor: 0.1,
      ceiling: 64,
      width: 0.1,
      noise: 0,
      windowSAt,
      windowsToDecide: 3,
      overheadS: settlingS + ALLOWED_BETWEEN_S,
      budgetS: BUDGET_S,
    },
  };
}

/** The stretch in a circle, so that it begins when the step has settled. */
function scheduleOf({ stretch }: Scene, multiplier: number, settlingS: number, longS: number): DueRequest[] {
  const lengthS = STRETCH_S / multiplier;
  const schedule: DueRequest[] = [];
  for (let pass = -Math.ceil(settlingS / lengthS); ; pass++) {
    for (const at of stretch) {
      const offsetS = settlingS + pass * lengthS + at / multiplier;
      if (offsetS >= longS) return schedule;
      if (offsetS >= 0) schedule.push({ offsetS, requestBytes: REQUEST_BYTES });
    }
  }
}

/** Plays one step. Its windows are judged as those of a run, without the noise of a generator. */
function playedStep(
  scene: Scene,
  multiplier: number,
  windows: number,
  random: () => number,
  settlingS = scene.settlingS,
): PlayedStep {
  const { model, options, percent, limitMs } = scene;
  const windowS = options.windowSAt(multiplier);
  const longS = settlingS + windows * windowS;
  const schedule = scheduleOf(scene, multiplier, settlingS, longS);
  const latencies = playQueue(model, schedule, random);
  const counts = Array.from({ length: windows }, () => ({ all: 0, over: 0 }));
  for (const [at, { offsetS }] of schedule.entries()) {
    const count = counts[Math.floor((offsetS - settlingS) / windowS + 1e-9)];
    if (count === undefined) continue;
    count.all += 1;
    if (latencies[at]! * 1e3 >= limitMs) count.over += 1;
  }
  const longestAnswerS = limitMs / 1e3;
  const seconds = Map.groupBy(schedule, ({ offsetS }) => Math.floor(offsetS));
  const perS = [...seconds.values()].map(({ length }) => length);
  const mean = schedule.length / longS;
  const variance = perS.reduce((sum, each) => sum + (each - mean) ** 2, 0) / perS.length;
  const healthy: HealthyStep = {
    offeredPerS: mean,
    dispersion: Math.max(1, variance / mean),
    longestAnswerS,
  };
  const law = new LittlesLaw(longS * NS_PER_S, longestAnswerS * NS_PER_S);
  law.add(
    schedule.map(({ offsetS }, at) => ({
      actualOffsetNs: offsetS * NS_PER_S,
      lastByteOffsetNs: (offsetS + latencies[at]!) * NS_PER_S,
    })),
  );
  const isSteady = (law.residual ?? 0) <= STEADY_RESIDUAL;
  const endS = hopelessAtS(schedule, latencies, healthy);
  const whole = endS === null ? windows : Math.max(0, Math.floor((endS - settlingS) / windowS));
  const shown = counts
    .slice(0, whole)
    .map(({ all, over }) =>
      shownAs(over <= all * (1 - percent / 100) ? (isSteady ? true : null) : false, false),
    );
  if (whole < windows) shown.push(shownAs(false, true));
  return { multiplier, windows: shown, spentS: Math.min(longS, endS ?? longS) + BETWEEN_S };
}

function shownAs(kept: boolean | null, endedEarly: boolean): PlayedWindow {
  return { kept: { [GOAL]: kept }, endedEarly, isVoid: false, isCapped: false, lossRatio: 0 };
}

/** Searches the queue completely, after 1x was compared twice. */
export function searchedStretch(
  scene: Scene,
  seed: number,
): { readonly search: CapacitySearch; readonly reason: SearchEnd } {
  const random = uniformBy(seed);
  const search = new CapacitySearch(scene.options);
  for (let compared = 0; compared < 2; compared++) search.add(playedStep(scene, 1, 1, random));
  for (;;) {
    const next = search.next();
    if (next.kind === 'done') return { search, reason: next.reason };
    search.add(playedStep(scene, next.multiplier, next.windows, random));
  }
}

const STEADY_S = 60;
const TRIED = 150;

/** The multiplier at which half of the windows pass, by brute force. */
export function trueMultiplier(scene: Scene): number {
  const random = uniformBy(2 ** 40);
  const shareAt = (multiplier: number, steps: number) => {
    let good = 0;
    for (let step = 0; step < steps; step++) {
      const { windows } = playedStep(scene, multiplier, 2, random, STEADY_S);
      good += windows.filter(({ kept }) => kept[GOAL] !== false).length;
    }
    return good / (2 * steps);
  };
  let [low, high] = [0.2 / scene.load, 1.5 / scene.load];
  for (let round = 0; round < 9; round++) {
    const middle = Math.sqrt(low * high);
    if (shareAt(middle, round < 5 ? 20 : TRIED) > 0.5) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}
