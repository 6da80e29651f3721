import type { Clock } from '../../src/core/clock.ts';
import { Guard } from '../../src/core/ports.ts';
import { Border } from '../../src/proxy/tap/border.ts';
import type { Counters } from '../../src/proxy/tap/counters.ts';
import { FrameQueue } from '../../src/proxy/tap/frame-queue.ts';
import { RecorderClient } from '../../src/proxy/tap/recorder-client.ts';

/** Lets exceptions through, so that a test fails with the first one. */
export const RETHROWING = new Guard((error) => {
  throw error;
});

/** The recording side of a proxy as far as its pipe, and the border to what forwards. */
export function tapSide(deps: {
  readonly clock: Clock;
  readonly counters: Counters;
  readonly queue?: FrameQueue;
  readonly onTapFailure?: (error: unknown) => void;
}): { readonly link: RecorderClient; readonly border: Border } {
  const { clock, counters, queue = new FrameQueue(RETHROWING), onTapFailure = () => undefined } = deps;
  const link = new RecorderClient({ clock, counters, queue, guard: RETHROWING });
  return { link, border: new Border({ client: link, counters, guard: RETHROWING, onTapFailure }) };
}
