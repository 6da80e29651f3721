import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/**
 * Thousands of clients that only load a server, in a separate process.
 *
 * Received messages: `{ port, idle, slow, uploads }` opens clients, `{ count: true }` asks for their numbers, and `{
 * release: true }` resets all. Each is answered with a `Burden`. Ends with its parent.
 */
export interface Burden {
  /** Connections that got one answer and are kept alive. */
  readonly idle: number;
  /** Clients that send an endless head byte by byte, and the lifetime of the last one that ended, ms. */
  readonly slow: number;
  readonly slowLivedMs: number;
  /** Uploads without an answer. */
  readonly uploads: number;
}
export interface Weight {
  readonly port: number;
  readonly idle: number;
  readonly slow: number;
  readonly uploads: number;
}

const UPLOAD = Buffer.alloc(5 * 1_024 * 1_024, 'u');
const DRIP_MS = 500;
/** Concurrent connection attempts, well below the backlog of a listener. */
const LANES = 200;

const idle = new Set<Socket>();
const slow = new Set<Socket>();
const uploads = new Set<Socket>();
let slowLivedMs = 0;

/** A connection that is a member of `set` for as long as it is open. */
async function join(set: Set<Socket>, port: number): Promise<Socket | null> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  set.add(socket);
  socket.on('error', () => undefined);
  socket.on('close', () => set.delete(socket));
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
  return socket.destroyed ? null : socket;
}

async function openIdle(port: number, number: number): Promise<void> {
  const socket = await join(idle, port);
  if (socket === null) return;
  socket.write(`GET /idle?id=${number} HTTP/1.1\r\nHost: model\r\n\r\n`);
  await Promise.race([once(socket, 'data'), once(socket, 'close')]).catch(() => undefined);
  socket.resume();
}

async function openSlow(port: number): Promise<void> {
  const socket = await join(slow, port);
  if (socket === null) return;
  const sinceMs = performance.now();
  socket.write('GET /slow HTTP/1.1\r\nHost: model\r\nX-Slow: ');
  socket.resume();
  const drip = setInterval(() => socket.write('a'), DRIP_MS);
  socket.on('close', () => {
    clearInterval(drip);
    slowLivedMs = Math.max(slowLivedMs, performance.now() - sinceMs);
  });
}

async function openUpload(port: number): Promise<void> {
  const socket = await join(uploads, port);
  if (socket === null) return;
  const headers = `Host: model\r\nContent-Type: application/json\r\nContent-Length: ${UPLOAD.length}`;
  socket.write(`POST /stalled HTTP/1.1\r\n${headers}\r\n\r\n`);
  socket.write(UPLOAD);
  // An upload that gets any answer is destroyed, so it is no load any more.
  socket.on('data', () => socket.destroy());
}

async function times(count: number, open: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await open(next++);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

async function follow(job: Partial<Weight> & { release?: true }): Promise<void> {
  const { port } = job;
  if (port !== undefined) {
    await times(job.idle ?? 0, (number) => openIdle(port, number));
    await times(job.uploads ?? 0, () => openUpload(port));
    await times(job.slow ?? 0, () => openSlow(port));
  }
  if (job.release) for (const socket of [...idle, ...slow, ...uploads]) socket.resetAndDestroy();
  const burden: Burden = { idle: idle.size, slow: slow.size, slowLivedMs, uploads: uploads.size };
  process.send?.(burden);
}

process.on('message', (job: Partial<Weight>) => void follow(job));
process.on('disconnect', () => process.exit());
