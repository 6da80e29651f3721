import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Exchange } from '../../../src/core/exchange.ts';
import { DEFAULT_RECORDING_POLICY, recordingParts } from '../../../src/redaction/recording-policy.ts';
import { ANSWER_HEAD, callHead, fedEnd } from '../../support/grpc.ts';
import { repeated } from '../../support/long-form.ts';
import { Feed, HASH, latin1 } from './harness.ts';

interface Passed {
  readonly target?: string;
  readonly method?: string;
  readonly lines?: readonly string[];
  readonly form?: string;
  readonly answerLines?: readonly string[];
  /** Of request and answer, each with its line end. */
  readonly trailers?: string;
}

/** Records one exchange under a policy of added query keys, session keys and a rule for bodies. */
function recorded({
  target = '/p',
  method = 'POST',
  lines = [],
  form = '',
  answerLines = [],
  trailers,
}: Passed): Exchange {
  const policy = {
    ...DEFAULT_RECORDING_POLICY,
    bodies: 'all' as const,
    session: ['x-session-id', 'query:sid'],
    redact: { ...DEFAULT_RECORDING_POLICY.redact, rules: ['/prompt=mask'], queryKeys: ['ticket'] },
  };
  const feed = new Feed(recordingParts(policy, HASH, 'r1'));
  const framing = trailers === undefined ? `Content-Length: ${form.length}` : 'Transfer-Encoding: chunked';
  const type = 'Content-Type: application/x-www-form-urlencoded';
  const ends = trailers === undefined ? '' : `0\r\n${trailers}\r\n`;
  feed.client(
    [`${method} ${target} HTTP/1.1`, 'Host: m', type, framing, ...lines, '', form + ends].join('\r\n'),
  );
  const answered = trailers === undefined ? 'Content-Length: 0' : 'Transfer-Encoding: chunked';
  feed.server(['HTTP/1.1 200 OK', answered, ...answerLines, '', ends].join('\r\n'));
  const [exchange] = feed.exchanges;
  if (exchange === undefined) throw new Error(`not recorded: ${feed.fates.join(', ')}`);
  return exchange;
}

/** Everything of it that is written: the row's names, heads, trailers, bodies, and what was noted as masked. */
function writtenOf({ route, model, request, response }: Exchange): string {
  const messages = [request, response].map((message) =>
    message === null
      ? ''
      : [latin1(message.head), latin1(message.trailers), latin1(message.body.kept), ...message.redacted].join(
          '\n',
        ),
  );
  return [route, model, ...messages].join('\n');
}

describe('the error text of a gRPC call', () => {
  const details = Buffer.from('no such user: Adalberta').toString('base64');
  const failed = (redact: Partial<typeof DEFAULT_RECORDING_POLICY.redact>) => {
    const policy = { ...DEFAULT_RECORDING_POLICY, redact: { ...DEFAULT_RECORDING_POLICY.redact, ...redact } };
    const feed = new Feed(recordingParts(policy, HASH, 'r1'));
    feed.client(callHead('/shop.Search/Find', 'authorization: Bearer Adalberta')).client(fedEnd());
    const fields = ['grpc-status: 5', 'grpc-message: no Adalberta', `grpc-status-details-bin: ${details}`];
    feed
      .server(ANSWER_HEAD)
      .server(fedEnd(...fields))
      .close();
    return feed.exchanges[0] as Exchange;
  };

  it('is stored, unless something of bodies is masked', () => {
    expect(writtenOf(failed({}))).toContain('no Adalberta');
    for (const redact of [{ presets: ['v2'] }, { rules: ['/prompt=mask'] }, { presets: ['llm'] }]) {
      const exchange = failed(redact);
      const written = writtenOf(exchange);
      expect(written).not.toContain('Adalberta');
      expect(written).not.toContain(details);
      expect(exchange.response?.redacted).toEqual(['grpc-message', 'grpc-status-details-bin']);
      expect(exchange).toMatchObject({ status: 404, grpcStatus: 5 });
    }
    expect(writtenOf(failed({ headers: ['grpc-message'] }))).not.toContain('no Adalberta');
  });

  it('never brings a credential into the request', () => {
    const { request } = failed({});
    expect(latin1(request?.head ?? null)).not.toContain('Adalberta');
    expect(request?.redacted).toEqual(['authorization']);
  });
});

describe('a session key is stored as its hash', () => {
  const hashOf = (value: string) => {
    const text = Buffer.from(HASH.ofValue(Buffer.from(value))).toString('base64url');
    return text.repeat(2).slice(0, value.length);
  };
  const key = 'conversation-7';

  it.each<[string, Passed]>([
    ['a header of the request', { lines: [`X-Session-Id: ${key}`] }],
    ['the server’s echo of it', { answerLines: [`x-session-id: ${key}`] }],
    ['a trailer of request and answer, the first one too', { trailers: `X-Session-Id: ${key}\r\n` }],
    ['the query', { target: `/p?a=1&sid=${key}&b=2` }],
    ['the query behind a semicolon', { target: `/p?a=1;sid=${key}` }],
    ['the query under a percent-encoded name', { target: `/p?%73id=${key}` }],
    ['a parameter of the path', { target: `/p;sid=${key}/read?b=2` }],
    ['the fragment', { target: `/p?a#sid=${key}` }],
    ['a Referer', { lines: [`Referer: http://m/y?sid=${key}`] }],
    ['a Location', { answerLines: [`Location: /x?a=1&sid=${key}#top`] }],
    ['a Link', { answerLines: [`Link: </x?sid=${key}>; rel=next`] }],
    ['a trailer that is a URL', { trailers: `Content-Location: /x?sid=${key}\r\n` }],
  ])('in %s', (_, passed) => {
    const written = writtenOf(recorded(passed));
    expect(written).not.toContain(key);
    expect(written).toContain(hashOf(key));
  });

  it('whole where an encoded URL holds it', () => {
    const next = encodeURIComponent(`/x?sid=${key}`);
    const written = writtenOf(
      recorded({ target: `/p?next=${next}&b=2`, answerLines: [`Location: /p?next=${next}`] }),
    );
    expect(written).not.toContain(key);
    expect(written).toMatch(/POST \/p\?next=[\w-]{27}&b=2 HTTP/);
  });

  it('and what surrounds it stays', () => {
    const { request, response, route } = recorded({
      target: `/p;sid=${key}/read?b=2`,
      answerLines: [`Link: </x?a=1&sid=${key}>; rel=next`],
    });
    expect(latin1(request?.head ?? null)).toContain(`POST /p;sid=${hashOf(key)}/read?b=2 HTTP/1.1`);
    expect(latin1(response?.head ?? null)).toContain(`Link: </x?a=1&sid=${hashOf(key)}>; rel=next`);
    expect(route).toBe('POST /p;sid=*/read');
  });
});

describe('a route and a model name nothing that the head hides', () => {
  it.each([
    ['/v1/doc;token=S3cretMAT/read', 'POST /v1/doc;token=*', null],
    ['/v1/doc;token=other', 'POST /v1/doc;token=*', null],
    ['/x&api_key=S3cretKEY', 'POST /x&api_key=*', null],
    ['/x&ticket=S3cretADD?a=1', 'POST /x&ticket=*', null],
    ['/v2/models/m;token=S3cretMOD/infer', 'POST /v2/models/{model}', 'm;token=*'],
    ['//user:S3cretPW@host/x', 'POST //*@host/x', null],
    ['user:S3cretPW@host:443', 'POST *@host:443', null],
    ['http://user:S3cretPW@host/v2/models/m/infer', 'POST /v2/models/{model}/infer', 'm'],
    ['/unsafe/https%3A%2F%2Fu%3AS3cret%40h%2Fa.png', 'POST /unsafe/*', null],
    ['/fetch/https://u:S3cret@h/a.png', 'POST /fetch/https://*@h/a.png', null],
    ['/v2/models/m;v=1/infer', 'POST /v2/models/{model}/infer', 'm;v=1'],
    ['/a@b/c', 'POST /a@b/c', null],
  ])('of %s', (target, route, model) => {
    const exchange = recorded({ target });
    expect(writtenOf(exchange)).not.toContain('S3cret');
    expect(exchange).toMatchObject({ route, model });
  });
});

describe('a planted secret', () => {
  const url = (secret: string) =>
    fc.constantFrom(
      `https://svc:${secret}@store.internal/a.png`,
      `//${secret}@h`,
      `http://h/cb?token=${secret}`,
      `http://h/cb#access_token=${secret}`,
      `https://h/x?next=//u:${secret}@h&email=a@b.c`,
      `/x;sid=${secret}`,
    );
  const written = (text: string) =>
    fc.constantFrom(text, encodeURIComponent(text), encodeURIComponent(encodeURIComponent(text)));
  const passedWith = (secret: string): fc.Arbitrary<Passed> =>
    fc
      .record({
        value: url(secret).chain(written),
        bare: url(secret),
        tail: fc.constantFrom('', '&b=a@b.c', '#t'),
      })
      .chain(({ value, bare, tail }) =>
        fc.constantFrom<Passed>(
          { target: `/fetch?a=1&image_url=${value}${tail}` },
          { target: `/fetch?${value}${tail}` },
          { target: `/fetch/${bare.replace(/^\/+/, 'ftp://')}` },
          { target: bare.replace(/^https?:\/\/h\//, '/') },
          { target: `/v1/doc;token=${secret}/read` },
          { target: `/v2/models/m&ticket=${secret}/infer` },
          { target: `/p?password=ab>${secret}${tail}` },
          { target: `/p;sid=x>${secret}` },
          { lines: [`Referer: ${bare}`], answerLines: [`Location: ${bare}`, `Link: <${bare}>, <${bare}>`] },
          { lines: [`Referer: /p?u=${value}${tail}`] },
          { lines: [`X-Session-Id: ${secret}`], answerLines: [`X-Session-Id: ${secret}`] },
          { trailers: `X-Session-Id: ${secret}\r\nContent-Location: ${bare}\r\n` },
          // The session's key is hashed in heads only.
          ...(value.includes('sid') ? [] : [{ form: `a=1&callback=${value}&b=a%40b.c` }]),
        ),
      );

  it('is in nothing that is written, whatever URL it stands in, and wherever that stands', () => {
    const secret = 'Zq0S3cret9';
    fc.assert(
      fc.property(passedWith(secret), (passed) => {
        expect(writtenOf(recorded(passed))).not.toContain(secret);
      }),
      { numRuns: repeated(250, 1_000) },
    );
  });
});
