import { type ExchangePayload, wholePayload as whole } from '../../src/core/exchange.ts';

/** A payload with everything read; nothing but empty parts for none. */
export function wholePayload(payload: ExchangePayload | null): ExchangePayload {
  return whole(payload ?? { request: null, response: null, requestChunks: [], responseChunks: [] });
}
