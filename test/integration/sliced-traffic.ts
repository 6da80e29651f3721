import type { ServerResponse } from 'node:http';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';

/** Clearly over the limit, while requests within the limit have enough time on a busy machine. */
const SLOW_MS = 400;
export const CLIENT = 'c0ffee0000000001';
export const ROUTE = 'POST /v2/models/{model}/infer';
export const BY_MODEL = 'latency{*model}: p(60)<200';

/** 300 requests in 1.5 s: a third to a model that is slow, a tenth from one client. */
export function slicedCapture(): string {
  return captureOf(
    Array.from({ length: 300 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 5_000,
        route: ROUTE,
        model: at % 3 === 0 ? 'slow' : 'fast',
        client: at % 10 === 0 ? Buffer.from(CLIENT, 'hex') : null,
        request: requestMessage({ target: `/v2/models/${at % 3 === 0 ? 'slow' : 'fast'}/infer?n=${at}` }),
      }),
    ),
  );
}

/** Answers at once, except for the slow model. */
export function answerByModel({ target }: LoggedRequest, response: ServerResponse): void {
  setTimeout(() => response.end('{}'), target.includes('/slow/') ? SLOW_MS : 0);
}
