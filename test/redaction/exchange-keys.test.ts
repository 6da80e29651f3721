import { describe, expect, it } from 'vitest';
import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { ExchangeKeys, identityTexts } from '../../src/redaction/identities.ts';

const hash = new KeyedHash(Buffer.alloc(32, 7));

function headOf(target = '/v1/chat/completions', ...lines: string[]): string {
  return [`POST ${target} HTTP/1.1`, 'Host: m', ...lines, '', ''].join('\r\n');
}

interface Asked {
  readonly head?: string;
  readonly body?: unknown;
  readonly peer?: string;
}

/** The key found by these places, in hexadecimal. */
function sessionBy(specs: readonly string[], { head = headOf(), body, peer }: Asked): string | null {
  const keys = new ExchangeKeys({ session: specs, client: [] }, hash);
  const bytes =
    body === undefined ? null : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const key = keys.of('session', keys.inHead('session', head), bytes, peer ?? null);
  return key === null ? null : Buffer.from(key).toString('hex');
}

function clientBy(specs: readonly string[], { head = headOf(), peer }: Asked): string | null {
  const keys = new ExchangeKeys({ session: [], client: specs }, hash);
  const key = keys.of('client', keys.inHead('client', head), null, peer ?? null);
  return key === null ? null : Buffer.from(key).toString('hex');
}

const sessionOf = (text: string): string => Buffer.from(hash.ofIdentity('session', text)).toString('hex');
const clientOf = (text: string): string => Buffer.from(hash.ofIdentity('client', text)).toString('hex');

describe('a session key', () => {
  it.each<[string, string[], Asked]>([
    ['a header, in whatever case', ['header:X-Conversation'], { head: headOf('/', 'x-conversation:  abc ') }],
    [
      'the first line of a header that has a value',
      ['header:x-s'],
      { head: headOf('/', 'X-S: ', 'X-S: abc') },
    ],
    ['a preset', ['x-session-id'], { head: headOf('/', 'X-Session-Id: abc') }],
    ['a cookie among others', ['cookie:sid'], { head: headOf('/', 'Cookie: a=b; sid=abc; xsid=d') }],
    [
      'a query key, percent-encoded',
      ['query:user id'.replace(' ', '-')],
      { head: headOf('/p?a=1&user%2Did=a%62c&b') },
    ],
    ['a JSON pointer', ['json:/metadata/session'], { body: { a: [{}], metadata: { session: 'abc' } } }],
    ['an element of an array', ['json:/ids/1'], { body: { ids: ['x', 'abc'] } }],
    ['OpenAI’s user', ['openai-user'], { body: { messages: [{ user: 'no' }], user: 'abc' } }],
    ['OpenAI’s newer name', ['openai-user'], { body: { safety_identifier: 'abc' } }],
    ['OIP’s sequence', ['oip-sequence'], { body: { parameters: { sequence_id: 'abc' } } }],
    ['a forwarded address', ['forwarded-for'], { head: headOf('/', 'X-Forwarded-For: ABC::1, 10.0.0.1') }],
  ])('is found in %s', (_, specs, asked) => {
    const text = specs[0] === 'forwarded-for' ? 'abc::1' : 'abc';
    expect(sessionBy(specs, asked)).toBe(sessionOf(text));
  });

  it.each<[string, string[], Asked]>([
    ['another header', ['header:x-s'], { head: headOf('/', 'X-Ss: abc', 'Y-X-S: abc') }],
    ['a header’s name in a value', ['header:x-s'], { head: headOf('/', 'A: x-s: abc') }],
    [
      'an empty value',
      ['header:x-s', 'cookie:s', 'query:s'],
      { head: headOf('/?s=', 'X-S:   ', 'Cookie: s=') },
    ],
    ['a query key behind the fragment', ['query:s'], { head: headOf('/p#?s=abc') }],
    ['a header that looks like a query', ['query:s'], { head: headOf('/p', 'Referer: /x?s=abc') }],
    [
      'a sequence of 0, which says that there is none',
      ['oip-sequence'],
      { body: { parameters: { sequence_id: 0 } } },
    ],
    ['a value that is no text or number', ['json:/user'], { body: { user: { user: 'x' } } }],
    ['a text that is cut', ['json:/user'], { body: '{"user":"ab' }],
    ['a body that is no JSON', ['json:/user'], { body: 'user=abc "user"' }],
    ['no body', ['json:/user'], {}],
  ])('is not found in %s', (_, specs, asked) => {
    expect(sessionBy(specs, asked)).toBeNull();
  });

  it('is what the first place that has one says, whether head or body', () => {
    const head = headOf('/?q=query', 'X-S: header');
    const body = { user: 'body' };
    expect(sessionBy(['json:/user', 'header:x-s'], { head, body })).toBe(sessionOf('body'));
    expect(sessionBy(['json:/nobody', 'header:x-s', 'query:q'], { head, body })).toBe(sessionOf('header'));
    expect(sessionBy(['header:x-s', 'json:/user'], { head, body })).toBe(sessionOf('header'));
    expect(sessionBy(['header:none', 'json:/user', 'peer'], { head, body, peer: '10.0.0.1' })).toBe(
      sessionOf('body'),
    );
    expect(sessionBy(['header:none', 'json:/nobody', 'peer'], { head, body, peer: '10.0.0.1' })).toBe(
      sessionOf('10.0.0.1'),
    );
  });

  it('is one key, in whichever place its value stands, however it is written', () => {
    const places = [
      sessionBy(['header:x-s'], { head: headOf('/', `X-S: ${Buffer.from('zoë').toString('latin1')}`) }),
      sessionBy(['json:/s'], { body: { s: 'zoë' } }),
      sessionBy(['json:/s'], { body: '{"s":"zo\\u00eb"}' }),
      sessionBy(['query:s'], { head: headOf('/p?s=zo%C3%AB') }),
    ];
    expect(new Set(places)).toEqual(new Set([sessionOf('zoë')]));
    expect(sessionBy(['json:/s'], { body: { s: 42 } })).toBe(
      sessionBy(['header:x-s'], { head: headOf('/', 'X-S: 42') }),
    );
  });

  it('of 64 bits is not rounded: neighbours are two sessions, each found by its number', () => {
    const ofSequence = (id: string) =>
      sessionBy(['oip-sequence'], { body: `{"parameters":{"sequence_id":${id}}}` });
    for (const id of ['18446744073709551615', '18446744073709551614', '9007199254740993']) {
      expect(ofSequence(id)).toBe(sessionOf(id));
    }
    expect(ofSequence('4.2e1')).toBe(sessionOf('42'));
  });

  it('takes time linear in hostile heads and bodies', () => {
    const blanks = ' '.repeat(200_000);
    const head = headOf(
      `/?${'s&'.repeat(50_000)}`,
      `X-S:${blanks}`,
      `Cookie: ${'s;'.repeat(50_000)}`,
      `Forwarded:${blanks};`,
    );
    // Of the processor, which is ours alone: what others take of the machine is no work on these bytes.
    const started = process.cpuUsage();
    expect(sessionBy(['header:x-s', 'cookie:s', 'query:s', 'forwarded-for'], { head })).toBeNull();
    expect(sessionBy(['json:/a/b'], { body: `{"b":${'['.repeat(200_000)}` })).toBeNull();
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1e3).toBeLessThan(1_000);
  });
});

describe('somebody who is looked for', () => {
  it.each([
    ['2001:DB8::1', '2001:db8::1'],
    ['[2001:db8::1]:4711', '2001:db8::1'],
    ['2001:0db8:0:0::0001', '2001:db8::1'],
    ['203.0.113.7:4711', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    [' ada ', 'ada'],
  ])('as %s may have been hashed as %s', (named, hashed) => {
    expect(identityTexts(named)).toEqual([...new Set([named.trim(), hashed])]);
  });
});

describe('a client key', () => {
  const usual = ['forwarded-for', 'peer'];

  it.each([
    ['X-Forwarded-For: 203.0.113.7', '203.0.113.7'],
    ['X-Forwarded-For: 203.0.113.7:4711, 10.0.0.1', '203.0.113.7'],
    ['X-Forwarded-For: [2001:DB8::1]:4711', '2001:db8::1'],
    ['X-Forwarded-For: 2001:0DB8:0::1', '2001:db8::1'],
    ['X-Forwarded-For: 2001:db8:0:0:0:0:0:1', '2001:db8::1'],
    ['X-Forwarded-For: fe80:0::1%1', 'fe80::1%1'],
    ['X-Forwarded-For: ::ffff:203.0.113.7', '203.0.113.7'],
    ['X-Forwarded-For: 0:0:0:0:0:ffff:cb00:7107', '203.0.113.7'],
    ['Forwarded: proto=https;for=203.0.113.7;by=1, for=10.0.0.1', '203.0.113.7'],
    ['Forwarded: For="[2001:db8::1]:4711"', '2001:db8::1'],
    ['X-Forwarded-For: unknown', '10.9.9.9'],
    ['X-Forwarded-For: 2001:db8::1::2', '10.9.9.9'],
    ['X-Forwarded-For: abc:123', '10.9.9.9'],
    ['Forwarded: for=_hidden', '10.9.9.9'],
    ['Accept: */*', '10.9.9.9'],
  ])('of %s is %s', (line, address) => {
    expect(clientBy(usual, { head: headOf('/', line), peer: '::ffff:10.9.9.9' })).toBe(clientOf(address));
  });

  it('is the same, whichever spelling of its address the connection has', () => {
    expect(clientBy(usual, { peer: '2001:0db8:0:0::1' })).toBe(clientOf('2001:db8::1'));
    expect(clientBy(usual, { peer: '/run/a socket' })).toBe(clientOf('/run/a socket'));
  });

  it('is none without a place or an address, and never that of a session of the same name', () => {
    expect(clientBy(['none'], { peer: '10.0.0.1' })).toBeNull();
    expect(clientBy(usual, {})).toBeNull();
    expect(clientOf('a')).not.toBe(sessionOf('a'));
  });
});

describe('a head with a session key', () => {
  const hidden = (specs: readonly string[], head: string): string => {
    const keys = new ExchangeKeys({ session: specs, client: ['forwarded-for'] }, hash);
    const redaction = new Redaction({}, { names: keys.sessionNames, hash });
    const { bytes } = redaction.requestHead(Buffer.from(head, 'latin1'));
    return Buffer.from(bytes).toString('latin1');
  };

  it('is stored with a hash of equal length in every place of it, and nothing else changed', () => {
    const head = headOf(
      '/p?sid=conversation-1&x=1',
      'X-Sid:  conversation-1 ',
      'Accept: */*',
      'x-SID: other',
    );
    const stored = hidden(['header:x-sid', 'query:sid'], head);
    const [, query] = /sid=([\w-]+)&x=1/.exec(stored) ?? [];
    expect(query).toHaveLength('conversation-1'.length);
    expect(query).not.toBe('conversation-1');
    const other = /x-SID: (\S{5})\r/.exec(stored)?.[1];
    expect(other).not.toBe('other');
    expect(stored).toBe(headOf(`/p?sid=${query}&x=1`, `X-Sid:  ${query} `, 'Accept: */*', `x-SID: ${other}`));
  });

  it('has equal values stay equal, and others not', () => {
    const one = (value: string): string => hidden(['header:x-s'], headOf('/', `X-S: ${value}`));
    expect(one('abcdefgh')).toBe(one('abcdefgh'));
    const stored = new Set(Array.from({ length: 2_000 }, (_, index) => one(String(10_000_000 + index))));
    expect(stored.size).toBe(2_000);
    expect(one('a'.repeat(100))).toHaveLength(headOf('/', `X-S: ${'a'.repeat(100)}`).length);
  });

  it('keeps what the floor masks masked', () => {
    expect(hidden(['header:authorization'], headOf('/', 'Authorization: Bearer abc'))).toContain(
      'Authorization: **********',
    );
    expect(hidden(['query:api_key'], headOf('/?api_key=abc'))).toContain('?api_key=*** ');
    expect(hidden(['cookie:sid'], headOf('/', 'Cookie: sid=abc'))).toContain('Cookie: *******');
  });
});

describe('a key that cannot be meant', () => {
  it.each([
    ['session', 'x-sess'],
    ['session', 'header:'],
    ['session', 'header:a b'],
    ['session', 'json:'],
    ['session', 'json:user'],
    ['session', 'json:/messages/*/user'],
    ['session', 'header:Host'],
    ['client', 'cookie:a=b'],
    ['client', ''],
  ] as const)('is refused with a way out: %s %s', (kind, spec) => {
    const specs = { session: [], client: [], [kind]: [spec] };
    expect(() => new ExchangeKeys(specs, hash)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', hint: expect.any(String) }),
    );
  });

  it('is refused when there are too many', () => {
    const specs = Array.from({ length: 17 }, (_, index) => `header:x-${index}`);
    expect(() => new ExchangeKeys({ session: specs, client: [] }, hash)).toThrow(/more than 16/);
  });
});
