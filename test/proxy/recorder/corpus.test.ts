import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../../src/core/random.ts';
import { repeated } from '../../support/long-form.ts';
import { type CorpusCase, mutate, readCorpus } from './corpus.ts';
import { Feed, readRequest, readResponse } from './harness.ts';

const CASES = readCorpus();
/** Of each case. */
const CUTS = repeated(1, 3);
const MUTATIONS = repeated(1_500, 5_000);
const ASK = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Feeds one case from its own side, cut by `cut`, and ends the connection. */
function feed(side: CorpusCase['side'], bytes: Uint8Array, cut: (bytes: Uint8Array) => Uint8Array[]): Feed {
  const feed = new Feed();
  if (side === 'request') {
    for (const piece of cut(bytes)) feed.client(piece);
    feed.server(ANSWER).close('client_end');
  } else {
    for (let count = 0; count < 4; count += 1) feed.client(ASK);
    for (const piece of cut(bytes)) feed.server(piece);
    feed.close('server_end');
  }
  feed.assertSettled();
  return feed;
}

const whole = (bytes: Uint8Array): Uint8Array[] => [bytes];
const byteByByte = (bytes: Uint8Array): Uint8Array[] => [...bytes].map((byte) => Uint8Array.of(byte));

function randomCut(random: SeededRandom): (bytes: Uint8Array) => Uint8Array[] {
  return (bytes) => {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + 1 + random.below(40));
      pieces.push(bytes.subarray(at, end));
      at = end;
    }
    return pieces;
  };
}

/** What was recorded, without the times that depend on how the bytes were cut. */
function recorded(feed: Feed): unknown {
  return {
    protocol: feed.protocol,
    exchanges: feed.exchanges.map((exchange) => ({
      outcome: exchange.outcome,
      request: readRequest(exchange),
      response: exchange.response === null ? null : readResponse(exchange),
    })),
  };
}

describe('the llhttp corpus', () => {
  it('is there in full: every block of both sides', () => {
    expect(CASES).toHaveLength(251);
    expect(CASES.filter((case_) => case_.side === 'request')).toHaveLength(166);
  });

  it('is settled to the last byte, and read alike in one piece, byte by byte and in random pieces', () => {
    const random = new SeededRandom(9112);
    for (const case_ of CASES) {
      const inOnePiece = recorded(feed(case_.side, case_.bytes, whole));
      expect(recorded(feed(case_.side, case_.bytes, byteByByte)), case_.name).toEqual(inOnePiece);
      for (let round = 0; round < CUTS; round += 1) {
        expect(recorded(feed(case_.side, case_.bytes, randomCut(random))), case_.name).toEqual(inOnePiece);
      }
    }
  });

  it('is survived from the wrong side, too', () => {
    for (const case_ of CASES) {
      feed(case_.side === 'request' ? 'response' : 'request', case_.bytes, whole);
    }
  });

  it('is survived in thousands of mutations, each settled to the last byte', () => {
    const random = new SeededRandom(1);
    const protocols = new Map<string, number>();
    for (let round = 0; round < MUTATIONS; round += 1) {
      const case_ = CASES[random.below(CASES.length)];
      if (case_ === undefined) throw new Error('no case');
      const bytes = mutate(mutate(case_.bytes, random), random);
      const { protocol } = feed(case_.side, bytes, round % 2 === 0 ? whole : randomCut(random));
      protocols.set(protocol, (protocols.get(protocol) ?? 0) + 1);
    }
    // Mutants that all fail alike would prove nothing.
    expect(protocols.get('http/1.1')).toBeGreaterThan(MUTATIONS / 5);
    expect(protocols.get('unparsed')).toBeGreaterThan(MUTATIONS / 5);
  });
});
