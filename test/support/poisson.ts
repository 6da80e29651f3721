import type { Exchange } from '../../src/core/exchange.ts';
import { responseMessage, TEST_EPOCH_US } from './exchanges.ts';
import { requestsOf } from './replaying.ts';

/** A pseudo-random number below 1, the same sequence at each seed. */
export function randomOf(seed: number): () => number {
  let state = Math.imul(seed, 2_654_435_761) >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

interface PoissonParts {
  readonly count: number;
  readonly ratePerSecond: number;
  readonly seed: number;
  readonly answerMs: number;
  readonly answer: string;
}

/** Recorded requests in a Poisson stream, the same at each seed, all answered alike. */
export function poissonOf({ count, ratePerSecond, seed, answerMs, answer }: PoissonParts): Exchange[] {
  const random = randomOf(seed);
  let atUs = TEST_EPOCH_US;
  return requestsOf(count, 1, {
    firstByteOffsetUs: answerMs * 1e3 - 500,
    lastByteOffsetUs: answerMs * 1e3,
    response: responseMessage(200, answer),
  }).map((each) => {
    atUs += Math.ceil((-Math.log(random()) * 1e6) / ratePerSecond);
    return { ...each, arrivalUs: atUs };
  });
}
