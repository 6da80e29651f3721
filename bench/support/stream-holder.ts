import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/**
 * Holds event streams open and reads them.
 *
 * Messages in: `{ port, streams }` opens them, `{ streams: 0 }` closes all. Message out: `{ open }`, after the first
 * event of every stream.
 */
let open: Socket[] = [];

async function hold(port: number, streams: number): Promise<void> {
  for (const socket of open) socket.destroy();
  open = [];
  for (let index = 0; index < streams; index += 1) {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    socket.write('GET /unbuffered/v1/stream HTTP/1.1\r\nHost: bench.example\r\n\r\n');
    open.push(socket);
  }
  await Promise.all(
    open.map(async (socket) => {
      while (!String((await once(socket, 'data'))[0]).includes('data:'));
      socket.resume();
    }),
  );
}

process.on('message', async (job: { port: number; streams: number }) => {
  await hold(job.port, job.streams);
  process.send?.({ open: open.length });
});
process.on('disconnect', () => process.exit());
