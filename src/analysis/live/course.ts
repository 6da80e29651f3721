/** What was counted over a time, and the greatest values seen in it. */
export interface CoursePoint {
  /** Its end, epoch seconds. */
  readonly atS: number;
  readonly spanS: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly levels: Readonly<Record<string, number | null>>;
}

/** A point of a shorter time is joined to its neighbour, because one request in it would be a high rate. */
const LEAST_S = 0.25;

/** The most kept points: even, so that all of them have a neighbour. */
const MOST = 600;

/** All that was watched, in bounded memory: when it is full, neighbouring points become one. */
export class Course {
  #points: CoursePoint[] = [];
  /** How many added points are in one that is kept, and in the last. */
  #each = 1;
  #inLast = 0;

  add(point: CoursePoint): void {
    const last = this.#points.at(-1);
    const isShort = point.spanS < LEAST_S || (last?.spanS ?? LEAST_S) < LEAST_S;
    if (last !== undefined && (isShort || this.#inLast < this.#each)) {
      this.#points[this.#points.length - 1] = joined(last, point);
      if (!isShort) this.#inLast += 1;
      return;
    }
    if (this.#points.length === MOST) {
      this.#points = this.#points.flatMap((one, at, all) =>
        at % 2 === 0 ? [joined(one, all[at + 1] ?? one)] : [],
      );
      this.#each *= 2;
    }
    this.#points.push(point);
    this.#inLast = 1;
  }

  get at(): number[] {
    return this.#points.map(({ atS }) => atS);
  }

  /** The usual distance of the points. Twice that, because readings are not punctual. */
  get stepS(): number {
    return this.#each * 2;
  }

  rates(of: string): (number | null)[] {
    return this.#points.map(({ counts, spanS }) => (spanS > 0 ? (counts[of] ?? 0) / spanS : null));
  }

  levels(of: string): (number | null)[] {
    return this.#points.map(({ levels }) => levels[of] ?? null);
  }
}

function joined(one: CoursePoint, next: CoursePoint): CoursePoint {
  const names = (of: 'counts' | 'levels') => [
    ...new Set([...Object.keys(one[of]), ...Object.keys(next[of])]),
  ];
  const greatest = (a: number | null, b: number | null) =>
    a === null || b === null ? (a ?? b) : Math.max(a, b);
  return {
    atS: next.atS,
    spanS: one.spanS + next.spanS,
    counts: Object.fromEntries(
      names('counts').map((each) => [each, (one.counts[each] ?? 0) + (next.counts[each] ?? 0)]),
    ),
    levels: Object.fromEntries(
      names('levels').map((each) => [each, greatest(one.levels[each] ?? null, next.levels[each] ?? null)]),
    ),
  };
}
