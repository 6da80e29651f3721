import { connect, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

/**
 * A thread with clients that send a head byte by byte, and reconnect a second after they were dropped. It posts how
 * often they were dropped.
 */
const { port, count } = workerData as { port: number; count: number };
const open = new Map<Socket, NodeJS.Timeout>();
let dropped = 0;

function come(): void {
  const socket = connect(port, '127.0.0.1');
  socket.write('GET /livez HTTP/1.1\r\nX: ');
  const drip = setInterval(() => socket.write('x'), 500);
  open.set(socket, drip);
  socket.on('error', () => undefined);
  socket.on('close', () => {
    clearInterval(drip);
    open.delete(socket);
    dropped += 1;
    setTimeout(come, 1_000);
  });
}

for (let nth = 0; nth < count; nth += 1) come();
setInterval(() => parentPort?.postMessage(dropped), 50);
