import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';

/**
 * A server that answers each unary call as soon as its request has ended. It is a separate process, and its CPU time
 * counts for no contender. Usage: grpc-server.ts ANSWER_BYTES
 */
const content = Buffer.alloc(Number(process.argv[2]), 'x');
const head = Buffer.alloc(5);
head.writeUInt32BE(content.length, 1);
const message = Buffer.concat([head, content]);

const server = createServer({ settings: { maxConcurrentStreams: 1_000 } });
server.on('sessionError', () => undefined);
server.on('stream', (stream) => {
  stream.on('error', () => undefined);
  stream.resume().on('end', () => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': '' }));
    stream.end(message);
  });
});
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit());
