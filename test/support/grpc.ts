import type { Exchange, Message } from '../../src/core/exchange.ts';
import { exchangeOf, wholeBody } from './exchanges.ts';

/** A message of a gRPC body with its prefix. */
export function grpcMessage(content: string | Uint8Array, compressed = false): Buffer {
  const bytes = Buffer.from(content as string);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(compressed ? 1 : 0, 0);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** A DATA frame as a stream is fed to the recorder. */
export function fedData(bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}

/** The end of a stream's side, with its trailer lines. */
export function fedEnd(...trailers: readonly string[]): Buffer {
  return Buffer.from(['0', ...trailers, '', ''].join('\r\n'), 'latin1');
}

/** The head of a call as a stream is fed to the recorder. */
export function callHead(path: string, ...lines: readonly string[]): Buffer {
  const fields = ['host: models.internal:8001', 'te: trailers', 'content-type: application/grpc', ...lines];
  return Buffer.from([`POST ${path} HTTP/2`, ...fields, '', ''].join('\r\n'), 'latin1');
}

export const ANSWER_HEAD = 'HTTP/2 200\r\ncontent-type: application/grpc\r\n\r\n';

const TRAILERS = Buffer.from('grpc-status: 14\r\ngrpc-message: model is loading\r\n');

/** A recorded call with two messages in its request and one in its answer, which is UNAVAILABLE. */
export function grpcExchange(parts: Partial<Exchange> = {}): Exchange {
  const path = '/inference.GRPCInferenceService/ModelInfer';
  const message = (head: string | Uint8Array, body: Uint8Array, trailers: Uint8Array | null): Message => {
    return { head: Buffer.from(head as string), redacted: [], body: wholeBody(body), trailers };
  };
  const sent = Buffer.concat([grpcMessage('first'), grpcMessage('second, smaller', true)]);
  return exchangeOf({
    protocol: 'h2',
    route: `POST ${path}`,
    status: 503,
    grpcStatus: 14,
    requestMessages: 2,
    responseMessages: 1,
    request: message(callHead(path), sent, null),
    response: message(ANSWER_HEAD, grpcMessage('x'), TRAILERS),
    requestChunks: [10, 10, 900, 20],
    responseChunks: [4_000, 6],
    ...parts,
  });
}
