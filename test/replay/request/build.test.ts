import { describe, expect, it } from 'vitest';
import type { ExchangePayload, Message } from '../../../src/core/exchange.ts';
import type { HeaderPair } from '../../../src/core/headers.ts';
import { AuditCounter } from '../../../src/replay/plan/plan.ts';
import { type BuiltRequest, RequestBuilder, type RequestRules } from '../../../src/replay/request/build.ts';

const MARKER = ['x-reprise-run', 'run-1'];

interface Recorded {
  readonly line?: string;
  readonly headers?: readonly string[];
  readonly redacted?: readonly string[];
  readonly body?: Uint8Array | null;
  readonly bytes?: number;
  readonly truncated?: boolean;
  readonly trailers?: Uint8Array | null;
}

function payloadOf(recorded: Recorded): ExchangePayload {
  const kept = recorded.body === undefined ? new Uint8Array(0) : recorded.body;
  const lines = [recorded.line ?? 'POST /v2/models/m/infer HTTP/1.1', ...(recorded.headers ?? [])];
  const request: Message = {
    head: Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'),
    redacted: recorded.redacted ?? [],
    body: {
      bytes: recorded.bytes ?? kept?.length ?? 0,
      kept,
      truncated: recorded.truncated ?? false,
      hash: null,
    },
    trailers: recorded.trailers ?? null,
  };
  return { request, response: null, requestChunks: [], responseChunks: [] };
}

function builderOf(rules: Partial<RequestRules> = {}): RequestBuilder {
  return new RequestBuilder({
    target: { basePath: '' },
    host: 'target',
    addedHeaders: [],
    runId: 'run-1',
    ...rules,
  });
}

function built(recorded: Recorded, rules: Partial<RequestRules> = {}): BuiltRequest {
  const result = builderOf(rules).build(payloadOf(recorded));
  if (result.kind !== 'ready') throw new Error(`not built: ${JSON.stringify(result)}`);
  return result.request;
}

describe('header rules', () => {
  const added: readonly HeaderPair[] = [['Authorization', 'Bearer staging']];
  it.each<[string, Recorded, Partial<RequestRules>, string[]]>([
    [
      'keeps order, case, duplicates and inner white space',
      { headers: ['B-two: 1', 'a-One: x  y', 'B-two: 2', 'A-ONE: '] },
      {},
      ['B-two', '1', 'a-One', 'x  y', 'B-two', '2', 'A-ONE', ''],
    ],
    ['keeps high bytes as they were', { headers: ['X-Name: M\u00fcller'] }, {}, ['X-Name', 'M\u00fcller']],
    ['leaves out Host and framing', { headers: ['Host: prod', 'Content-Length: 0', 'X: 1'] }, {}, ['X', '1']],
    [
      'keeps the recorded Host when asked for it',
      { headers: ['HOST: prod:8000', 'X: 1'] },
      { host: 'recorded' },
      ['HOST', 'prod:8000', 'X', '1'],
    ],
    [
      'names another host when asked for it',
      { headers: ['HOST: prod:8000', 'X: 1'] },
      { host: 'models.staging' },
      ['X', '1', 'Host', 'models.staging'],
    ],
    [
      'leaves out what is to be removed, in any case',
      { headers: ['X-Debug: 1', 'X: 1', 'x-DEBUG: 2'] },
      { removedHeaders: ['x-debug'] },
      ['X', '1'],
    ],
    [
      'leaves out hop-by-hop names and those Connection nominates',
      {
        headers: [
          'Connection: close, X-Hop',
          'Keep-Alive: timeout=5',
          'TE: trailers',
          'Proxy-Connection: keep-alive',
          'x-hop: 1',
          'X-End: 2',
        ],
      },
      {},
      ['X-End', '2'],
    ],
    [
      'leaves out masked headers and a marker of an older run',
      {
        headers: ['Authorization: ****', 'X: 1', 'X-Reprise-Run: older', 'authorization: ****'],
        redacted: ['authorization', '?api_key'],
      },
      {},
      ['X', '1'],
    ],
    [
      'puts an added header where the masked one stood',
      { headers: ['A: 1', 'authorization: ****', 'B: 2'], redacted: ['authorization'] },
      { addedHeaders: added },
      ['A', '1', 'Authorization', 'Bearer staging', 'B', '2'],
    ],
    [
      'puts an added header in the place of every recorded one of its name',
      { headers: ['Authorization: one', 'A: 1', 'AUTHORIZATION: two'] },
      { addedHeaders: added },
      ['Authorization', 'Bearer staging', 'A', '1'],
    ],
    [
      'appends added headers nobody sent, as often as they were given',
      { headers: ['A: 1'] },
      {
        addedHeaders: [
          ['X-Tag', 'a'],
          ['X-Tag', 'b'],
        ],
      },
      ['A', '1', 'X-Tag', 'a', 'X-Tag', 'b'],
    ],
  ])('%s', (_, recorded, rules, headers) => {
    expect(built(recorded, rules).headers).toEqual([...headers, ...MARKER]);
  });
});

describe('RequestBuilder', () => {
  it('keeps method, target and query, below the base path of the target', () => {
    const line = 'PATCH /v1/a%20b//c?x=1&x=%2F HTTP/1.1';
    expect(built({ line })).toMatchObject({ method: 'PATCH', path: '/v1/a%20b//c?x=1&x=%2F' });
    expect(built({ line }, { target: { basePath: '/stage' } }).path).toBe('/stage/v1/a%20b//c?x=1&x=%2F');
  });

  it('hands the body on untouched, null where there was none', () => {
    const body = Uint8Array.from([0, 255, 13, 10]);
    expect(built({ body }).body).toBe(body);
    expect(built({}).body).toBeNull();
  });

  it('replays chunked as chunked, whatever its case', () => {
    const body = Uint8Array.from([1]);
    expect(built({ body, headers: ['Transfer-Encoding: Chunked'] }).chunked).toBe(true);
    expect(built({ body, headers: ['Content-Length: 1'] }).chunked).toBe(false);
  });

  it.each<[string, Recorded, string]>([
    ['an upgrade', { headers: ['Connection: Upgrade', 'Upgrade: websocket'] }, 'upgrade_header'],
    ['an expectation', { headers: ['Expect: 100-continue'] }, 'expect_header'],
    ['trailers', { trailers: Buffer.from('X-Sum: 1\r\n') }, 'trailers'],
    ['another coding', { headers: ['Transfer-Encoding: gzip, chunked'] }, 'transfer_coding'],
    ['the asterisk form', { line: 'OPTIONS * HTTP/1.1' }, 'invalid_target'],
    ['the absolute form, which names production', { line: 'GET http://prod/x HTTP/1.1' }, 'invalid_target'],
    ['a tunnel', { line: 'CONNECT prod:443 HTTP/1.1' }, 'connect_method'],
    ['chunks that are none', { headers: ['Transfer-Encoding: chunked'] }, 'empty_chunked'],
  ])('does not send %s as something else', (_, recorded, reason) => {
    expect(builderOf().build(payloadOf(recorded))).toEqual({ kind: 'unreplayable', reason });
  });

  it('sends one of two recorded hosts as neither', () => {
    const recorded = payloadOf({ headers: ['Host: a', 'Host: b'] });
    expect(builderOf({ host: 'recorded' }).build(recorded)).toEqual({
      kind: 'unreplayable',
      reason: 'duplicate_host',
    });
    expect(builderOf({ host: 'target' }).build(recorded).kind).toBe('ready');
  });

  it.each<[string, ExchangePayload | null]>([
    ['nothing was kept', null],
    ['policy kept no body', payloadOf({ body: null, bytes: 5 })],
    ['a cap cut the body', payloadOf({ body: Uint8Array.from([1]), bytes: 5, truncated: true })],
  ])('has no request where %s', (_, payload) => {
    expect(builderOf().build(payload)).toEqual({ kind: 'no_payload' });
  });

  it.each([
    ['*******@prod.example:8000', ['Host', 'prod.example:8000']],
    ['http://***@prod.example', ['Host', 'prod.example']],
    ['****@*****@prod.example', ['Host', 'prod.example']],
    ['*************', []],
    ['*******@', []],
    ['prod.example?token=***', []],
  ])('sends no mask in place of a recorded Host: %s', (host, sent) => {
    const masked = payloadOf({ headers: [`Host: ${host}`, 'X: 1'], redacted: ['host'] });
    expect(builderOf({ host: 'recorded' }).build(masked)).toMatchObject({
      recordedHost: host,
      masked: { headers: ['host'] },
      request: { headers: [...sent, 'X', '1', ...MARKER] },
    });
    expect(builderOf({ host: 'target' }).build(masked)).toMatchObject({
      request: { headers: ['X', '1', ...MARKER] },
    });
  });

  it('sends a masked query value and a covered body as recorded, and says so', () => {
    const recorded = {
      line: 'GET /x?api_key=**** HTTP/1.1',
      headers: ['Host: prod', 'Cookie: ***'],
      redacted: ['cookie', '?api_key', '/prompt'],
    };
    const result = builderOf().build(payloadOf(recorded));
    expect(result).toMatchObject({
      kind: 'ready',
      recordedHost: 'prod',
      masked: { headers: ['cookie'], queryKeys: ['api_key'], bodyValues: ['/prompt'] },
      request: { path: '/x?api_key=****', headers: MARKER },
    });
  });
});

describe('AuditCounter', () => {
  it('counts every reason and every masked name', () => {
    const audit = new AuditCounter();
    audit.skip('no_payload');
    audit.refuse('trailers');
    audit.refuse('trailers');
    audit.mask({ headers: ['cookie'], queryKeys: ['__proto__'], bodyValues: [] });
    audit.mask({ headers: [], queryKeys: [], bodyValues: [] });
    const report = audit.report();
    expect(report).toMatchObject({
      skipped: { no_payload: 1, truncated_request: 0, incomplete_request: 0 },
      unreplayable: 2,
      unreplayableByReason: { trailers: 2 },
      maskedHeaders: { cookie: 1 },
      maskedRequests: 1,
    });
    expect(Object.entries(report.maskedQueryKeys)).toEqual([['__proto__', 1]]);
  });

  it('stays small however many names clients make up', () => {
    const audit = new AuditCounter();
    for (let n = 0; n < 1_000; n++) audit.mask({ headers: [], queryKeys: [`key${n}`], bodyValues: [] });
    expect(Object.keys(audit.report().maskedQueryKeys)).toHaveLength(201);
    expect(audit.report().maskedQueryKeys['(others)']).toBe(800);
  });
});
