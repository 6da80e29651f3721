import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import {
  type ClassifiedLoad,
  type Goal,
  LoadStat,
  relevantBounds,
} from '../../src/analysis/capacity/classify.ts';
import type { CapacitySearch } from '../../src/analysis/capacity/search.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { QUEUE_CASES, SEARCH, searchedQueue } from '../scale/searched-queue.ts';
import { repeated } from '../support/long-form.ts';
import { needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CASES = repeated(2_000, 20_000);
/** Of each queue. */
const SEEDS = repeated(2, 50);
const REQUESTS = 1_000;
const WINDOW_S = 8;

/** Loads are ranks: MLRsearch and we order them the same way. */
interface DrawnTrial {
  readonly load: number;
  readonly seconds: number;
  readonly lost: number;
}

interface DrawnCase {
  readonly goal: Goal;
  /** The largest share of lost requests of a good window. */
  readonly lossRatio: number;
  readonly trials: readonly DrawnTrial[];
}

interface Classified {
  readonly loads: readonly {
    readonly load: number;
    readonly estimates: readonly [optimistic: boolean, pessimistic: boolean];
    readonly lossRatio: number;
  }[];
  readonly lower: number | null;
  readonly upper: number | null;
}

/** Windows around a boundary, some of which took longer. Durations are sums of powers of two: exact. */
function drawnCase(random: SeededRandom): DrawnCase {
  const boundary = 1 + random.below(10);
  const loads = 1 + random.below(10);
  const trials = Array.from({ length: 1 + random.below(40) }, (): DrawnTrial => {
    const load = 1 + random.below(loads);
    const isLossy = random.below(100) < 50 + 12 * (load - boundary);
    return {
      load,
      seconds: WINDOW_S + random.below(3) / 4,
      lost: isLossy ? 1 + random.below(REQUESTS) : random.below(4) === 0 ? 10 : 0,
    };
  });
  const exceedRatio = [0.5, 0.5, 0.25, 0.75][random.below(4)]!;
  const durationS = WINDOW_S * (1 + random.below(6));
  return { goal: { exceedRatio, durationS }, lossRatio: 0.01, trials };
}

function classified({ goal, lossRatio, trials }: DrawnCase): Classified {
  const stats = new Map<number, LoadStat>();
  for (const { load, seconds, lost } of trials) {
    const stat = stats.get(load) ?? new LoadStat(goal);
    stats.set(load, stat);
    const share = lost / REQUESTS;
    stat.add({ isGood: share <= lossRatio, seconds, lossRatio: share });
  }
  const loads = [...stats].map(([multiplier, stat]): ClassifiedLoad => ({ multiplier, stat }));
  const { lower, upper } = relevantBounds(loads);
  return {
    loads: loads
      .sort((a, b) => a.multiplier - b.multiplier)
      .map(({ multiplier, stat }) => {
        const { optimistic, pessimistic } = stat.estimates();
        return { load: multiplier, estimates: [optimistic, pessimistic], lossRatio: stat.lossRatio };
      }),
    lower: lower?.multiplier ?? null,
    upper: upper?.multiplier ?? null,
  };
}

/** The windows of a whole search of a queue, as MLRsearch takes them; a step that was given up counts as often as decides it. */
function searchedCase(search: CapacitySearch): DrawnCase {
  const { steps } = search;
  const { windowSAt, windowsToDecide } = SEARCH;
  // The same for all loads of these queues.
  const windowS = windowSAt(1);
  const loads = [...new Set(steps.map(({ multiplier }) => multiplier))].sort((a, b) => a - b);
  const trials = steps.flatMap(({ multiplier, windows }) =>
    windows.flatMap(({ kept, endedEarly }): DrawnTrial[] => {
      const isGood = Object.values(kept)[0] ?? null;
      if (isGood === null) return [];
      const seconds = windowS * (endedEarly && !isGood ? windowsToDecide : 1);
      const load = loads.indexOf(multiplier) + 1;
      return [{ load, seconds, lost: isGood ? 0 : REQUESTS }];
    }),
  );
  return {
    goal: { exceedRatio: 0.5, durationS: windowS * windowsToDecide },
    lossRatio: 0.01,
    trials,
  };
}

/** What the search itself says of its loads, as ranks. */
function boundsOf(search: CapacitySearch): Pick<Classified, 'lower' | 'upper'> {
  const loads = [...new Set(search.steps.map(({ multiplier }) => multiplier))].sort((a, b) => a - b);
  const { lower, upper } = search.results()[0]!.bounds;
  const rankOf = (bound: ClassifiedLoad | null) => bound && loads.indexOf(bound.multiplier) + 1;
  return { lower: rankOf(lower), upper: rankOf(upper) };
}

async function classesBy(python: string, cases: readonly DrawnCase[]): Promise<Classified[]> {
  const file = join(temporaryDirectory(), 'cases.json');
  writeFileSync(file, JSON.stringify(cases));
  const program = join(repositoryRoot, 'test/peers/programs/mlrsearch_classes.py');
  const { status, said, stdout } = await runPeer(python, [program, file]);
  expect(status, said).toBe(0);
  return JSON.parse(stdout) as Classified[];
}

const PYTHON = pythonWith(['MLRsearch==1.2.1']);

needing(PYTHON, 'MLRsearch classifies the same windows the same way', async (python) => {
  const random = new SeededRandom(20);
  const cases = Array.from({ length: CASES }, () => drawnCase(random));
  const theirs = await classesBy(python, cases);
  expect(theirs).toHaveLength(CASES);
  for (const [at, each] of cases.entries()) expect(classified(each), `case ${at}`).toEqual(theirs[at]);
  // The cases are worth comparing: all three classes, both bounds, and loads that were stood above one that was not.
  const loads = theirs.flatMap((each) => each.loads);
  const undecided = loads.filter(({ estimates: [optimistic, pessimistic] }) => optimistic !== pessimistic);
  expect(undecided.length).toBeGreaterThan(CASES / 10);
  expect(theirs.filter(({ lower, upper }) => lower !== null && upper !== null).length).toBeGreaterThan(
    CASES / 10,
  );
  const inverted = theirs.filter(({ upper, loads: all }) =>
    all.some(({ load, estimates }) => upper !== null && load > upper && estimates[1]),
  );
  expect(inverted.length).toBeGreaterThan(CASES / 100);
});

needing(PYTHON, 'MLRsearch bounds the searched queues as the search does', async (python) => {
  const searches = QUEUE_CASES.flatMap((queue) =>
    Array.from({ length: SEEDS }, (_, seed) => searchedQueue(queue, seed + 1).search),
  );
  const theirs = await classesBy(python, searches.map(searchedCase));
  expect(theirs.map(({ lower, upper }) => ({ lower, upper }))).toEqual(searches.map(boundsOf));
  expect(theirs.every(({ lower, upper }) => lower !== null && upper !== null)).toBe(true);
});
