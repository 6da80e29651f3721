/**
 * A model server that shuts down gracefully. After SIGTERM it continues, but asks each client to close after its
 * answer. After SIGUSR2 (the clients know) it accepts no more connections, finishes open requests, and exits. A delay
 * instead of the second signal could be too short if both processes compete for one processor.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

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
});
process.on('SIGUSR2', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
