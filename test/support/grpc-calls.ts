import type { Exchange } from '../../src/core/exchange.ts';
import { exchangeOf, TEST_EPOCH_US, wholeBody } from './exchanges.ts';
import { ANSWER_HEAD, callHead, grpcMessage } from './grpc.ts';

export const CALL_PATH = '/inference.GRPCInferenceService/ModelInfer';
export const STREAM_PATH = '/inference.GRPCInferenceService/ModelStreamInfer';

/** Calls that were recorded by HTTP/2, unary by default. */
export function callsOf(
  count: number,
  parts: Partial<Exchange> = {},
  path = CALL_PATH,
  lines: readonly string[] = [],
  body: Buffer | null = null,
) {
  const message = (head: string | Uint8Array, body: Uint8Array) => {
    return { head: Buffer.from(head as string), redacted: [], body: wholeBody(body), trailers: null };
  };
  return Array.from({ length: count }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 20_000,
      protocol: 'h2',
      route: `POST ${path}`,
      request: message(callHead(path, ...lines), body ?? grpcMessage(`call ${at}`)),
      response: message(ANSWER_HEAD, grpcMessage('answer')),
      connection: 1,
      status: 200,
      grpcStatus: 0,
      requestMessages: 1,
      responseMessages: 1,
      requestChunks: [0, 11],
      responseChunks: [3_000, 11],
      ...parts,
    }),
  );
}
