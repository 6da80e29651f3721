import type { TimeRange } from '../core/ports.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';

/** Payloads lie hundreds together in a block: neighbours cost little once the first of them is unpacked. */
const RUN = 256;

/** Decides exchange by exchange whether its payload is looked into: runs of neighbours, evenly spread. */
export class PayloadSample {
  readonly #every: number;
  readonly #run: number;
  #seen = 0;

  /** `run` of each `every` exchanges are taken. */
  private constructor(run: number, every: number) {
    this.#run = run;
    this.#every = every;
  }

  /** @param most null for every exchange, 0 for none */
  static over(
    most: number | null,
    overview: CaptureOverview,
    window: { readonly parts: readonly TimeRange[] } | null,
  ): PayloadSample {
    if (most === 0 || window === null) return new PayloadSample(0, 1);
    const total = most === null ? 0 : countOf(overview, window.parts);
    if (most === null || total <= most) return new PayloadSample(1, 1);
    const run = Math.min(RUN, most);
    return new PayloadSample(run, Math.ceil((total * run) / most));
  }

  get isNone(): boolean {
    return this.#run === 0;
  }

  get isComplete(): boolean {
    return this.#run === this.#every;
  }

  /** To be asked once for each exchange, in order. */
  takes(): boolean {
    const place = this.#seen % this.#every;
    this.#seen += 1;
    return place < this.#run;
  }
}

/** Exchanges of the windows, by whole seconds: from roll-ups, where the window is not the whole capture. */
function countOf(overview: CaptureOverview, parts: readonly TimeRange[]): number {
  const { firstArrivalUs, lastArrivalUs } = overview;
  const [only] = parts;
  const isWhole =
    parts.length === 1 && only?.fromUs === firstArrivalUs && only?.toUs === (lastArrivalUs ?? 0) + 1;
  if (isWhole) return overview.exchanges;
  let total = 0;
  for (const part of parts) for (const { exchanges } of overview.seconds(part)) total += exchanges;
  return total;
}
