import { createServer, type Socket } from 'node:net';

/**
 * A target that answers at once. It records the first byte of each request by the host's monotonic clock, which all its
 * processes share. It uses raw sockets, so that no parser delays the timestamp. A request carries its index in its path
 * (`/12`) or, if a tool cannot do that, in vegeta's own `X-Vegeta-Seq`.
 *
 * Runs as a child process with advanced serialization. Messages out: its port; `first` and `last` when the first and
 * the last expected request begin. Messages in: `{ expect }`, which discards earlier arrivals; `report`.
 */
const RESPONSE = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"text":"ok"}',
);
const HEAD_END = Buffer.from('\r\n\r\n');
const VEGETA_SEQUENCE = /\r\nx-vegeta-seq: (\d+)/i;
const CONTENT_LENGTH = /\r\ncontent-length: (\d+)/i;

export type ToArrivalServer =
  | { readonly expect: number }
  /** How the next connections answer gRPC calls. Only the stamped target does. */
  | { readonly streams: number; readonly delayMs: number }
  | 'report';
export type FromArrivalServer =
  | { readonly port: number }
  | 'first'
  | 'last'
  /** Index and instant (monotonic ns) of each request, in order of arrival. A request without an index has −1. */
  | { readonly arrivals: Iterable<number>; readonly bodyBytes: number };

let arrivals = new Float64Array(0);
let count = 0;
let expected = 0;
let bodyBytes = 0;

function tell(message: FromArrivalServer): void {
  process.send?.(message);
}

function note(head: string, atNs: bigint): number {
  const sequence = VEGETA_SEQUENCE.exec(head)?.[1];
  const path = head.slice(head.indexOf('/') + 1, head.indexOf(' HTTP/'));
  const length = Number(CONTENT_LENGTH.exec(head)?.[1] ?? 0);
  if (2 * count === arrivals.length) {
    const grown = new Float64Array(Math.max(4_096, 2 * arrivals.length));
    grown.set(arrivals);
    arrivals = grown;
  }
  arrivals[2 * count] = sequence !== undefined ? Number(sequence) : /^\d+$/.test(path) ? Number(path) : -1;
  arrivals[2 * count + 1] = Number(atNs);
  count += 1;
  bodyBytes += length;
  if (count === 1) tell('first');
  if (count === expected) tell('last');
  return length;
}

function serve(socket: Socket): void {
  let pending = Buffer.alloc(0);
  let bodyLeft = 0;
  /** When the first byte of the next head arrived. */
  let headAtNs: bigint | null = null;
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    const nowNs = process.hrtime.bigint();
    let data = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    for (;;) {
      const skipped = Math.min(bodyLeft, data.length);
      bodyLeft -= skipped;
      data = data.subarray(skipped);
      if (bodyLeft > 0) break;
      if (skipped > 0) socket.write(RESPONSE);
      if (data.length === 0) break;
      headAtNs ??= nowNs;
      const end = data.indexOf(HEAD_END);
      if (end < 0) break;
      bodyLeft = note(data.toString('latin1', 0, end), headAtNs);
      headAtNs = null;
      data = data.subarray(end + HEAD_END.length);
      if (bodyLeft === 0) socket.write(RESPONSE);
    }
    pending = data.length === 0 ? data : Buffer.from(data);
  });
}

const server = createServer(serve);
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP address');
  tell({ port: address.port });
});
process.on('message', (message: ToArrivalServer) => {
  if (message === 'report') {
    tell({ arrivals: arrivals.slice(0, 2 * count), bodyBytes });
    return;
  }
  if (!('expect' in message)) throw new Error('this target answers no gRPC calls');
  expected = message.expect;
  arrivals = new Float64Array(2 * Math.max(1, message.expect));
  count = 0;
  bodyBytes = 0;
});
process.on('disconnect', () => process.exit());
