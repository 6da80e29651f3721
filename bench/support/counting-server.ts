import { createServer, type Socket } from 'node:net';

/**
 * A target that answers at once and does nothing else, so that only the sender is measured. It counts requests by the
 * number in their path (`POST /<index>`). It runs as a child process, and its parent asks for the counts.
 */
const RESPONSE = Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
const HEAD_END = Buffer.from('\r\n\r\n');

export interface CountingServerReport {
  readonly requests: number;
  readonly distinct: number;
  /** Requests that arrived after a request with a greater index. */
  readonly outOfOrder: number;
  readonly bodyBytes: number;
}

const seen = new Set<number>();
let requests = 0;
let outOfOrder = 0;
let bodyBytes = 0;
let greatest = -1;

function noteHead(head: string): number {
  const index = Number(head.slice(head.indexOf('/') + 1, head.indexOf(' ', head.indexOf('/'))));
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
  requests++;
  seen.add(index);
  if (index < greatest) outOfOrder++;
  greatest = Math.max(greatest, index);
  bodyBytes += length;
  return length;
}

function serve(socket: Socket): void {
  let pending = Buffer.alloc(0);
  let bodyLeft = 0;
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    let data = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    for (;;) {
      const skipped = Math.min(bodyLeft, data.length);
      bodyLeft -= skipped;
      data = data.subarray(skipped);
      if (bodyLeft > 0) break;
      if (skipped > 0) socket.write(RESPONSE);
      const end = data.indexOf(HEAD_END);
      if (end < 0) break;
      bodyLeft = noteHead(data.toString('latin1', 0, end));
      data = data.subarray(end + HEAD_END.length);
      if (bodyLeft === 0) socket.write(RESPONSE);
    }
    pending = Buffer.from(data);
  });
}

const server = createServer(serve);
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP address');
  process.send?.(address.port);
});
process.on('message', () => {
  const report: CountingServerReport = { requests, distinct: seen.size, outOfOrder, bodyBytes };
  process.send?.(report, () => process.exit());
});
process.on('disconnect', () => process.exit());
