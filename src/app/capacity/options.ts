import type { Tier } from '../../analysis/capacity/tiers.ts';
import { Problems } from '../../core/errors.ts';
import {
  type Asked,
  askedFor,
  deciding,
  grouped,
  listOf,
  type OptionParser,
  ofSteps,
  part,
  partDefaults,
  partsOf,
  readOptions,
  text,
  toggle,
  value,
} from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import {
  parseCount,
  parseMultiplier,
  parsePositiveMs,
  parseShare,
  parseWaitMs,
  refused,
} from '../../core/units.ts';
import { factsOf } from '../../documents/metrics/metrics.ts';
import {
  boundsRefusals,
  type Objective,
  parseObjectives,
  withRejected,
} from '../../documents/metrics/objectives.ts';
import type { CalibrationLimits } from '../../documents/replay.ts';
import { headersFor, type MonitorOptions, objectiveNames } from '../../monitors/options.ts';
import { PrometheusSource } from '../../monitors/prometheus-api.ts';
import { BOUND_PARTS, BOUNDS_HELP, calibrationLimitsOf, switched } from '../../replay/options/parsers.ts';
import { cancelsOption } from '../../replay/options/replay-flags.ts';
import { withOpenSlo } from '../open-slo.ts';
import { RUN_OPTIONS, type RunOptions, resolveRunOptions } from '../replay/options.ts';
import { VERDICT_OPTIONS, type VerdictRequest } from '../verdict/options.ts';

/** Options of a replay that its steps can have: those that the search does not set itself. */
export const STEP_OPTIONS = {
  ...ofSteps(RUN_OPTIONS),
  // An answer that nobody waited for leaves a window undecided, and so the whole search.
  ...deciding('plan', cancelsOption('begun')),
};
const SCALING = { scaling: RUN_OPTIONS.scaling };
const CANCELS = { cancels: STEP_OPTIONS.cancels };

const parseWidth: OptionParser<number> = (given, what) => {
  const share = parseShare(given, what);
  if (share >= 0.01 && share <= 0.5) return share;
  throw refused(what, given, 'is not between 1% and 50%');
};

const parseCost: OptionParser<number> = (given, what) => {
  const cost = Number(given);
  if (given.trim() !== '' && Number.isFinite(cost) && cost >= 0) return cost;
  throw refused(what, given, 'is not an amount of money, such as 2.5');
};

/** Parses `64`, or `0.5..64`. */
const parseMultipliers: OptionParser<{ readonly min: number; readonly max: number }> = (given, what) => {
  const [, least, most = given] = /^(.+)\.\.(.+)$/.exec(given) ?? [];
  const max = parseMultiplier(most, what);
  const min = least === undefined ? Math.min(LEAST_MULTIPLIER, max) : parseMultiplier(least, what);
  if (min <= max) return { min, max };
  throw refused(what, given, 'has a least multiplier above the greatest', 'Give MIN..MAX, such as 0.5..64.');
};

const LEAST_MULTIPLIER = 0.1;

interface StatedTier {
  readonly name: string;
  readonly text: string;
}

const parseTier: OptionParser<StatedTier> = (given, what) => {
  const [, name, text] = /^\s*([\w-]+)\s*=(.*\S.*)$/s.exec(given) ?? [];
  if (name !== undefined && text !== undefined) return { name, text: text.trim() };
  throw refused(what, given, 'is not NAME=OBJECTIVES, such as "gold=latency: p(99)<200"');
};

/** Options of the search itself. */
export const SEARCH_OPTIONS = grouped('The search', {
  out: text(
    '-o, --out <directory>',
    'directory of the search; resumes a stopped search found there (default: runs/<id>)',
  ),
  budget: value('--budget <time>', 'about how long the search may take', parsePositiveMs, { default: '10m' }),
  width: value('--width <share>', 'stop when the interval of the breaking point is this narrow', parseWidth, {
    default: '10%',
  }),
  step: value(
    '--step <time>',
    'length of the stretch that is 1x, and least length of the windows that are judged (default: by the objectives and the budget)',
    parsePositiveMs,
  ),
  multiplier: value(
    '--multiplier <max|min..max>',
    'never replay more than this; give up if even the least fails',
    parseMultipliers,
    { default: '0.1..64' },
  ),
  compareAt1x: value(
    '--compare-at-1x <on|off|parts>',
    `first replay 1x twice: compare with the recording and measure the noise; ${BOUNDS_HELP}`,
    switched(partsOf(BOUND_PARTS), partDefaults(BOUND_PARTS)),
    { default: 'on' },
  ),
  noise: text('--noise <file>', 'file that keeps the measured noise of each target'),
  readyWhen: text(
    '--ready-when <url|query>',
    'begin a step only when this URL answers 200, or this PromQL returns something (needs --monitor prom=URL)',
  ),
  coolDown: value('--cool-down <time>', 'pause between steps', parseWaitMs, { default: '1s' }),
  simulate: toggle(
    '--simulate',
    'forecast from the recording alone: search a queue that is fitted to it, and send nothing',
  ),
  tier: listOf(
    '--tier <name=objectives>',
    'a named set of objectives with its own result, such as "gold=latency: p(99)<200"; those of --slo hold for every tier',
    parseTier,
  ),
  replicas: value(
    '--replicas <n|parts>',
    'replicas that the target has; cost=AMOUNT: of one replica per hour',
    partsOf({ count: part(parseCount, '1'), cost: part(parseCost) }, 'count'),
    { default: '1' },
  ),
  ...VERDICT_OPTIONS,
});

export const CAPACITY_OPTIONS = { ...STEP_OPTIONS, ...SEARCH_OPTIONS };

/** All options of a search. */
export interface CapacityOptions {
  /** Options of every step, except its multiplier and its window. `--out` belongs to the search. */
  readonly run: RunOptions;
  /** The objectives of all tiers, and those without a tier. */
  readonly objectives: readonly Objective[];
  readonly tiers: readonly Tier[];
  /** Null for `runs/<id>`. */
  readonly out: string | null;
  readonly budgetS: number;
  readonly width: number;
  /** Null to choose it by the objectives. */
  readonly windowS: number | null;
  readonly maxMultiplier: number;
  readonly minMultiplier: number;
  readonly calibrates: boolean;
  /** The allowed differences between target and recording at 1x. */
  readonly calibrationBounds: CalibrationLimits;
  /** Searches a queue that is fitted to the recording, without a target. */
  readonly simulates: boolean;
  readonly noiseFile: string | null;
  /** Null for no condition. */
  readonly readyWhen: ReadyWhen | null;
  readonly coolDownMs: number;
  readonly replicas: number;
  readonly replicaCost: number | null;
  /** Outputs of the search. Its steps have none. */
  readonly verdict: VerdictRequest;
  /** Whether `--scaling` was given. Otherwise each step uses the scaling for its multiplier. */
  readonly isScalingStated: boolean;
  /** Whether requests need values of answers: known of an opened capture, and false before. */
  readonly awaitsValues: boolean;
}

/** The condition before a step: a URL that answers 200, or a Prometheus query that returns a result. */
export type ReadyWhen =
  | { readonly url: string }
  | { readonly promql: string; readonly prometheus: PrometheusSource };

/** Whether a queue model supports an objective: times of complete answers, and metrics that it never violates. */
function isForecastable(objective: Objective): boolean {
  return [objective, ...objective.limits].every((each) => factsOf(each).isForecast);
}

/** The shortest budget that is accepted. */
export const SHORTEST_BUDGET_S = 10;

/** @throws AppError OPTION_INVALID listing every problem */
export function resolveCapacityOptions(
  asked: Asked<typeof CAPACITY_OPTIONS>,
  problems = new Problems(),
): CapacityOptions {
  const own = readOptions(SEARCH_OPTIONS, askedFor(SEARCH_OPTIONS, asked), problems);
  const forSteps = askedFor(STEP_OPTIONS, asked);
  const { scaling } = readOptions(SCALING, askedFor(SCALING, asked), new Problems());
  const { cancels } = readOptions(CANCELS, askedFor(CANCELS, asked), problems);
  const waiting = { ...forSteps.stated, cancels };
  // A simulation is like a dry run here: it sends nothing and needs no target.
  const stated = own.simulate ? { ...waiting, dryRun: true } : waiting;
  const ofRun = { ...forSteps, stated };
  const run = problems.attempt(
    () =>
      resolveRunOptions(
        { ...ofRun, originOf: (key) => asked.originOf(key as never) },
        own.readyWhen !== null && !isUrl(own.readyWhen),
      ),
    null,
  );
  const { objectives, tiers } = objectivesByTier(run, own.tier, problems);
  if (run !== null && objectives.length === 0 && own.tier.length === 0) {
    problems.add(
      '--slo is missing: a breaking point is where an objective breaks',
      'Such as --slo "latency: p(99)<200", or a preset such as --slo realtime.',
    );
  }
  for (const objective of objectives) {
    const { metric, expression, series } = objective;
    if (own.simulate && !isForecastable(objective))
      problems.add(
        `--simulate cannot forecast ${expression}: a queue only knows how long whole answers take`,
        'State objectives on latency, service or goodput.',
      );
    if (!factsOf(objective).hasSlices && series === undefined)
      problems.add(`--slo: ${expression}: ${metric} is of a whole run, and a search judges windows`);
  }
  if (run?.options.scaling === 'superpose') {
    problems.add('--scaling superpose cannot be searched: it has as many steps as there are other stretches');
  }
  const readyWhen = problems.optional(own.readyWhen, (given) => readyWhenOf(given, run?.monitors ?? null));
  if (own.budget < SHORTEST_BUDGET_S * 1e3) problems.add(`--budget is less than ${SHORTEST_BUDGET_S}s`);
  const calibrates = own.compareAt1x !== null && !own.simulate;
  problems.throwIfAny();
  if (run === null) throw new Error('a problem was not thrown');
  return {
    run: {
      ...run,
      options: tiers.length === 0 ? run.options : { ...run.options, slo: objectives.map(textOf) },
      out: null,
    },
    objectives,
    tiers,
    ...picked(own, 'out', 'width'),
    budgetS: own.budget / 1e3,
    windowS: own.step === null ? null : own.step / 1e3,
    maxMultiplier: own.multiplier.max,
    minMultiplier: own.multiplier.min,
    calibrates,
    calibrationBounds: calibrationLimitsOf(own.compareAt1x),
    simulates: own.simulate,
    noiseFile: own.noise,
    readyWhen,
    coolDownMs: own.coolDown,
    replicas: own.replicas.count,
    replicaCost: own.replicas.cost,
    verdict: picked(own, 'name', 'ciReport', 'history'),
    isScalingStated: scaling.way !== null,
    awaitsValues: false,
  };
}

function textOf({ expression }: Objective): string {
  return expression;
}

/**
 * All objectives without duplicates, and those of each tier. If one tier limits refusals, the others get the implied
 * limit.
 */
function objectivesByTier(
  run: RunOptions | null,
  stated: readonly StatedTier[],
  problems: Problems,
): Pick<CapacityOptions, 'objectives' | 'tiers'> {
  if (run === null) return { objectives: [], tiers: [] };
  const { slo } = run.options;
  const names = objectiveNames(run.monitors);
  const common = problems.attempt(() => parseObjectives(slo, names), []);
  const twice = stated.find(({ name }, at) => stated.findIndex((each) => each.name === name) < at);
  if (twice !== undefined)
    problems.add(`--tier ${twice.name} is stated twice: write its objectives into one`);
  const sets = stated.map(({ name, text }) =>
    problems.attempt(() => parseObjectives([...slo, ...withOpenSlo([text])], names, `--tier ${name}`), []),
  );
  const bounds = boundsRefusals(sets.flat());
  const tiers = stated.map(({ name }, at) => {
    const objectives = sets[at] ?? [];
    return { name, objectives: bounds ? withRejected(objectives, null) : objectives };
  });
  // With tiers, `--slo` is only part of them. On its own it would imply a limit of errors, although a tier may state
  // another one.
  const all = [...(stated.length > 0 ? [] : common), ...tiers.flatMap(({ objectives }) => objectives)];
  return { objectives: [...new Map(all.map((each) => [each.expression, each])).values()], tiers };
}

function isUrl(given: string): boolean {
  return /^https?:/.test(given) && URL.canParse(given);
}

/** @throws AppError OPTION_INVALID for a query without a Prometheus */
function readyWhenOf(given: string, monitors: MonitorOptions | null): ReadyWhen {
  if (isUrl(given)) return { url: given };
  const place = monitors?.monitor.find(({ kind }) => kind === 'prometheus');
  if (monitors !== null && place !== undefined && 'url' in place) {
    const prometheus = new PrometheusSource('ready', place.url, 0, [], headersFor(monitors, place));
    return { promql: given, prometheus };
  }
  throw refused('--ready-when', given, 'is no URL, and no --monitor prom=URL could be asked', READY_HINT);
}

const READY_HINT = 'Such as http://staging:8000/v2/health/ready, or --monitor prom=http://prometheus:9090.';
