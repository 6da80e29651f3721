import type { Exchange } from '../../src/core/exchange.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from './exchanges.ts';

/** The same requests, as a gateway saw them and as the sidecar behind it did, each by its own clock. */
export function seenByBoth(count: number, aheadUs: number, seed: number, share = 1) {
  const random = new SeededRandom(seed);
  const gateway: Exchange[] = [];
  const sidecar: Exchange[] = [];
  for (let index = 0; index < count; index += 1) {
    const arrivalUs = TEST_EPOCH_US + index * 1_000_000 + random.below(500_000);
    const [toIt, atIt, back] = [
      200 + random.below(3_000),
      20_000 + random.below(80_000),
      100 + random.below(2_000),
    ];
    const request = requestMessage({ body: `{"prompt":"${seed} ${index} ${random.nextUint32()}"}` });
    gateway.push(exchangeOf({ arrivalUs, lastByteOffsetUs: toIt + atIt + back, request }));
    if (random.below(1_000) < share * 1_000) {
      sidecar.push(exchangeOf({ arrivalUs: arrivalUs + toIt + aheadUs, lastByteOffsetUs: atIt, request }));
    }
  }
  return { gateway, sidecar };
}
