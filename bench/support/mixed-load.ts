import { Agent, type ClientRequest, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '../../src/core/random.ts';

/**
 * Traffic for a long run: different bodies of all sizes. One request in 20 is aborted halfway, and one in 100 is sent
 * slowly in pieces. It runs in a process of its own.
 * Usage: mixed-load.ts PORT RATE_PER_SECOND SECONDS SEED
 */
const [port = 0, ratePerSecond = 0, seconds = 0, seed = 1] = process.argv.slice(2).map(Number);
const ABORTED = 0.05;
const SLOW = 0.01;
const SLOW_PIECES = 20;
const SLOW_PAUSE_MS = 100;

const random = new SeededRandom(seed);
/** Uniform in [0, 1). */
const share = () => random.nextUint32() / 2 ** 32;
// `fifo` uses connections in turn. The server may close one that is idle for seconds just when it is reused.
const agent = new Agent({ keepAlive: true, maxSockets: 256, scheduling: 'fifo' });
const report = { sent: 0, answered: 0, aborted: 0, slow: 0, failed: [] as string[] };

/** A random body, mostly of a few KB and sometimes of hundreds. Its contents never repeat. */
function bodyOf(): Buffer {
  const bytes = Math.floor(200 * Math.exp(share() * 7));
  const words: string[] = [];
  for (let length = 0; length < bytes; length += 9) words.push(Math.floor(share() * 1e8).toString(36));
  return Buffer.from(JSON.stringify({ model: 'm', instances: [words.join(' ')] }));
}

function ask(): Promise<void> {
  const body = bodyOf();
  const kind = share();
  report.sent += 1;
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const asked = request({
      host: '127.0.0.1',
      port,
      agent,
      method: 'POST',
      path: '/v1/models/m:predict',
      headers,
    });
    asked.on('response', (answer) => {
      answer.resume();
      answer.on('end', () => {
        report.answered += 1;
        resolve();
      });
      answer.on('error', () => resolve());
    });
    asked.on('error', (error) => {
      if (kind >= ABORTED) report.failed.push(error.message);
      resolve();
    });
    if (kind < ABORTED) abort(asked, body);
    else if (kind < ABORTED + SLOW) void drip(asked, body);
    else asked.end(body);
  });
}

function abort(asked: ClientRequest, body: Buffer): void {
  report.aborted += 1;
  asked.write(body.subarray(0, body.length >> 1));
  setTimeout(() => asked.destroy(), 5);
}

async function drip(asked: ClientRequest, body: Buffer): Promise<void> {
  report.slow += 1;
  const piece = Math.ceil(body.length / SLOW_PIECES);
  for (let from = 0; from < body.length; from += piece) {
    asked.write(body.subarray(from, from + piece));
    await sleep(SLOW_PAUSE_MS);
  }
  asked.end();
}

const running = new Set<Promise<void>>();
const startMs = performance.now();
for (let sent = 0; sent < ratePerSecond * seconds; sent += 1) {
  const waitMs = startMs + (sent * 1_000) / ratePerSecond - performance.now();
  if (waitMs > 1) await sleep(waitMs);
  const one = ask().finally(() => running.delete(one));
  running.add(one);
}
await Promise.all(running);
agent.destroy();
process.stdout.write(`${JSON.stringify(report)}\n`);
