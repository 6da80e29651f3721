import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/**
 * Sends one request at a time on one connection. Measures the time from the first byte of each request to the first
 * byte of its answer.
 *
 * Message in: `{ port, bodyBytes, count, pauseMs }`. Message out: `{ latenciesUs }`.
 */
interface Job {
  readonly port: number;
  readonly bodyBytes: number;
  readonly count: number;
  /** Pause between an answer and the next request. */
  readonly pauseMs: number;
}

/** First requests, which are not measured: they warm up connections and code. */
const WARMING = 5;

function requestOf(bodyBytes: number): Buffer {
  const head =
    'POST /unbuffered/v2/models/bench/infer HTTP/1.1\r\nHost: bench.example\r\n' +
    `Content-Type: application/json\r\nContent-Length: ${bodyBytes}\r\n\r\n`;
  return Buffer.from(`${head}${JSON.stringify('x'.repeat(bodyBytes - 2))}`);
}

function isWhole(answer: Buffer): boolean {
  const end = answer.indexOf('\r\n\r\n');
  const length = /content-length: (\d+)/i.exec(answer.toString('latin1', 0, Math.max(end, 0)))?.[1];
  return end >= 0 && answer.length >= end + 4 + Number(length ?? 0);
}

async function timed(socket: Socket, request: Buffer): Promise<number> {
  const sentNs = process.hrtime.bigint();
  socket.write(request);
  const [first] = (await once(socket, 'data')) as [Buffer];
  const latencyUs = Number(process.hrtime.bigint() - sentNs) / 1_000;
  for (let answer = first; !isWhole(answer); ) {
    const [more] = (await once(socket, 'data')) as [Buffer];
    answer = Buffer.concat([answer, more]);
  }
  return latencyUs;
}

async function run({ port, bodyBytes, count, pauseMs }: Job): Promise<{ latenciesUs: number[] }> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  const request = requestOf(bodyBytes);
  const latenciesUs: number[] = [];
  for (let sent = 0; sent < WARMING + count; sent += 1) {
    const latencyUs = await timed(socket, request);
    if (sent >= WARMING) latenciesUs.push(latencyUs);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  socket.destroy();
  return { latenciesUs };
}

process.on('message', async (job: Job) => {
  process.send?.(await run(job));
});
process.on('disconnect', () => process.exit());
