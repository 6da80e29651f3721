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
