/**
 * A model server that answers SIGTERM as a good one does: it goes on, asking each client to close after its answer,
 * until SIGUSR2 says that its clients have heard of it; then it accepts nothing more, ends what is under way, and
 * exits. A delay in place of the second signal would be too short where both compete for one processor.
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
