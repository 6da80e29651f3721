import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { formatInstantUs } from '../../src/core/units.ts';
import { CaptureWriter } from '../../src/storage/capture/writer.ts';
import { newCapture, querySegment, writerOptions } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US, testHash } from '../support/exchanges.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { missing, sharedData } from '../support/shared-data.ts';

/** Target and body of a request. */
interface SampleRequest {
  readonly target: string;
  readonly body: Uint8Array;
}

/** Bodies of KServe's samples, decompressed if they are stored compressed. */
function kserveRequests(): SampleRequest[] {
  const root = sharedData('kserve-payloads');
  if (root === null) return [];
  return ['', 'openai', 'samples'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((file) => /\.json(\.gz)?$/.test(file))
      .map((file) => {
        const bytes = readFileSync(join(root, folder, file));
        const name = file.replace(/\.json(\.gz)?$/, '').slice(0, 24);
        const target = folder === 'openai' ? '/openai/v1/chat/completions' : `/v2/models/${name}/infer`;
        return { target, body: file.endsWith('.gz') ? gunzipSync(bytes) : bytes };
      }),
  );
}

/** Chat prompts of real users, each as a separate body. */
function arenaRequests(): SampleRequest[] {
  const path = sharedData('arena-hard-prompts/chat_completions.jsonl.gz');
  if (path === null) return [];
  return gunzipSync(readFileSync(path))
    .toString()
    .trim()
    .split('\n')
    .map((line) => ({ target: '/v1/chat/completions', body: Buffer.from(line) }));
}

/** Traffic of `count` exchanges at a steady mean rate, as assembly would produce it by default. */
function* trafficOf(
  requests: readonly SampleRequest[],
  { count, ratePerSecond, order }: { count: number; ratePerSecond: number; order: 'drawn' | 'in turn' },
): Generator<Exchange> {
  const random = new SeededRandom(11);
  let arrivalUs = TEST_EPOCH_US;
  for (let index = 0; index < count; index += 1) {
    arrivalUs += Math.round((-Math.log(1 - unit(random)) * 1e6) / ratePerSecond);
    const place = order === 'drawn' ? Math.floor(unit(random) * requests.length) : index % requests.length;
    const sample = requests[place] as SampleRequest;
    const hex = () => random.nextUint32().toString(16).padStart(8, '0');
    const request = requestMessage({
      target: sample.target,
      headers: [
        ['Host', 'models.internal:8080'],
        ['User-Agent', 'python-httpx/0.28.1'],
        ['Accept', '*/*'],
        ['Accept-Encoding', 'gzip, deflate'],
        ['Content-Type', 'application/json'],
        ['X-Request-Id', `${hex()}${hex()}${hex()}${hex()}`],
        ['Content-Length', String(sample.body.byteLength)],
      ],
      body: sample.body,
    });
    const responseBytes = 200 + Math.floor(unit(random) * 4_000);
    const ttfbUs = 3_000 + Math.floor(unit(random) * 40_000);
    const head = [
      'HTTP/1.1 200 OK',
      `date: ${new Date(arrivalUs / 1000).toUTCString()}`,
      'server: uvicorn',
      `content-length: ${responseBytes}`,
      'content-type: application/json',
    ];
    yield exchangeOf({
      arrivalUs,
      connection: 1 + (index % 32),
      client: Buffer.alloc(8, index % 32),
      route: sample.target.startsWith('/v2/') ? 'POST /v2/models/{model}/infer' : `POST ${sample.target}`,
      model: sample.target.startsWith('/v2/') ? (sample.target.split('/')[3] ?? null) : 'chat',
      requestEndOffsetUs: 100 + Math.floor(unit(random) * 900),
      firstByteOffsetUs: ttfbUs,
      lastByteOffsetUs: ttfbUs + 50 + Math.floor(unit(random) * 500),
      request,
      response: {
        head: Buffer.from(`${head.join('\r\n')}\r\n\r\n`),
        redacted: [],
        body: {
          bytes: responseBytes,
          kept: null,
          truncated: false,
          hash: testHash.ofBody(Buffer.from(`${hex()}${hex()}`)),
        },
        trailers: null,
      },
      requestChunks: [0, request.head.byteLength + sample.body.byteLength],
      responseChunks: [ttfbUs, responseBytes + 130],
    });
  }
}

/** An exchange as a text log would have it: time, duration, both heads and the request's body. */
function logText(exchange: Exchange): string {
  const { arrivalUs, requestEndOffsetUs, firstByteOffsetUs, lastByteOffsetUs, connection } = exchange;
  const facts = [formatInstantUs(arrivalUs), connection, exchange.outcome, requestEndOffsetUs];
  const hash = (message: Exchange['request']) => Buffer.from(message?.body.hash ?? []).toString('hex');
  return [
    [...facts, firstByteOffsetUs, lastByteOffsetUs, Buffer.from(exchange.client ?? []).toString('hex')].join(
      ' ',
    ),
    Buffer.from(exchange.request?.head ?? []).toString('latin1'),
    Buffer.from(exchange.request?.body.kept ?? []).toString(),
    Buffer.from(exchange.response?.head ?? []).toString('latin1'),
    `${hash(exchange.request)} ${hash(exchange.response)}\n`,
  ].join('\n');
}

/** Records traffic on a clock that follows its arrivals, like a live recorder, and seals it. @returns the capture */
function recordAndSeal(traffic: Iterable<Exchange>): string {
  const clock = new ManualClock(0, TEST_EPOCH_US);
  const directory = newCapture();
  const writer = new CaptureWriter(
    writerOptions(directory, { segmentBy: 'clock', policy: { bodies: 'requests' } }),
    clock,
  );
  for (const exchange of traffic) {
    const untilNs = (exchange.arrivalUs - TEST_EPOCH_US) * 1000;
    // The recorder checks every 25 ms whether a commit is due.
    while (writer.pendingExchanges > 0 && clock.nowNs() < untilNs) {
      clock.advanceTo(Math.min(untilNs, clock.nowNs() + 25e6));
      if (writer.due(clock.nowNs())) writer.commit();
    }
    clock.advanceTo(untilNs);
    writer.append(exchange);
    if (writer.due(clock.nowNs())) writer.commit();
  }
  const { error } = writer.close();
  if (error !== null) throw new Error(error);
  return directory;
}

/** Total size of all files of a capture. */
function bytesOf(directory: string): number {
  return readdirSync(directory).reduce((sum, file) => sum + statSync(join(directory, file)).size, 0);
}

/** Bytes of the blocks in the only segment of a capture: heads and bodies, without rows, roll-ups and SQLite's data. */
function payloadBytesOf(directory: string): number {
  return (
    querySegment<{ bytes: number }>(directory, 'SELECT sum(length(payload)) AS bytes FROM block')[0]?.bytes ??
    0
  );
}

/** Bytes on the wire: heads of both messages, and the request's body. */
function wireBytesOf(traffic: Iterable<Exchange>): number {
  let bytes = 0;
  for (const { request, response } of traffic) {
    bytes += (request?.head.byteLength ?? 0) + (request?.body.bytes ?? 0) + (response?.head.byteLength ?? 0);
  }
  return bytes;
}

/** Size of the same traffic as one log under `gzip -6`. */
function gzippedLogBytes(traffic: Iterable<Exchange>): number {
  return gzipSync(Buffer.from([...traffic].map(logText).join('')), { level: 6 }).byteLength;
}

function unit(random: SeededRandom): number {
  return random.nextUint32() / 2 ** 32;
}

/** Of the same traffic as one text log under `gzip -6`. */
const OF_GZIPPED_LOG = 1.1;
const OF_RAW = 0.45;

const arena = arenaRequests();
const both = [...kserveRequests(), ...arena];
const absent = arena.length === 0 || both.length === arena.length;

interface Figures {
  readonly sealed: number;
  readonly ofGzippedLog: number;
  readonly ofRaw: number;
}

function measure(
  requests: readonly SampleRequest[],
  ratePerSecond: number,
  seconds: number | 'each once',
): Figures {
  const order = seconds === 'each once' ? 'in turn' : 'drawn';
  const count = seconds === 'each once' ? requests.length : ratePerSecond * seconds;
  const traffic = () => trafficOf(requests, { count, ratePerSecond, order });
  const sealed = bytesOf(recordAndSeal(traffic()));
  const figures = {
    sealed,
    ofGzippedLog: sealed / gzippedLogBytes(traffic()),
    ofRaw: sealed / wireBytesOf(traffic()),
  };
  process.stdout.write(
    `${count} exchanges at ${ratePerSecond}/s ${order}: ${sealed} bytes sealed, ` +
      `${figures.ofGzippedLog.toFixed(3)} of gzip -6, ${figures.ofRaw.toFixed(3)} of raw\n`,
  );
  return figures;
}

describe.skipIf(absent)(
  absent ? missing('kserve-payloads and data/arena-hard-prompts') : 'a sealed capture',
  () => {
    test.each([
      [2, 3_600],
      [2_000, 10],
    ])('of model requests and prompts at %s/s is no larger than a gzipped log of them', (rate, seconds) => {
      expect(measure(both, rate, seconds).ofGzippedLog).toBeLessThanOrEqual(OF_GZIPPED_LOG);
    });

    test.each([2, 2_000])('of each of them once at %s/s is not either', (rate) => {
      expect(measure(both, rate, 'each once').ofGzippedLog).toBeLessThanOrEqual(OF_GZIPPED_LOG);
    });

    test.each([
      [2, 3_600],
      [2_000, 10],
    ])('of prompts alone at %s/s is less than half of what passed', (rate, seconds) => {
      expect(measure(arena, rate, seconds).ofRaw).toBeLessThanOrEqual(OF_RAW);
    });

    test.each([2, 2_000])(
      'keeps heads and bodies of each prompt once at %s/s in 0.45 of their size',
      (rate) => {
        const traffic = () =>
          trafficOf(arena, { count: arena.length, ratePerSecond: rate, order: 'in turn' });
        const bodies = arena.reduce((sum, { body }) => sum + body.byteLength, 0);
        expect(payloadBytesOf(recordAndSeal(traffic())) / bodies).toBeLessThanOrEqual(OF_RAW);
      },
    );
  },
);
