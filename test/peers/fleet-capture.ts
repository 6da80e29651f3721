import type { Exchange } from '../../src/core/exchange.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { captureOf, newCapture } from '../support/captures.ts';
import {
  arrivalAlone,
  exchangeOf,
  requestMessage,
  responseMessage,
  TEST_EPOCH_US,
  testHash,
} from '../support/exchanges.ts';

const SPAN_US = 30 * 3_600e6;
const TICK_US = 500_000;

/**
 * Two recorders over two days, with cases that are hard to sum separately: equal arrivals, exchanges with no duration,
 * exchanges that are open across hours and past the end, unknown ends, retries of failures, empty bodies, and arrivals
 * without requests.
 */
export function fleetCapture(count: number): string {
  const directory = newCapture();
  const random = new SeededRandom(11);
  const below = (most: number): number => random.nextUint32() % most;
  for (const [at, id] of ['0123', 'ab12'].entries()) {
    const instants = Array.from({ length: count }, () => below(SPAN_US / TICK_US) * TICK_US + below(2) * at);
    const exchanges = instants
      .sort((a, b) => a - b)
      .map((offsetUs) => someExchange(TEST_EPOCH_US + offsetUs, below));
    captureOf(exchanges, {
      directory,
      recorder: { id, host: 'test', startedUs: TEST_EPOCH_US },
      segmentBy: 'clock',
    });
  }
  return directory;
}

const LATENCIES_US = [0, 0, 900, 20_000, 1_500_000, 7_200_000_000];
const STATUSES = [200, 200, 200, 404, 429, 500, 503];

function someExchange(arrivalUs: number, below: (most: number) => number): Exchange {
  if (below(40) === 0) return arrivalAlone(arrivalUs);
  const latencyUs = below(9) === 0 ? null : LATENCIES_US[below(LATENCIES_US.length)]! + below(50);
  const status = STATUSES[below(STATUSES.length)]!;
  const route = below(3) === 0 ? 'POST /v1/chat/completions' : 'POST /keys/AKIAIOSFODNN7EXAMPLE/infer';
  const isStreamed = below(2) === 0;
  return exchangeOf({
    arrivalUs,
    route,
    status,
    outcome: below(15) === 0 ? 'client_aborted' : 'completed',
    model: ['llama', 'resnet', null][below(3)] ?? null,
    streamed: isStreamed,
    client: below(5) === 0 ? null : testHash.ofIdentity('client', `client ${below(30)}`),
    session: below(5) === 0 ? null : testHash.ofIdentity('session', `session ${below(900)}`),
    firstByteOffsetUs: latencyUs === null ? null : Math.floor(latencyUs / 2),
    firstTokenOffsetUs: isStreamed && latencyUs !== null ? Math.floor(latencyUs / 2) + 1 : null,
    lastByteOffsetUs: latencyUs,
    promptTokens: below(3) === 0 ? null : below(9_000),
    outputTokens: below(3) === 0 ? null : below(500),
    batch: below(2) === 0 ? null : 1 + below(8),
    answerError: status === 200 ? [true, false, null][below(3)]! : null,
    request: requestMessage({ body: below(8) === 0 ? '' : 'x'.repeat(below(60) * below(200)) }),
    response: responseMessage(status, 'y'.repeat(below(3_000))),
  });
}
