import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HeaderPair, HOP_BY_HOP, headerValue, parseRequestHead } from '../../src/core/headers.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runReprise } from '../support/process.ts';
import { type RawRequest, RawServer } from '../support/raw-server.ts';
import { startRecording } from '../support/recording.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { missing, sharedData } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import {
  cassetteExchanges,
  handMadeRequests,
  payloadRequests,
  plainAnswer,
  randomRequests,
  rawRequest,
  type WireExchange,
} from '../support/wire-messages.ts';

const CASE_HEADER = 'x-case';
const PIECE_BYTES = 1_000_000;
/** What the sender writes itself, what belongs to one connection, and the marker (docs/guides/what-is-sent.md). */
const EXCEPTED = new Set([...HOP_BY_HOP, 'host', 'content-length', 'x-reprise-run']);

const EMPTY_CHUNKED = '0 B chunked';
const random = randomRequests([0, 1, 1_000, 65_536, 1_048_577, 32 * 1024 * 1024]);
/** Bodies of every framing and size, and what is not sent and must therefore be counted. */
const REPLAYABLE: readonly WireExchange[] = [
  ...handMadeRequests(),
  ...payloadRequests('kserve-payloads'),
  ...payloadRequests('triton-payloads'),
  ...cassetteExchanges(200),
  ...random.filter(({ name }) => name !== EMPTY_CHUNKED),
];
const UNREPLAYABLE: readonly WireExchange[] = [
  {
    name: 'Expect',
    request: rawRequest('POST', '/any', ['Expect: 100-continue', 'Content-Length: 2'], Buffer.from('{}')),
    answer: [plainAnswer('{}')],
  },
  // undici sends a body of no bytes with its length.
  ...random.filter(({ name }) => name === EMPTY_CHUNKED),
  { name: 'OPTIONS *', request: rawRequest('OPTIONS', '*', [], Buffer.alloc(0)), answer: [plainAnswer('')] },
];

const exchanges = [...UNREPLAYABLE, ...REPLAYABLE].map((exchange, index) => ({
  ...exchange,
  request: labelled(exchange.request, index),
}));
const directory = `${temporaryDirectory()}/capture`;
let returned: Buffer[] = [];
let origin: ScriptedOrigin;
let end: Readonly<Record<string, unknown>>;

/** Puts the number of the case behind the request line, so that replayed requests find their original. */
function labelled(request: Buffer, index: number): Buffer {
  const lineEnd = request.indexOf('\n') + 1;
  const label = Buffer.from(`X-Case: ${index}\r\n`);
  return Buffer.concat([request.subarray(0, lineEnd), label, request.subarray(lineEnd)]);
}

/** Sends all exchanges one after the other on a few connections and keeps what came back on each. */
async function playThrough(port: number): Promise<Buffer[]> {
  const answers: Buffer[] = [];
  for (let from = 0; from < exchanges.length; from += 50) {
    const share = exchanges.slice(from, from + 50);
    origin.expect(share.map(({ request, answer }) => ({ requestBytes: request.length, answer })));
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    const chunks: Buffer[] = [];
    let have = 0;
    let wake: () => void = () => undefined;
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      have += chunk.length;
      wake();
    });
    let wanted = 0;
    for (const { request, answer } of share) {
      wanted += answer.reduce((sum, part) => sum + part.length, 0);
      // In pieces, no faster than a busy disk: at once, the largest body is as much as the queue to the recorder holds.
      for (let at = 0; at < request.length; at += PIECE_BYTES) {
        if (at > 0) await sleep(50);
        socket.write(request.subarray(at, at + PIECE_BYTES));
      }
      while (have < wanted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      // Loopback moves gigabytes a second and no disk does: the next giant waits until this one is kept.
      if (request.length > 4_000_000) await kept(exchanges.findIndex((one) => one.request === request) + 1);
    }
    socket.end();
    await once(socket, 'close');
    answers.push(Buffer.concat(chunks));
  }
  return answers;
}

/** Waits until that many exchanges are committed. */
async function kept(count: number): Promise<void> {
  for (let found = 0; found < count; ) {
    await sleep(100);
    const capture = openCapture(directory);
    found = [...capture.rows()].length;
    capture.close();
  }
}

beforeAll(async () => {
  origin = await new ScriptedOrigin().listen();
  const recording = await startRecording(origin.port, directory);
  returned = await playThrough(recording.port);
  ({ end } = await recording.stop());
});
afterAll(() => origin.close());

describe('through the recorder', () => {
  it('every byte on the wire is equal in both directions', () => {
    for (let from = 0; from < exchanges.length; from += 50) {
      const share = exchanges.slice(from, from + 50);
      const sent = Buffer.concat(share.map(({ request }) => request));
      const answered = Buffer.concat(share.flatMap(({ answer }) => answer));
      expect(origin.received[from / 50]?.equals(sent)).toBe(true);
      expect(returned[from / 50]?.equals(answered)).toBe(true);
    }
  });

  it('every exchange is recorded, and nothing is lost or left out', () => {
    expect({ lost: end['lost'], omitted: end['omitted'] }).toEqual({ lost: {}, omitted: {} });
    expect(end).toMatchObject({ exchanges: exchanges.length, cut: 0 });
  });
});

describe('in the replay', () => {
  let target: RawServer;
  let summary: Readonly<Record<string, unknown>>;

  beforeAll(async () => {
    target = await RawServer.start();
    const out = `${temporaryDirectory()}/run`;
    const { status, stdout, stderr } = await runReprise([
      'replay',
      directory,
      ...['--target', target.origin, '--multiplier', '1', '--out', out, '--json'],
      // Bodies of 32 MiB to a server in this very process: on a starved machine they take their time.
      ...['--timeout', 'drain=80s'],
    ]);
    expect(stderr).not.toContain('unexpected');
    expect([0, 4]).toContain(status);
    summary = JSON.parse(stdout) as Record<string, unknown>;
  }, 150_000);
  afterAll(async () => await target.close());

  it('what is not sent is counted, and everything else is sent once', () => {
    expect(summary).toMatchObject({
      planned: REPLAYABLE.length,
      sent: REPLAYABLE.length,
      completed: REPLAYABLE.length,
      unreplayable: UNREPLAYABLE.length,
    });
    expect(target.requests).toHaveLength(REPLAYABLE.length);
  });

  it('method, target, body and the list of headers are equal to the recorded ones', () => {
    const redacted = redactedNames();
    for (const received of target.requests) {
      const index = Number(headerValue(received.headers, CASE_HEADER));
      const { name, request } = exchanges[index] as WireExchange;
      const head = parseRequestHead(request.subarray(0, request.indexOf('\r\n\r\n') + 4));
      expect([name, received.method, received.target]).toEqual([name, head.method, head.target]);
      const kept = (headers: readonly HeaderPair[]) =>
        headers.filter(([header]) => {
          const lower = header.toLowerCase();
          return !EXCEPTED.has(lower) && !redacted.get(index)?.has(lower);
        });
      expect([name, kept(received.headers)]).toEqual([name, kept(head.headers)]);
      expect([name, received.chunked]).toEqual([name, isChunked(head.headers)]);
      expect(bodyEquals(received, request), `body of ${name}`).toBe(true);
    }
  });
});

describe('the data', () => {
  it('of hosted servers is among the cases', ({ skip }) => {
    skip(sharedData('pydantic-ai-cassettes') === null, missing('pydantic-ai-cassettes'));
    expect(exchanges.filter(({ name }) => name.startsWith('cassette'))).toHaveLength(200);
  });
});

function isChunked(headers: readonly HeaderPair[]): boolean {
  return headerValue(headers, 'transfer-encoding')?.toLowerCase() === 'chunked';
}

function bodyEquals(received: RawRequest, request: Buffer): boolean {
  const rawBody = request.subarray(request.indexOf('\r\n\r\n') + 4);
  if (!received.chunked) return received.body.equals(rawBody);
  return received.body.equals(unchunked(rawBody));
}

function unchunked(raw: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = raw.indexOf('\r\n', at);
    const size = Number.parseInt(raw.subarray(at, lineEnd).toString('latin1'), 16);
    if (size === 0) return Buffer.concat(parts);
    parts.push(raw.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}

/** Header names whose values were masked, by case. */
function redactedNames(): Map<number, Set<string>> {
  const names = new Map<number, Set<string>>();
  const capture = openCapture(directory);
  for (const row of capture.rows()) {
    const request = capture.payload(row)?.request;
    if (!request) continue;
    const index = Number(headerValue(parseRequestHead(request.head).headers, CASE_HEADER));
    names.set(index, new Set(request.redacted));
  }
  capture.close();
  return names;
}
