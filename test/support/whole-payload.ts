import { type ExchangePayload, wholePayload as whole } from '../../src/core/exchange.ts';

/** A payload with all parts read; with empty parts if there is none. */
export function wholePayload(payload: ExchangePayload | null): ExchangePayload {
  return whole(payload ?? { request: null, response: null, requestChunks: [], responseChunks: [] });
}
