import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { http2PartOf } from '../../../src/replay/request/http2-part.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { grpcMessage } from '../../support/grpc.ts';

const HEADERS = ['content-type', 'application/grpc'];

/** The parts of a call, with its times in microseconds. */
function partsOf(
  requestChunks: readonly number[],
  requestEndOffsetUs: number | null,
  responseChunks: readonly number[] = [],
  bodyBytes = requestChunks.reduce((sum, value, at) => sum + (at % 2 === 1 ? value : 0), 0),
): readonly number[] | undefined {
  const row: ExchangeRow = exchangeRow({ protocol: 'h2', requestEndOffsetUs });
  const payload = { request: null, response: null, requestChunks, responseChunks };
  const body = bodyBytes === 0 ? null : Buffer.alloc(bodyBytes);
  const request = { method: 'POST', path: '/m.S/C', headers: HEADERS, body, chunked: true };
  return http2PartOf(row, payload, request, null)?.parts;
}

describe('the parts of a gRPC call', () => {
  test.each<[string, ReturnType<typeof partsOf>, readonly number[]]>([
    ['a unary call leaves at once', partsOf([20, 100], 40), []],
    ['so does a long one, whose end came late', partsOf([20, 50_000_000], 900_000), []],
    [
      'a stream of one message ends after the answers that it waited for',
      partsOf([0, 9], 5_000, [2_000, 8]),
      [0, 9, 0, 5e6, 0, 1],
    ],
    ['messages leave at their offsets', partsOf([0, 9, 7_000, 8], 20_000), [0, 9, 0, 7e6, 8, 0, 20e6, 0, 0]],
    ['those of one moment leave together', partsOf([0, 9, 300, 8, 900, 7], 950), []],
    ['but not over an answer', partsOf([0, 9, 300, 8], 400, [200, 5]), [0, 9, 0, 300e3, 8, 1]],
    ['a first message that came late waits', partsOf([5_000, 9], 5_100), [5e6, 9, 0]],
    ['a request without messages whose end came late', partsOf([], 9_000, [4_000, 3]), [9e6, 0, 1]],
    ['times that do not cover the body are not used', partsOf([0, 9, 7_000, 8], 20_000, [], 30), []],
    ['an unknown end goes with the last message', partsOf([0, 9, 7_000, 8], null), [0, 9, 0, 7e6, 8, 0]],
  ])('%s', (_name, parts, expected) => {
    expect(parts).toEqual(expected);
  });

  test('have the lengths with which they are sent: an id may have become longer', () => {
    const row = exchangeRow({ protocol: 'h2', requestEndOffsetUs: 20_000 });
    const payload = { request: null, response: null, requestChunks: [0, 9, 7_000, 8], responseChunks: [] };
    const body = Buffer.concat(['longer', 'longest'].map((text) => grpcMessage(text)));
    const request = { method: 'POST', path: '/m.S/C', headers: HEADERS, body, chunked: true };
    expect(http2PartOf(row, payload, request, null)?.parts).toEqual([0, 11, 0, 7e6, 12, 0, 20e6, 0, 0]);
  });

  test('cover the body, in order of time, each with the answers before it', () => {
    const times = fc.array(fc.tuple(fc.nat(100_000), fc.integer({ min: 5, max: 60 })), { maxLength: 12 });
    const flat = (pairs: readonly (readonly [number, number])[]) =>
      [...pairs].sort(([a], [b]) => a - b).flat();
    fc.assert(
      fc.property(times, times, fc.nat(150_000), (asked, answered, endUs) => {
        const requests = flat(asked);
        const parts = partsOf(requests, Math.max(endUs, requests.at(-2) ?? 0), flat(answered)) ?? [];
        if (parts.length === 0) return;
        const triples = Array.from({ length: parts.length / 3 }, (_, at) => parts.slice(at * 3, at * 3 + 3));
        const sum = triples.reduce((bytes, [, each = 0]) => bytes + each, 0);
        expect(sum).toBe(asked.reduce((bytes, [, each]) => bytes + each, 0));
        for (const [at, [offsetNs = 0, , answers]] of triples.entries()) {
          expect(offsetNs).toBeGreaterThanOrEqual(triples[at - 1]?.[0] ?? 0);
          expect(answers).toBe(answered.filter(([us]) => us * 1_000 < offsetNs).length);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('the rest of the HTTP/2 part', () => {
  const part = (row: Partial<ExchangeRow>, headers: readonly string[]) =>
    http2PartOf(
      exchangeRow({ protocol: 'h2', ...row }),
      null,
      { method: 'POST', path: '/', headers, body: null, chunked: true },
      7,
    );

  test('is absent for HTTP/1.1', () => {
    expect(part({ protocol: 'http/1.1' }, HEADERS)).toBeNull();
  });

  test('has the deadline of a call, and the connection', () => {
    expect(part({ responseMessages: 2 }, [...HEADERS, 'grpc-timeout', '250m'])).toEqual({
      grpc: true,
      connection: 7,
      deadlineNs: 250e6,
      wantsMessage: true,
      parts: [],
    });
  });

  test('takes no deadline from a request that is no call', () => {
    expect(part({}, ['content-type', 'text/plain', 'grpc-timeout', '1S'])).toMatchObject({
      grpc: false,
      deadlineNs: null,
      wantsMessage: false,
    });
  });
});
