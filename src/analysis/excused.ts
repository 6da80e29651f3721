import type { LatencyFigures } from './latency-statistics.ts';
import type { OutcomeFigures } from './outcome-counts.ts';
import type { StreamFigures } from './stream-statistics.ts';

/** What is nobody's failure, because it was we who ended the run. */
export interface Excused {
  /** Failed sends that were open then; of these, those outside stalled stretches, and the streams among the latter. */
  readonly stopped: number;
  readonly outsideStalls: number;
  readonly streams: number;
  /** Planned, and never sent for it. */
  readonly unreached: number;
}

/** What is known of a run that may have been stopped. */
interface Ended {
  readonly outcomes: OutcomeFigures;
  readonly latency: LatencyFigures;
  readonly streams: StreamFigures;
  readonly interrupted: boolean;
}

const NOTHING: Excused = { stopped: 0, outsideStalls: 0, streams: 0, unreached: 0 };

/** In a run that came to its end, what was still open when the drain was over had all its time. */
export function excusedOf({ outcomes, latency, streams, interrupted }: Ended): Excused {
  if (!interrupted) return NOTHING;
  return {
    stopped: outcomes.stopped,
    outsideStalls: latency.stopped,
    streams: streams.stopped,
    unreached: outcomes.unreached,
  };
}

/** Of shards: each as its own run did. */
export function excusedTogether(shards: readonly Ended[]): Excused {
  return shards.map(excusedOf).reduce(
    (sum, each) => ({
      stopped: sum.stopped + each.stopped,
      outsideStalls: sum.outsideStalls + each.outsideStalls,
      streams: sum.streams + each.streams,
      unreached: sum.unreached + each.unreached,
    }),
    NOTHING,
  );
}
