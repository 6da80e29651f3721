import { createServer } from 'node:http';
import { Client } from 'undici';
import { expect, test } from 'vitest';
import { startReprise } from '../support/process.ts';

const ROUNDS = 9;
const REQUESTS = 400;
/** What the relay may add to the median of a small request. */
const ADDED_MS = 0.3;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

async function medianOf(client: Client): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < REQUESTS; n += 1) {
    const start = performance.now();
    const { body } = await client.request({ path: '/', method: 'GET' });
    await body.dump();
    times.push(performance.now() - start);
  }
  return median(times);
}

test('a relay without a fault adds at most 0.3 ms to the median, interleaved with direct requests', async () => {
  const server = createServer((_, response) => response.end('x'.repeat(1_000))).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const origin = `127.0.0.1:${(server.address() as { port: number }).port}`;
  const args = ['faults', '--listen', '127.0.0.1:0', '--target', origin, '--control', '127.0.0.1:0'];
  const relay = startReprise(args);
  const [, port] = await relay.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/);
  const direct = new Client(`http://${origin}`);
  const relayed = new Client(`http://127.0.0.1:${port}`);
  for (const client of [direct, relayed]) await medianOf(client);
  const added: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const [one, other] = [await medianOf(direct), await medianOf(relayed)];
    added.push(other - one);
  }
  process.stdout.write(`added by the relay, ms, by round: ${added.map((ms) => ms.toFixed(3)).join(' ')}\n`);
  expect(median(added)).toBeLessThanOrEqual(ADDED_MS);
  await Promise.all([direct.close(), relayed.close()]);
  await relay.kill('SIGTERM');
  server.close();
});
