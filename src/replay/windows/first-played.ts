import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { shifted } from '../scaling/layers.ts';
import type { Layer } from '../scaling/scaling.ts';

/**
 * Where the first arrival that is played lies on a time on which windows follow each other edge to edge, microseconds;
 * null where there is none. Reads up to it: roll-ups know nothing of what filters leave.
 */
export function firstPlayedUs(
  source: CaptureSource,
  windows: readonly TimeRange[],
  layers: readonly Pick<Layer, 'shiftUs'>[],
): number | null {
  let beginUs = 0;
  for (const window of windows) {
    const firsts = layers.map(({ shiftUs }) => firstIn(source, shifted(window, shiftUs)) - shiftUs);
    const firstUs = Math.min(...firsts);
    if (firstUs < Number.POSITIVE_INFINITY) return beginUs + firstUs - window.fromUs;
    beginUs += window.toUs - window.fromUs;
  }
  return null;
}

function firstIn(source: CaptureSource, range: TimeRange): number {
  for (const { arrivalUs } of source.rows(range)) return arrivalUs;
  return Number.POSITIVE_INFINITY;
}
