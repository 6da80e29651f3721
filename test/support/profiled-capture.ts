import { readFileSync } from 'node:fs';
import type { Exchange } from '../../src/core/exchange.ts';
import { buildRequestHead } from '../../src/core/headers.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { captureOf, newCapture } from './captures.ts';
import { exchangeOf, requestMessage, responseMessage, testHash, wholeBody } from './exchanges.ts';
import { fixtureData } from './shared-data.ts';

/** A Monday, 00:00 UTC. */
export const MONDAY_US = Date.UTC(2026, 10, 2) * 1_000;
/** The day that differs from the weekly cycle: Wednesday of the second week. */
export const ODD_DAY = '2026-11-11';
export const SECRET_PROMPT = 'the-prompt-nobody-may-see';

/** Names that would do harm if they were not escaped. */
export const HOSTILE_MODEL = '=HYPERLINK("http://evil.example","x")';
export const HOSTILE_ROUTE = 'GET /users/alice</script><img src=x onerror=alert(1)>';
export const HOSTILE_METHOD = 'X\u001b[31mRED\u202e';

const HOUR_US = 3_600_000_000;
const DAYS = 14;

/** Two weeks of a small service: office hours, quiet weekends, one odd day, failures with retries, payloads. */
export function profiledCapture(scale = 1): string {
  const random = new SeededRandom(7);
  const exchanges: Exchange[] = [];
  for (let hour = 0; hour < DAYS * 24; hour += 1) {
    const day = Math.floor(hour / 24);
    const isOdd = day === 9;
    const hourOfDay = isOdd ? (hour + 12) % 24 : hour % 24;
    const isBusy = hourOfDay >= 9 && hourOfDay < 18;
    const weekend = day % 7 >= 5 ? 0.4 : 1;
    const count = Math.round((isBusy ? 40 : 6) * weekend * scale);
    for (let index = 0; index < count; index += 1) {
      const arrivalUs = MONDAY_US + hour * HOUR_US + Math.floor(unit(random) * HOUR_US);
      exchanges.push(someExchange(arrivalUs, exchanges.length, random));
    }
  }
  // Exchanges at both ends of the two weeks, so that all hours are complete.
  exchanges.push(
    someExchange(MONDAY_US, 1, random),
    someExchange(MONDAY_US + DAYS * 24 * HOUR_US - 1, 2, random),
  );
  exchanges.push(...retried(MONDAY_US + 10 * HOUR_US, random), hostile(MONDAY_US + 11 * HOUR_US));
  exchanges.sort((a, b) => a.arrivalUs - b.arrivalUs);
  return captureOfDays(exchanges);
}

/** Writes a segment for each day. One for each hour would be sealed and synced hundreds of times. */
function captureOfDays(exchanges: readonly Exchange[]): string {
  const directory = newCapture();
  const days = Map.groupBy(exchanges, ({ arrivalUs }) => Math.floor(arrivalUs / (24 * HOUR_US)));
  for (const day of days.values()) captureOf(day, { directory, segmentBy: 'clock' });
  return directory;
}

function someExchange(arrivalUs: number, index: number, random: SeededRandom): Exchange {
  const latencyUs = Math.round(20_000 * Math.exp(2 * unit(random)) * (index % 50 === 0 ? 8 : 1));
  const times = { firstByteOffsetUs: Math.round(latencyUs / 2), lastByteOffsetUs: latencyUs };
  const parties = {
    client: testHash.ofIdentity('client', `client ${Math.floor(unit(random) ** 3 * 40)}`),
    session: testHash.ofIdentity('session', `session ${Math.floor(index / 3)}`),
  };
  const common = { arrivalUs, ...times, ...parties };
  if (index % 4 === 0) return { ...exchangeOf(common), ...chat(index) };
  if (index % 31 === 0) return { ...exchangeOf(common), ...multipart() };
  return exchangeOf({
    ...common,
    status: index % 97 === 0 ? 503 : 200,
    batch: 1 + (index % 4),
    ...tensors(1 + (index % 4)),
  });
}

function tensors(rows: number): Partial<Exchange> {
  const data = Array.from({ length: rows * 4 }, (_, at) => at / 8);
  const body = { inputs: [{ name: 'x', shape: [rows, 4], datatype: 'FP32', data }] };
  return { request: requestMessage({ body: JSON.stringify(body) }) };
}

function chat(index: number): Partial<Exchange> {
  const isStreamed = index % 8 === 0;
  const image = `data:image/png;base64,${png().toString('base64')}`;
  const content =
    index % 16 === 0
      ? [
          { type: 'text', text: SECRET_PROMPT },
          { type: 'image_url', image_url: { url: image } },
        ]
      : `${SECRET_PROMPT} ${'and more of it '.repeat(index % 40)}`;
  const body = {
    model: 'llama-3.1-8b',
    max_tokens: 256,
    stream: isStreamed,
    messages: [{ role: 'user', content }],
  };
  return {
    route: 'POST /v1/chat/completions',
    model: 'llama-3.1-8b',
    streamed: isStreamed,
    firstTokenOffsetUs: 15_000,
    promptTokens: index % 12 === 0 ? 40 : null,
    outputTokens: index % 12 === 0 ? 120 : null,
    request: requestMessage({ target: '/v1/chat/completions', body: JSON.stringify(body) }),
    response: responseMessage(
      200,
      JSON.stringify({ choices: [{ message: { content: 'an answer of some words' } }] }),
    ),
  };
}

function multipart(): Partial<Exchange> {
  const [head, body] = splitHttp(readFileSync(fixtureData('made-here-binary-bodies/multipart-jpeg.http')));
  return {
    route: 'POST /classify-picture',
    model: 'acme-secret-model',
    request: { head, redacted: [], body: wholeBody(body), trailers: null },
  };
}

/** Head and body of a message in a file. */
export function splitHttp(message: Buffer): readonly [head: Buffer, body: Buffer] {
  const end = message.indexOf('\r\n\r\n') + 4;
  return [message.subarray(0, end), message.subarray(end)];
}

/** The header of a picture of 3 by 2 pixels, which is all that is read. */
export function png(): Buffer {
  const bytes = Buffer.alloc(64);
  bytes.write('\x89PNG\r\n\x1a\n', 0, 'latin1');
  bytes.writeUInt32BE(13, 8);
  bytes.write('IHDR', 12, 'latin1');
  bytes.writeUInt32BE(3, 16);
  bytes.writeUInt32BE(2, 20);
  return bytes;
}

function retried(arrivalUs: number, random: SeededRandom): Exchange[] {
  const body = requestMessage({ body: '{"inputs":[{"shape":[9,9],"datatype":"FP32"}]}' });
  return [0, 1].map((attempt) => ({
    ...someExchange(arrivalUs + attempt * 1_000_000, 1, random),
    status: attempt === 0 ? 429 : 200,
    request: body,
  }));
}

function hostile(arrivalUs: number): Exchange {
  return exchangeOf({
    arrivalUs,
    method: HOSTILE_METHOD,
    route: HOSTILE_ROUTE,
    model: HOSTILE_MODEL,
    request: {
      head: buildRequestHead('GET', '/', [['Host', 'production.internal']]),
      redacted: [],
      body: wholeBody(''),
      trailers: null,
    },
  });
}

/** A random number from 0 to 1 (exclusive). */
function unit(random: SeededRandom): number {
  return random.nextUint32() / 2 ** 32;
}
