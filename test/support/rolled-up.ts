import type { CaptureOverview } from '../../src/replay/window/capture.ts';

type Seconds = CaptureOverview['seconds'];

/** Roll-ups of these seconds, as a capture returns them: those that overlap the range. */
export function rolledUp(
  seconds: Iterable<ReturnType<Seconds> extends Iterable<infer One> ? One : never>,
): Seconds {
  return ({ fromUs, toUs }) =>
    [...seconds].filter(({ second }) => second * 1e6 < toUs && (second + 1) * 1e6 > fromUs);
}
