import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HeaderPair } from '../../../src/core/headers.ts';
import { parseKeySources } from '../../../src/redaction/identities.ts';
import { type BuildResult, RequestBuilder } from '../../../src/replay/request/build.ts';
import {
  CopyIdentity,
  type PlayedAs,
  parsePerturbedPlace,
} from '../../../src/replay/request/copy-identity.ts';
import { spliceJson } from '../../../src/replay/request/edit-json.ts';
import { newName } from '../../../src/replay/request/new-ids.ts';
import { requestPayload } from '../../support/memory-capture.ts';

const SESSION = ['header:x-session-id', 'cookie:sid', 'query:sid', 'json:/user', 'oip-sequence'];
const copyOf = (copy: number, salt = `salt-${copy}`): PlayedAs => ({
  sessionSalt: salt,
  tag: `tag${copy}`,
  copy,
});

function builderOf(
  perturb: readonly string[] = [],
  session: readonly string[] = SESSION,
  addedHeaders: readonly HeaderPair[] = [],
): RequestBuilder {
  return new RequestBuilder({
    target: { basePath: '' },
    host: 'target',
    addedHeaders,
    runId: 'run-1',
    identity: new CopyIdentity(
      parseKeySources('session', session),
      perturb.map((each) => parsePerturbedPlace(each, '')),
    ),
  });
}

function ready(result: BuildResult) {
  if (result.kind !== 'ready') throw new Error(`not built: ${JSON.stringify(result)}`);
  const headers = Object.fromEntries(
    Array.from({ length: result.request.headers.length / 2 }, (_, at) => [
      (result.request.headers[at * 2] ?? '').toLowerCase(),
      result.request.headers[at * 2 + 1] ?? '',
    ]),
  );
  return { ...result, headers, body: Buffer.from(result.request.body ?? []).toString('latin1') };
}

describe('a copy', () => {
  const headers = [
    ['X-Session-Id', 'Zm9vYmFyYmF6cXV4'],
    ['Cookie', 'theme=dark; sid=0123456789abcdef; x=1'],
    ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
    ['X-Request-Id', '0f8fad5b-d9cb-469f-a165-70867728950e'],
    ['Idempotency-Key', 'pay-1'],
    ['X-Kept', 'as it was'],
  ] as const;
  const body =
    '{"messages":[{"content":"say \\"hi\\""}],"user":"customer-4711-abc","parameters":{"sequence_id":42}, "id":"mine"}';
  const payload = requestPayload('/v1/chat?a=1&sid=aGVsbG93b3JsZA', headers, body);

  it('has names of its own for session, trace and request, of the same form, and all else as it was', () => {
    const copy = ready(builderOf().build(payload, copyOf(1)));
    expect(copy.headers['x-session-id']).toMatch(/^[0-9A-Za-z]{16}$/);
    expect(copy.headers['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(copy.headers['x-request-id']).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(copy.headers['cookie']).toMatch(/^theme=dark; sid=[0-9a-f]{16}; x=1$/);
    expect(copy.request.path).toMatch(/^\/v1\/chat\?a=1&sid=[0-9A-Za-z]{14}$/);
    expect(copy.headers['x-kept']).toBe('as it was');
    expect(copy.headers['x-reprise-copy']).toBe('1');
    for (const [name, value] of headers.slice(0, 5)) expect(copy.headers[name.toLowerCase()]).not.toBe(value);
    const { user, parameters, ...rest } = JSON.parse(copy.body) as Record<string, unknown>;
    expect(user).not.toBe('customer-4711-abc');
    expect(parameters).toEqual({ sequence_id: expect.any(Number) });
    expect(parameters).not.toEqual({ sequence_id: 42 });
    expect(rest).toEqual({ messages: [{ content: 'say "hi"' }], id: 'mine' });
  });

  it('is the same somebody throughout a session, and somebody else in every other copy', () => {
    const users = [copyOf(1), copyOf(1), copyOf(2)].map(
      (as) => (JSON.parse(ready(builderOf().build(payload, as)).body) as { user: string }).user,
    );
    expect(users[0]).toBe(users[1]);
    expect(users[0]).not.toBe(users[2]);
  });

  it('leaves what was recorded alone where nothing is played as anybody else', () => {
    const original = ready(builderOf(['json:/messages/0/content']).build(payload));
    expect(original.body).toBe(body);
    expect(original.headers).toMatchObject({ 'x-session-id': 'Zm9vYmFyYmF6cXV4' });
    expect(original.headers).not.toHaveProperty('x-reprise-copy');
    // From another stretch: under another name, and no copy.
    const layered = ready(builderOf(['json:/messages/0/content']).build(payload, copyOf(0)));
    expect(layered.headers).not.toHaveProperty('x-reprise-copy');
    expect(layered.body).toContain('say \\"hi\\"');
    expect(layered.body).not.toContain('customer-4711');
  });

  it('is not sent where it would go on from an answer that somebody else was given', () => {
    const going = requestPayload('/v1/responses', [], '{"input":"x","previous_response_id":"resp_1"}');
    expect(builderOf().build(going, copyOf(1))).toEqual({ kind: 'unreplayable', reason: 'server_issued_id' });
    expect(builderOf().build(going).kind).toBe('ready');
    const repeated = '{"previous_response_id":null,"previous_response_id":"resp_1"}';
    expect(builderOf().build(requestPayload('/v1/responses', [], repeated), copyOf(1)).kind).toBe(
      'unreplayable',
    );
    const first = requestPayload('/v1/responses', [], '{"input":"x","previous_response_id":null}');
    expect(builderOf().build(first, copyOf(1)).kind).toBe('ready');
  });

  it('has a new request id in the JSON before its tensors, the tensors untouched, and says how long that is', () => {
    const json = '{"id":"r1","parameters":{"sequence_id":7,"sequence_start":true},"inputs":[]}';
    const tensors = '\x00\xff"id":"r1"';
    const binary = requestPayload(
      '/v2/models/m/infer',
      [['Inference-Header-Content-Length', String(json.length)]],
      json + tensors,
    );
    const copy = ready(builderOf().build(binary, copyOf(1)));
    const length = Number(copy.headers['inference-header-content-length']);
    expect(copy.body.slice(length)).toBe(tensors);
    const parsed = JSON.parse(copy.body.slice(0, length)) as { id: string; parameters: object };
    expect(parsed.id).not.toBe('r1');
    expect(parsed.parameters).toMatchObject({ sequence_start: true });
  });

  it.each([
    ['/v1/chat/completions', 'request_id'],
    ['/openai/deployments/m/chat/completions?api-version=1', 'request_id'],
    ['/v1/completions', 'rid'],
    ['/v1/embeddings', 'rid'],
    ['/generate', 'rid'],
    ['/invocations', 'id'],
    ['/serving/v2/models/m/versions/1/infer', 'id'],
    ['/v2/models/m/generate_stream', 'id'],
    ['/v2/models/team/m/infer', 'id'],
  ])('repeats no id of its request: %s, %s', (target, member) => {
    const json = (id: string) =>
      `{ "messages": [{"${member}":"told"}],\t"a":1.50,"${member}" : ${id},"z":"\\u00e9","${member}":null}`;
    const recorded = requestPayload(target, [], json('"chatcmpl-8a7f6b5c4d3e"'));
    const bodies = [copyOf(1), copyOf(2), copyOf(0)].map((as) => ready(builderOf().build(recorded, as)).body);
    expect(new Set(bodies).size).toBe(3);
    for (const each of bodies) {
      const id = /\t"a":1\.50,"[a-z_]+" : ("[a-z]{8}-[0-9a-z]{12}"),/.exec(each)?.[1] ?? '';
      expect(id).not.toBe('"chatcmpl-8a7f6b5c4d3e"');
      expect(each).toBe(json(id));
    }
    expect(ready(builderOf().build(recorded)).body).toBe(json('"chatcmpl-8a7f6b5c4d3e"'));
  });

  it('has a new id for each prompt of a batch, and leaves an empty id and what is no id', () => {
    const bodyAt = (target: string, json: string) =>
      ready(builderOf().build(requestPayload(target, [], json), copyOf(1))).body;
    const batch = JSON.parse(
      bodyAt('/generate', '{"text":["a","b"],"rid":["aaaaaaaaaaaa-1", "bbbbbbbbbbbb-2"]}'),
    );
    expect(batch.rid).toEqual([expect.stringMatching(/^\S{14}$/), expect.stringMatching(/^\S{14}$/)]);
    expect(new Set([...batch.rid, 'aaaaaaaaaaaa-1', 'bbbbbbbbbbbb-2']).size).toBe(4);
    expect(JSON.parse(bodyAt('/generate', '{"rid":5}'))).not.toEqual({ rid: 5 });
    for (const json of [
      '{"rid":"","request_id":null,"id":"mine"}',
      '{"rid":[],"messages":[{"content":"\\"rid\\":\\"x\\"","rid":"x"}]}',
      '{"rid":{"a":"x"}}',
      '{"rid":["cut',
      '[{"rid":"x"}]',
      '--form\r\n"rid":"x"',
    ]) {
      expect(bodyAt('/v1/chat/completions', json)).toBe(json);
    }
    for (const target of ['/v1/models/m:predict', '/v1/messages', '/other']) {
      expect(bodyAt(target, '{"id":"x","rid":"y","request_id":"z"}')).toBe(
        '{"id":"x","rid":"y","request_id":"z"}',
      );
    }
  });

  it('says where it could not look: a compressed body still names who it was', () => {
    const zipped = requestPayload('/v1/chat', [['Content-Encoding', 'gzip']], '\x1f\x8b\x08');
    expect(ready(builderOf().build(zipped, copyOf(1)))).toMatchObject({
      bodyUnread: true,
      body: '\x1f\x8b\x08',
    });
  });
});

describe('a place to perturb', () => {
  const payload = requestPayload('/v1/chat', [['X-Key', 'k']], '{"messages":[{"content":"hi"}],"seed":5}');

  it.each([
    ['json:/messages/0/content', '{"messages":[{"content":"tag1 hi"}],"seed":5}'],
    ['header:x-key', '{"messages":[{"content":"hi"}],"seed":5}'],
  ])('makes a copy differ in %s', (place, body) => {
    const copy = ready(builderOf([place]).build(payload, copyOf(1)));
    expect(copy).toMatchObject({ perturbed: true, body });
    expect(copy.headers['x-key']).toBe(place.startsWith('header') ? 'k-tag1' : 'k');
  });

  it('changes a number, adds a header that is not there, and owns up to a place that is not', () => {
    expect(ready(builderOf(['json:/seed']).build(payload, copyOf(1))).body).toMatch(/"seed":(?!5\})\d+\}$/);
    expect(ready(builderOf(['header:X-New']).build(payload, copyOf(1))).headers['x-new']).toBe('tag1');
    expect(ready(builderOf(['json:/nowhere']).build(payload, copyOf(1))).perturbed).toBe(false);
  });

  it('does not count a copy that differs in a header nobody sends: masked, or set to one value for all', () => {
    const masked = { ...payload, request: { ...payload.request!, redacted: ['x-key'] } };
    const copy = ready(builderOf(['header:X-Key']).build(masked, copyOf(1)));
    expect(copy.headers).not.toHaveProperty('x-key');
    expect(copy.perturbed).toBe(false);
    const set = builderOf(['header:X-Key'], SESSION, [['x-key', 'mine']]).build(payload, copyOf(1));
    expect(ready(set)).toMatchObject({ perturbed: false, headers: { 'x-key': 'mine' } });
  });

  it.each([
    'header:',
    'header:Host',
    'header:content-length',
    'header:x-reprise-copy',
    'json:',
    'json:user',
    'json:/a/*',
    'cookie:x',
    'x',
  ])('refuses %j', (text) => {
    expect(() => parsePerturbedPlace(text, '')).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
  });
});

describe('spliceJson', () => {
  it('changes the value that was named and no other, whatever stands around it', () => {
    const document = fc.record({
      a: fc.jsonValue(),
      name: fc.oneof(fc.string(), fc.integer()),
      z: fc.jsonValue(),
    });
    fc.assert(
      fc.property(document, fc.boolean(), (value, spaced) => {
        const json = Buffer.from(JSON.stringify(value, null, spaced ? 2 : 0));
        const changed = spliceJson(json, ['name'], ({ literal }) => {
          expect(JSON.parse(literal)).toEqual(value.name);
          return '"new"';
        });
        expect(JSON.parse(String(changed))).toEqual(JSON.parse(JSON.stringify({ ...value, name: 'new' })));
      }),
    );
  });

  it('changes every repeat of a member, of which a server takes the last', () => {
    const spliced = (json: string, ...steps: string[]) =>
      spliceJson(Buffer.from(json), steps, ({ literal }) =>
        literal === '"keep"' ? null : '"new"',
      )?.toString();
    expect(spliced('{"user":"u-1", "a":[1], "user" : "u-2"}', 'user')).toBe(
      '{"user":"new", "a":[1], "user" : "new"}',
    );
    expect(spliced('{"user":"keep","user":null,"user":3}', 'user')).toBe(
      '{"user":"keep","user":null,"user":"new"}',
    );
    expect(spliced('{"m":{"id":"x"},"m":{"id":"y","id":"z"}}', 'm', 'id')).toBe(
      '{"m":{"id":"x"},"m":{"id":"new","id":"new"}}',
    );
    expect(spliced('{"m":["x","y"],"0":"z"}', 'm', '0')).toBe('{"m":["new","y"],"0":"z"}');
    expect(spliced('{"user":"u-1","user":"cut', 'user')).toBe('{"user":"new","user":"cut');
  });

  it.each(['', '{', '{"name"', '{"name":', '{"name":"cut', '[1]', 'name', '{"name":{}}', '{"name":null}'])(
    'leaves %j alone',
    (json) => {
      expect(spliceJson(Buffer.from(json), ['name'], () => '1')).toBeNull();
    },
  );
});

describe('newName', () => {
  it('differs by salt, keeps its form, and is decided by what it is made of', () => {
    const name = fc
      .stringMatching(/^[0-9A-Za-z._-]{12,40}$/)
      .filter((text) => text.replace(/[._-]/g, '').length >= 12);
    fc.assert(
      fc.property(name, (text) => {
        expect(newName(text, 'a')).toBe(newName(text, 'a'));
        expect(newName(text, 'a')).not.toBe(newName(text, 'b'));
        expect(newName(text, 'a')).toHaveLength(text.length);
        expect(newName(text, 'a').replace(/[0-9A-Za-z]/g, '')).toBe(text.replace(/[0-9A-Za-z]/g, ''));
      }),
    );
  });

  it('adds to a short name what makes it telling', () => {
    expect(newName('u1', 'a')).toMatch(/^[a-z]\d-[0-9a-f]{12}$/);
    expect(newName('42', 'a')).toMatch(/^\d{15}$/);
  });
});

describe('ids of copies keep their form', () => {
  const U64 = 2n ** 64n - 1n;
  const uuid = fc.uuid();
  const salt = fc.string();

  function sent(name: string, value: string, sessionSalt: string): string {
    const payload = requestPayload('/v1/chat', [[name, value]], '{}');
    return ready(builderOf().build(payload, copyOf(1, sessionSalt))).headers[name] ?? '';
  }

  it.each(['x-datadog-trace-id', 'x-datadog-parent-id', 'x-request-id', 'x-session-id'])(
    'a decimal %s stays a decimal 64-bit unsigned',
    (name) => {
      fc.assert(
        fc.property(fc.bigInt({ min: 1n, max: U64 }), salt, (id, each) => {
          const renewed = sent(name, String(id), each);
          expect(renewed).toMatch(/^[1-9]\d*$/);
          expect(BigInt(renewed) <= U64).toBe(true);
          expect(renewed).not.toBe(String(id));
          if (String(id).length >= 12) expect(renewed).toHaveLength(String(id).length);
          if (id < 2n ** 63n) expect(BigInt(renewed) < 2n ** 63n).toBe(true);
        }),
      );
    },
  );

  it('a UUID keeps its version, its variant and its case', () => {
    fc.assert(
      fc.property(uuid, fc.boolean(), salt, (id, isUpper, each) => {
        const before = isUpper ? id.toUpperCase() : id;
        const after = newName(before, each);
        expect(after).toMatch(
          /^[0-9a-f]{8}-[0-9a-f]{4}-[1-9a-f][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i,
        );
        expect(after[14]).toBe(before[14]);
        expect(after).not.toBe(before);
        if (/[a-f]/i.test(before)) expect(after).toBe(isUpper ? after.toUpperCase() : after.toLowerCase());
      }),
    );
  });

  it('a traceparent stays valid, and b3 ids stay hexadecimal even where they have digits only', () => {
    const digitsOr = (length: number) =>
      fc
        .oneof(
          fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`)),
          fc.stringMatching(new RegExp(`^[0-9]{${length}}$`)),
        )
        .filter((id) => !/^0+$/.test(id));
    fc.assert(
      fc.property(
        digitsOr(32),
        digitsOr(16),
        fc.constantFrom('00', '01', 'ff'),
        salt,
        (trace, span, flags, each) => {
          const [version, newTrace = '', newSpan = '', newFlags] = sent(
            'traceparent',
            `00-${trace}-${span}-${flags}`,
            each,
          ).split('-');
          expect([version, newFlags]).toEqual(['00', flags]);
          expect(newTrace).toMatch(/^(?!0+$)[0-9a-f]{32}$/);
          expect(newSpan).toMatch(/^(?!0+$)[0-9a-f]{16}$/);
          expect(newTrace).not.toBe(trace);
          // One trace is one trace in every form that it is told in.
          expect(sent('x-b3-traceid', trace, each)).toBe(newTrace);
          expect(sent('b3', `${trace}-${span}-1`, each)).toBe(`${newTrace}-${newSpan}-1`);
        },
      ),
    );
  });

  it('of other headers of traces the time, the flags and what says "none" stay', () => {
    expect(sent('x-amzn-trace-id', 'Root=1-67891233-abcdef012345678912345678;Sampled=1', 'a')).toMatch(
      /^Root=1-67891233-[0-9a-f]{24};Sampled=1$/,
    );
    const google = /^[0-9a-f]{32}\/(\d{20});o=1$/.exec(
      sent('x-cloud-trace-context', `105445aa7843bc8bf206b12000100000/${U64};o=1`, 'a'),
    );
    expect(BigInt(google?.[1] ?? 0) <= U64).toBe(true);
    expect(sent('uber-trace-id', '4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1', 'a')).toMatch(
      /^[0-9a-f]{32}:[0-9a-f]{16}:0:1$/,
    );
    expect(sent('x-datadog-parent-id', '0', 'a')).toBe('0');
  });

  it('a number in a body stays an integer in range, of the same length where that tells it from others', () => {
    const safe = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(BigInt);
    fc.assert(
      fc.property(fc.oneof(safe, fc.bigInt({ min: 1n, max: U64 })), salt, (id, each) => {
        const body = `{"model":"m","rid":${id},"user":${id}}`;
        const copy = ready(builderOf().build(requestPayload('/v1/completions', [], body), copyOf(1, each)));
        const [, rid = '', user = ''] = /^\{"model":"m","rid":(\d+),"user":(\d+)\}$/.exec(copy.body) ?? [];
        for (const renewed of [rid, user]) {
          expect(renewed).toMatch(/^[1-9]\d*$/);
          expect(BigInt(renewed)).not.toBe(id);
          expect(
            BigInt(renewed) <= (id <= Number.MAX_SAFE_INTEGER ? BigInt(Number.MAX_SAFE_INTEGER) : U64),
          ).toBe(true);
          if (String(id).length >= 12) expect(renewed).toHaveLength(String(id).length);
        }
      }),
    );
  });

  it('of a prefixed id the prefix stays, and of an escaped query value the escapes', () => {
    expect(newName('req_0f8fad5b-d9cb-469f-a165-70867728950e', 'a')).toMatch(
      /^req_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(newName('01ARZ3NDEKTSV4RRFFQ69G5FAV', 'a')).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
    const escaped = requestPayload('/v1/chat?sid=who%40example.com%2Fabcdef', [], '{}');
    expect(ready(builderOf().build(escaped, copyOf(1))).request.path).toMatch(
      /^\/v1\/chat\?sid=[a-z]{3}%40[a-z]{7}\.[a-z]{3}%2F[a-z]{6}$/,
    );
  });
});
