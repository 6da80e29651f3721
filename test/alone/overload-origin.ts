import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * A model server in a separate process that never closes connections. It answers `?id=N` like a numbered origin, and
 * never reads bodies of requests to `/stalled`.
 *
 * It sends `{ port }` when it listens. Ends with its parent.
 */
const ID = /[?&]id=(\d+)/;

const server = createServer({ requestTimeout: 0, headersTimeout: 0 }, (request, response) => {
  if (request.url?.startsWith('/stalled')) {
    request.on('error', () => undefined);
    return;
  }
  request.resume();
  request.on('end', () => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ id: Number(ID.exec(request.url ?? '')?.[1]), answer: 'a'.repeat(200) }));
  });
});
server.keepAliveTimeout = 0;
server.on('clientError', (_error, socket) => socket.destroy());
server.listen(0, '127.0.0.1', 4_096, () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit());
