import { createServer, type Socket } from 'node:net';

/**
 * A target that is slow in one way, as a child process: `after MS` answers each request so much later, `never`
 * takes requests and says nothing, `deaf` listens with a queue of one connection and is meant to be stopped, so
 * that the kernel takes some connections and lets all others wait. Tells its parent the port.
 */
const RESPONSE = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const [mode = 'after', ms = '0'] = process.argv.slice(2);

function serve(socket: Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  // A head alone is a request here: the load of this server has no bodies.
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
