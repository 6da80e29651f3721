import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCorpus } from './corpus.ts';
import { Feed, type ReadMessage, readRequest, readResponse } from './harness.ts';
import { type NodeMessage, NodeRequestParser, NodeResponseParser } from './node-parser.ts';

const STRICT = readCorpus().filter((case_) => case_.strict);
const requests = new NodeRequestParser();
const responses = new NodeResponseParser();

/** Redaction is another test's business: here both sides must show what was on the wire. */
const unmasked = {
  nameable: (target: string) => target,
  requestHead: (bytes: Uint8Array) => ({ bytes: Buffer.from(bytes), names: [] }),
  responseHead: (bytes: Uint8Array) => ({ bytes: Buffer.from(bytes), names: [] }),
  trailers: (bytes: Uint8Array) => ({ bytes: Buffer.from(bytes), names: [] }),
  additions: { headers: [], queryKeys: [] },
};

function ourRequests(bytes: Buffer): ReadMessage[] {
  const feed = new Feed({ redaction: unmasked as never }).client(bytes).close('client_end');
  return feed.exchanges
    .filter((exchange) => exchange.requestEndOffsetUs !== null)
    .map((exchange) => {
      const { start, headers, body } = readRequest(exchange);
      return { start: start.slice(0, 2), headers, body, trailers: null };
    });
}

function ourResponse(bytes: Buffer): ReadMessage[] {
  const feed = new Feed({ redaction: unmasked as never }).client('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  feed.server(bytes).close('server_end');
  return feed.exchanges
    .filter((exchange) => exchange.response !== null && exchange.outcome === 'completed')
    .map((exchange) => ({ ...readResponse(exchange), trailers: null }));
}

/** Where both read on, both must have read the same. Answers how many messages that were. */
function compare(name: string, ours: readonly ReadMessage[], theirs: readonly NodeMessage[]): number {
  const both = Math.min(ours.length, theirs.length);
  for (let at = 0; at < both; at += 1) {
    const shown = theirs[at]?.body === null ? { ...ours[at], body: null } : ours[at];
    expect(shown, name).toEqual(theirs[at]);
  }
  return both;
}

beforeAll(async () => {
  await requests.start();
  await responses.start();
});

afterAll(async () => {
  await requests.stop();
  await responses.stop();
});

describe("assembly beside Node's own parser, on the strict cases of the llhttp corpus", () => {
  it('reads every request Node reads, equal in method, target, headers and body', async () => {
    const refused: string[] = [];
    let compared = 0;
    for (const case_ of STRICT.filter((strict) => strict.side === 'request')) {
      const messages = await requests.read(case_.bytes);
      const ours = ourRequests(case_.bytes);
      compared += compare(case_.name, ours, messages);
      if (ours.length < messages.length) refused.push(case_.name);
    }
    // Other protocols, HTTP/0.9, and a CONNECT with content, which is the tunnel's or is not.
    expect(refused).toEqual([
      'request/method.md: CONNECT with body',
      'request/method.md: SOURCE request with ICE',
      'request/method.md: OPTIONS request with RTSP',
      'request/method.md: ANNOUNCE request with RTSP',
      'request/sample.md: No HTTP version',
    ]);
    expect(compared).toBeGreaterThan(60);
  });

  it('reads every response Node reads, equal in status, reason, headers and body', async () => {
    const refused: string[] = [];
    let compared = 0;
    for (const case_ of STRICT.filter((strict) => strict.side === 'response')) {
      const messages = await responses.read(case_.bytes);
      const ours = ourResponse(case_.bytes);
      compared += compare(case_.name, ours, messages);
      if (ours.length < messages.length) refused.push(case_.name);
    }
    expect(refused).toEqual([
      'response/sample.md: RTSP response',
      'response/sample.md: ICE response',
      'response/sample.md: HTTP version 0.9',
    ]);
    expect(compared).toBeGreaterThan(25);
  });
});
