import { describe, expect, it } from 'vitest';
import { headerValue, parseRequestHead } from '../../src/core/headers.ts';
import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { BodyRedaction } from '../../src/redaction/body-redaction.ts';
import { parseBodyRules } from '../../src/redaction/body-rules.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { findSecrets, type Haystack, unpackedBody } from './leak-search.ts';
import { plantedProtocols } from './planted-protocols.ts';
import { flagValues, type PlantedExchange, plantedExchanges } from './planted-secrets.ts';

/** What rules that begin like this name. */
function ruled(start: string): string[] {
  return flagValues('--redact')
    .filter((rule) => rule.startsWith(start))
    .map((rule) => rule.slice(start.length));
}

const heads = new Redaction({
  headers: ruled('header:'),
  queryKeys: ruled('query:'),
});
const hash = new KeyedHash(Buffer.alloc(32, 3));
const bodies = new BodyRedaction(
  parseBodyRules(
    ruled('/').map((rule) => `/${rule}`),
    flagValues('--redact-preset'),
  ),
  hash,
);

/** Head, body and trailers of a message as a recorder has them, chunks joined. */
function partsOf(message: Buffer) {
  const headEnd = message.indexOf('\r\n\r\n') + 4;
  const head = message.subarray(0, headEnd);
  const rest = message.subarray(headEnd);
  if (!/^transfer-encoding: chunked/im.test(head.toString('latin1'))) {
    return { head, body: rest, trailers: Buffer.alloc(0) };
  }
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const line = rest.indexOf('\r\n', at);
    const size = Number.parseInt(rest.toString('latin1', at, line), 16);
    if (size === 0) return { head, body: Buffer.concat(chunks), trailers: rest.subarray(line + 2) };
    chunks.push(rest.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}

/** What would be stored of an exchange. */
function stored({ kind, request, answer, leaves }: PlantedExchange, bodies: BodyRedaction): Haystack[] {
  return [Buffer.concat(request), answer].flatMap((message, side) => {
    const { head, body, trailers } = partsOf(message);
    const { headers } = parseRequestHead(head);
    const contentEncoding = headerValue(headers, 'content-encoding');
    const inferenceLength = headerValue(headers, 'inference-header-content-length');
    const redacted = bodies.redact(body, {
      contentType: headerValue(headers, 'content-type'),
      contentEncoding,
      truncated: side === 0 && (leaves || body.length > 64 * 1024),
      inferenceHeaderLength: inferenceLength === null ? null : Number(inferenceLength),
    });
    const masked = side === 0 ? heads.requestHead(head) : heads.responseHead(head);
    const kept = Buffer.from(redacted.kept ?? []);
    return [masked.bytes, heads.trailers(trailers).bytes, kept, unpackedBody(kept, contentEncoding)].map(
      (bytes) => ({ name: kind, bytes }),
    );
  });
}

const exchanges = plantedExchanges(1);
const secrets = exchanges.flatMap((exchange) => exchange.secrets);

describe('of 200 planted secrets', () => {
  it('none is in anything that would be stored, in any notation', () => {
    expect(new Set(secrets).size).toBe(200);
    expect(
      findSecrets(
        secrets,
        exchanges.flatMap((exchange) => stored(exchange, bodies)),
      ),
    ).toEqual([]);
  });

  it('every one that is sent as it is would be found without redaction', () => {
    const haystacks = exchanges.map(({ kind, request, answer }) => {
      const { head, body, trailers } = partsOf(Buffer.concat(request));
      const coding = /^content-encoding: (\S+)/im.exec(head.toString('latin1'))?.[1] ?? null;
      return { name: kind, bytes: Buffer.concat([head, trailers, unpackedBody(body, coding), answer]) };
    });
    const found = findSecrets(secrets, haystacks);
    const missed = secrets.filter((secret) => !found.some((line) => line.startsWith(secret)));
    expect(missed).toEqual([]);
  });
});

describe('of the secrets in every field of many protocols', () => {
  const planted = plantedProtocols(2);
  const hidden = planted.flatMap(({ places }) =>
    [...places].filter(([, place]) => place !== 'other headers, paths').map(([secret]) => secret),
  );
  const kept = (presets: readonly string[]) => {
    const redaction = new BodyRedaction(parseBodyRules([], presets), hash);
    return planted.flatMap((exchange) => stored(exchange, redaction));
  };

  it('none is stored with the preset llm, which drops no body for it', () => {
    expect(new Set(hidden).size).toBeGreaterThan(500);
    expect(findSecrets(hidden, kept(['llm']))).toEqual([]);
    const sizes = (presets: readonly string[]) =>
      kept(presets).filter(({ bytes }) => bytes.length > 0).length;
    expect(sizes(['llm'])).toBe(sizes([]));
  });

  it('many are stored with the presets that name what to mask', () => {
    expect(findSecrets(hidden, kept(['chat', 'v1', 'v2'])).length).toBeGreaterThan(100);
  });
});
