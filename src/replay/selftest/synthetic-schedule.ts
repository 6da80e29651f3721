import { SeededRandom } from '../../core/random.ts';
import { NOTHING_EXPECTED } from '../expected-answer.ts';
import type { PreparedRequest } from '../prepared-request.ts';

export interface SyntheticLoad {
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly bodyBytes: number;
}

const SEED = 1;

/** Arrivals of a Poisson process, the same in every run, each a POST with a body of that size. */
export function* syntheticSchedule(load: SyntheticLoad): Generator<PreparedRequest> {
  const { ratePerSecond, seconds, bodyBytes } = load;
  const random = new SeededRandom(SEED);
  const body = bodyBytes === 0 ? null : Buffer.alloc(bodyBytes, 'payload ');
  const headers = [
    ['User-Agent', 'python-requests/2.32.3'],
    ['Accept', '*/*'],
    ['Content-Type', 'application/json'],
    ['x-reprise-run', 'selftest'],
  ].flat();
  let atNs = 0;
  for (let index = 0; ; index += 1) {
    atNs += (-Math.log((random.nextUint32() + 1) / 2 ** 32) * 1e9) / ratePerSecond;
    if (atNs >= seconds * 1e9) return;
    const intendedOffsetNs = Math.floor(atNs);
    const answer = NOTHING_EXPECTED;
    yield {
      index,
      intendedOffsetNs,
      method: 'POST',
      path: `/${index}`,
      headers,
      body,
      chunked: false,
      answer,
    };
  }
}
