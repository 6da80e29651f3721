import type { RecorderLife } from './recorder-life.ts';

/** Boot instants that differ by less are one machine's, where the name is one as well. */
const SAME_CLOCK_US = 1_000_000;
/** A bound rests on so many exchanges that two recorders saw, nine tenths of which must agree. */
const LEAST_PAIRS = 3;
const AGREEING_SHARE = 0.9;
/** Clocks held against each other; the work grows with the cube of it. */
const CLOCKS_MAX = 256;

/** How far the clocks of recorders may be apart. Milliseconds; positive where `b` is ahead of `a`. */
export interface SkewDocument {
  /** Between any two, whether they ran at one time or not: at most so much. Null when it is not known of every pair. */
  readonly boundMs: number | null;
  /** Pairs of clocks (recorders of one host share one), how many of them are bounded, and by how much; null for none. */
  readonly pairs: { readonly all: number; readonly bounded: number; readonly boundMs: number | null };
  /** Pairs that saw the same exchanges, one in front of the other, and what follows from that. */
  readonly between: readonly {
    readonly a: string;
    readonly b: string;
    readonly lowerMs: number;
    readonly upperMs: number;
    readonly exchanges: number;
  }[];
  /** What each recorder's anchors say of its own clock: the greatest jump, and how far it wandered in all. */
  readonly clocks: readonly {
    readonly recorder: string;
    readonly anchors: number;
    readonly stepMs: number | null;
    readonly wanderMs: number | null;
  }[];
}

/** One exchange as one recorder saw it. */
export interface Sighting {
  readonly recorder: string;
  readonly arrivalUs: number;
  readonly endUs: number;
}

/** The lives that ran by one clock. */
interface HostClock {
  readonly lives: RecorderLife[];
}

/**
 * Bounds the skew between recorders by what their own data proves. Wall clocks of two hosts have no common
 * reference, so where no exchange was seen by both the answer is that nobody knows. One that two recorders saw,
 * one in front of the other, lies within the outer's span: that bounds their clocks from both sides.
 * @param sightings of one exchange each, by different recorders
 */
export function clockSkew(
  lives: readonly RecorderLife[],
  sightings: readonly (readonly Sighting[])[],
): SkewDocument {
  const recorded = lives.filter((life) => life.isRecorded);
  const clocks = clocksOf(recorded);
  const between = clocks.length > CLOCKS_MAX ? [] : pairBounds(clocks, sightings);
  const pairs = pairsOf(clocks, between);
  return {
    boundMs: boundOf(clocks, pairs),
    pairs,
    between,
    clocks: recorded.map((life) => ({
      recorder: life.id,
      anchors: life.anchors.count,
      stepMs: inMs(life.anchors.maxStepUs),
      wanderMs: life.anchors.count === 0 ? null : inMs(life.anchors.maxOffsetUs - life.anchors.minOffsetUs),
    })),
  };
}

export function clocksOf(lives: readonly RecorderLife[]): HostClock[] {
  const clocks: HostClock[] = [];
  for (const life of lives) {
    const same = clocks.find((clock) => clock.lives.some((other) => shareClock(life, other)));
    if (same === undefined) clocks.push({ lives: [life] });
    else same.lives.push(life);
  }
  return clocks;
}

function shareClock(a: RecorderLife, b: RecorderLife): boolean {
  if (a.host !== b.host || a.anchors.count === 0 || b.anchors.count === 0) return false;
  const apartUs = Math.max(
    a.anchors.minOffsetUs - b.anchors.maxOffsetUs,
    b.anchors.minOffsetUs - a.anchors.maxOffsetUs,
  );
  return apartUs <= SAME_CLOCK_US;
}

function pairBounds(
  clocks: readonly HostClock[],
  sightings: readonly (readonly Sighting[])[],
): SkewDocument['between'] {
  const clockOf = new Map(
    clocks.flatMap((clock, index) => clock.lives.map((life) => [life.id, index] as const)),
  );
  const intervals = new Map<string, { a: number; b: number; ranges: [number, number][] }>();
  for (const seen of sightings) {
    for (const [index, first] of seen.entries()) {
      for (const second of seen.slice(index + 1)) {
        const a = clockOf.get(first.recorder);
        const b = clockOf.get(second.recorder);
        if (a === undefined || b === undefined || a === b) continue;
        const [low, high] = a < b ? [first, second] : [second, first];
        const key = `${Math.min(a, b)} ${Math.max(a, b)}`;
        const entry = intervals.get(key) ?? { a: Math.min(a, b), b: Math.max(a, b), ranges: [] };
        entry.ranges.push(rangeOf(low, high));
        intervals.set(key, entry);
      }
    }
  }
  return [...intervals.values()].flatMap(({ a, b, ranges }) => {
    const agreed = agreement(ranges);
    if (agreed === null) return [];
    const idOf = (index: number) => clocks[index]?.lives[0]?.id ?? '';
    return [
      {
        a: idOf(a),
        b: idOf(b),
        lowerMs: agreed.low / 1000,
        upperMs: agreed.high / 1000,
        exchanges: agreed.count,
      },
    ];
  });
}

/** How far b's clock may be ahead of a's, microseconds, when both saw one exchange: the shorter lies in the longer. */
function rangeOf(a: Sighting, b: Sighting): [number, number] {
  const [begins, ends] = [b.arrivalUs - a.arrivalUs, b.endUs - a.endUs];
  return [Math.min(begins, ends), Math.max(begins, ends)];
}

/**
 * What most of the ranges have in common; null when too few agree. Two clients may send one body by chance, and
 * then it was not one exchange that both recorders saw.
 */
function agreement(
  ranges: readonly (readonly [number, number])[],
): { low: number; high: number; count: number } | null {
  const ends = ranges
    .flatMap(([low, high]) => [
      { at: low, opens: true },
      { at: high, opens: false },
    ])
    .sort((x, y) => x.at - y.at || Number(y.opens) - Number(x.opens));
  let open = 0;
  let best = { low: 0, high: 0, count: 0 };
  for (const [index, { at, opens }] of ends.entries()) {
    open += opens ? 1 : -1;
    if (open > best.count) best = { low: at, high: ends[index + 1]?.at ?? at, count: open };
  }
  return best.count >= LEAST_PAIRS && best.count >= AGREEING_SHARE * ranges.length ? best : null;
}

/**
 * Which pairs are bounded, through whichever others do it best. Whether two ran at one time is not asked: only their
 * clocks could tell, and by how much these are apart is the question.
 */
function pairsOf(clocks: readonly HostClock[], between: SkewDocument['between']): SkewDocument['pairs'] {
  const all = (clocks.length * (clocks.length - 1)) / 2;
  if (clocks.length > CLOCKS_MAX) return { all, bounded: 0, boundMs: null };
  const ahead = closure(clocks, between);
  const bounds = ahead.flatMap((row, a) =>
    row.flatMap((forth, b) => {
      const bound = Math.max(forth, ahead[b]?.[a] ?? Number.POSITIVE_INFINITY);
      return a < b && Number.isFinite(bound) ? [bound] : [];
    }),
  );
  return { all, bounded: bounds.length, boundMs: greatest(bounds) };
}

/** Of all pairs, and of recorders that share a clock: that may have been set between what two of them read of it. */
function boundOf(
  clocks: readonly HostClock[],
  { all, bounded, boundMs }: SkewDocument['pairs'],
): number | null {
  if (clocks.length === 0 || bounded < all) return null;
  const steps = clocks
    .filter(({ lives }) => lives.length > 1)
    .flatMap(({ lives }) => lives.map(({ anchors }) => anchors.maxStepUs / 1000));
  return Math.max(boundMs ?? 0, greatest(steps) ?? 0);
}

function greatest(values: readonly number[]): number | null {
  return values.reduce<number | null>((most, value) => Math.max(most ?? value, value), null);
}

/** `[a][b]`: at most so many ms is b's clock ahead of a's. The closure of all that is known of pairs. */
function closure(clocks: readonly HostClock[], between: SkewDocument['between']): number[][] {
  const index = new Map(clocks.map((clock, place) => [clock.lives[0]?.id ?? '', place]));
  const ahead = clocks.map((_, a) => clocks.map((__, b) => (a === b ? 0 : Number.POSITIVE_INFINITY)));
  for (const { a, b, lowerMs, upperMs } of between) {
    const [row, column] = [index.get(a) ?? 0, index.get(b) ?? 0];
    (ahead[row] as number[])[column] = upperMs;
    (ahead[column] as number[])[row] = -lowerMs;
  }
  for (const through of ahead.keys()) {
    for (const row of ahead) {
      const first = row[through] ?? Number.POSITIVE_INFINITY;
      if (first === Number.POSITIVE_INFINITY) continue;
      for (const [column, second] of (ahead[through] ?? []).entries()) {
        row[column] = Math.min(row[column] ?? Number.POSITIVE_INFINITY, first + second);
      }
    }
  }
  return ahead;
}

function inMs(us: number): number | null {
  return Number.isFinite(us) ? us / 1000 : null;
}
