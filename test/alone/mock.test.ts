import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US, wholeBody } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';
import { startReprise } from '../support/process.ts';

const STREAMS = 200;
const TOKENS = 100;
/** Streams begin one after the other, so that the client is not late with its own requests; all then overlap. */
const APART_MS = 5;
const REQUEST_END_US = 150;

/** A stream of an SSE event a chunk, with gaps of 5 to 65 ms after up to 400 ms. */
function stream(nth: number, random: SeededRandom): Exchange {
  const upTo = (limit: number) => Math.floor((random.nextUint32() / 2 ** 32) * limit);
  const firstUs = REQUEST_END_US + 50_000 + upTo(350_000);
  const times: number[] = [];
  let body = '';
  let atUs = firstUs;
  for (let token = 0; token < TOKENS; token += 1) {
    const event = `data: {"choices":[{"delta":{"content":"${'x'.repeat(1 + upTo(8))}"}}]}\n\n`;
    times.push(atUs, event.length + event.length.toString(16).length + 4);
    body += event;
    atUs += 5_000 + upTo(60_000);
  }
  times.push(atUs, '0\r\n\r\n'.length);
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
  return exchangeOf({
    arrivalUs: TEST_EPOCH_US + nth,
    route: 'POST /v1/chat/completions',
    streamed: true,
    requestEndOffsetUs: REQUEST_END_US,
    firstByteOffsetUs: firstUs,
    lastByteOffsetUs: atUs,
    request: requestMessage({ target: '/v1/chat/completions', body: `{"stream":true,"messages":[${nth}]}` }),
    response: { head: Buffer.from(head), redacted: [], body: wholeBody(body), trailers: null },
    responseChunks: times,
  });
}

/** Milliseconds from the request to each event, the head's first. */
async function arrivalsOf(port: number, nth: number, agent: Agent): Promise<number[]> {
  const asked = request({ host: '127.0.0.1', port, method: 'POST', path: '/v1/chat/completions', agent });
  const beganNs = systemClock.nowNs();
  const sinceMs = () => (systemClock.nowNs() - beganNs) / 1e6;
  asked.end(`{"stream":true,"messages":[${nth}]}`);
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  const arrivals = [sinceMs()];
  let newLines = 0;
  for await (const chunk of answer) {
    for (const byte of chunk as Buffer) {
      newLines += byte === 0x0a ? 1 : 0;
      if (byte === 0x0a && newLines % 2 === 0) arrivals.push(sinceMs());
    }
  }
  return arrivals;
}

function p95(values: number[]): number {
  return values.sort((one, other) => one - other)[Math.floor(values.length * 0.95)] ?? Number.NaN;
}

describe('a mock', () => {
  test('keeps the recorded times of 200 streams at once within 5 ms (p95)', async () => {
    const random = new SeededRandom(1);
    const recorded = Array.from({ length: STREAMS }, (_, nth) => stream(nth, random));
    const mock = startReprise([
      ...['--log-format', 'json', 'mock', captureOf(recorded)],
      ...['--listen', '127.0.0.1:0', '--unknown', '404', '--json'],
    ]);
    const [, port] = await mock.waitFor('stderr', /"address":"127\.0\.0\.1:(\d+)"/);
    const agent = new Agent({ keepAlive: true, maxSockets: STREAMS });
    const rounds = repeated(3, 7);
    const [firsts, gaps]: [number[], number[]] = [[], []];
    // The first opens the connections, which recorded times do not hold, and compiles the code.
    for (let round = 0; round <= rounds; round += 1) {
      const seen = await Promise.all(
        recorded.map(async (_, nth) => {
          await sleep(nth * APART_MS);
          return await arrivalsOf(Number(port), nth, agent);
        }),
      );
      if (round === 0) continue;
      for (const [nth, [first = 0, ...events]] of seen.entries()) {
        const { firstByteOffsetUs, responseChunks } = recorded[nth] as Exchange;
        firsts.push(Math.abs(first - (firstByteOffsetUs ?? 0) / 1e3));
        expect(events.length).toBe(TOKENS);
        for (let token = 1; token < TOKENS; token += 1) {
          const gapUs = (responseChunks[2 * token] ?? 0) - (responseChunks[2 * token - 2] ?? 0);
          gaps.push(Math.abs((events[token] ?? 0) - (events[token - 1] ?? 0) - gapUs / 1e3));
        }
      }
    }
    const figures = { firstByteMs: p95(firsts), gapMs: p95(gaps) };
    console.log(JSON.stringify(figures));
    expect(figures.firstByteMs).toBeLessThanOrEqual(5);
    expect(figures.gapMs).toBeLessThanOrEqual(5);
    agent.destroy();
    const { stdout } = await mock.kill('SIGTERM');
    const exact = STREAMS * (rounds + 1);
    expect(JSON.parse(stdout)).toMatchObject({ exact, nearest: 0, unknown: 0, busy: 0, estimatedCuts: 0 });
  });
});
