import { createServer, type Socket } from 'node:net';

/**
 * A target with one kind of delay, run as a child process. `after MS` answers each request after this time. `never`
 * accepts requests and does not answer. `deaf` listens with a backlog of one and is then stopped: the kernel accepts
 * some connections and keeps all others waiting. It sends its port to its parent.
 */
const RESPONSE = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const [mode = 'after', ms = '0'] = process.argv.slice(2);

function serve(socket: Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  // Each head is a complete request, because the load of this server has no bodies.
  socket.on('data', () => {
    if (mode === 'after') setTimeout(() => socket.writable && socket.write(RESPONSE), Number(ms));
  });
}

const server = createServer(serve).listen(
  { port: 0, host: '127.0.0.1', backlog: mode === 'deaf' ? 1 : 4_096 },
  () => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('not a TCP address');
    process.send?.({ port: address.port });
  },
);
process.on('disconnect', () => process.exit());
