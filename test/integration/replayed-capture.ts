import type { Send } from '../../src/core/run.ts';
import { segmentsOf } from '../../src/storage/capture/directory.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';

/** A capture, and these sends as a replay of it. Each send repeats the exchange with its index. */
export function replayedCapture(
  sends: readonly Send[],
  latencyMs: number,
): { readonly capture: string; readonly sends: Send[] } {
  const exchanges = sends.map(({ index, route, model, streamed }) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + index * 1_000,
      lastByteOffsetUs: latencyMs * (800 + (index % 500)),
      firstTokenOffsetUs: streamed ? latencyMs * 250 : null,
      route,
      model,
      streamed,
    }),
  );
  const capture = captureOf(exchanges);
  const [segment, ...others] = segmentsOf(capture);
  if (segment === undefined || others.length > 0) throw new Error('the capture was to have one segment');
  return {
    capture,
    sends: sends.map((each) => ({ ...each, segment: segment.file, exchangeId: each.index + 1 })),
  };
}
