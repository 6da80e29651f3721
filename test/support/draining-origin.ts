/**
 * A model server that answers SIGTERM as a good one does: for a while it goes on, asking each client to close
 * after its answer; then it accepts nothing more, ends what is under way, and exits.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const LINGER_MS = 400;
let draining = false;

const server = createServer((incoming, response) => {
  incoming.resume();
  incoming.on('end', () => {
    const id = Number(/[?&]id=(\d+)/.exec(incoming.url ?? '')?.[1]);
    if (draining) response.setHeader('connection', 'close');
    setTimeout(() => response.end(JSON.stringify({ id, answer: 'a'.repeat(200) })), 2);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening ${(server.address() as AddressInfo).port}\n`);
});
process.on('SIGTERM', () => {
  draining = true;
  setTimeout(() => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  }, LINGER_MS);
});
