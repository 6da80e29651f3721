import type { ExchangeRow } from '../../src/core/exchange.ts';

/** A row as a reader would return it, for tests without a capture. */
export function exchangeRow(facts: Partial<ExchangeRow> = {}): ExchangeRow {
  return {
    id: 1,
    segment: '20261124T15-7f3a9c21-0001.sqlite',
    recorder: '7f3a9c21',
    arrivalUs: 1_794_000_000_000_000,
    outcome: 'completed',
    protocol: 'http/1.1',
    method: 'POST',
    route: 'POST /v2/models/{model}/infer',
    status: 200,
    connection: 1,
    client: null,
    session: null,
    model: 'resnet',
    streamed: false,
    requestEndOffsetUs: 100,
    firstByteOffsetUs: 5_000,
    lastByteOffsetUs: 6_000,
    clientLeftOffsetUs: null,
    firstTokenOffsetUs: null,
    promptTokens: null,
    outputTokens: null,
    batch: null,
    finish: null,
    answerError: null,
    traceId: null,
    requestBytes: 10,
    responseBytes: 20,
    requestTruncated: false,
    requestStored: true,
    requestHash: null,
    ...facts,
  };
}
