import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Place } from '../../../src/core/exchange.ts';
import { withValue } from '../../../src/replay/request/set-values.ts';

const BODY = '{"a":[{"id":"old"}],"b":1}';
const request = (changes: object = {}) => ({
  path: '/v1/responses/resp_old/cancel?after=old&x=1',
  headers: ['Content-Type', 'application/json', 'X-Session-Token', 'old', 'Cookie', 'route=old; other=1'],
  body: Buffer.from(BODY),
  ...changes,
});
const PLACES: readonly Place[] = [
  { in: 'header', name: 'x-session-token' },
  { in: 'cookie', name: 'route' },
  { in: 'path', segment: 2 },
  { in: 'query', name: 'after' },
  { in: 'json', pointer: '/a/0/id' },
];
const sent = (to: Place, value: string, from = request()) => {
  const set = withValue(from, to, value);
  return set && { ...set, body: String(set.body) };
};

describe('a live value', () => {
  it.each([
    [
      'header',
      {
        headers: [
          'Content-Type',
          'application/json',
          'X-Session-Token',
          'n:1',
          'Cookie',
          'route=old; other=1',
        ],
      },
    ],
    [
      'cookie',
      {
        headers: [
          'Content-Type',
          'application/json',
          'X-Session-Token',
          'old',
          'Cookie',
          'route=n:1; other=1',
        ],
      },
    ],
    ['path', { path: '/v1/responses/n:1/cancel?after=old&x=1' }],
    ['query', { path: '/v1/responses/resp_old/cancel?after=n:1&x=1' }],
    ['json', { body: BODY.replace('old', 'n:1') }],
  ])('replaces the recorded one in its %s and nothing else', (kind, changed) => {
    const to = PLACES.find((place) => place.in === kind)!;
    expect(sent(to, 'n:1')).toEqual({ ...request(), body: BODY, ...changed });
  });

  it('is added where a masked header or cookie was left out', () => {
    const bare = request({ headers: [] });
    expect(sent(PLACES[0]!, 'new', bare)?.headers).toEqual(['x-session-token', 'new']);
    expect(sent(PLACES[1]!, 'new', bare)?.headers).toEqual(['cookie', 'route=new']);
  });

  it('goes into a field of a form', () => {
    const form = (id: string) =>
      `--b\r\ncontent-disposition: form-data; name="file"\r\n\r\n${id}\r\n--b\r\ncontent-disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n`;
    const from = request({
      headers: ['content-type', 'multipart/form-data; boundary=b'],
      body: Buffer.from(form('old')),
    });
    expect(sent({ in: 'form', name: 'file' }, 'file-newer', from)?.body).toBe(form('file-newer'));
    expect(sent({ in: 'form', name: 'none' }, 'file-newer', from)).toBeNull();
  });

  it.each([
    ['a line break', 'a\r\nX-Injected: 1'],
    ['a null', 'a\u0000b'],
    ['nothing', ''],
    ['5,000 characters', 'x'.repeat(5_000)],
  ])('with %s goes into no head', (_, value) => {
    for (const to of PLACES.slice(0, 4))
      if (!(to.in === 'cookie' && value === '')) expect(sent(to, value)).toBeNull();
  });

  it('cannot leave its segment of a path, its cookie or its query value', () => {
    expect(sent(PLACES[2]!, '../../admin?x')?.path).toBe(
      '/v1/responses/..%2F..%2Fadmin%3Fx/cancel?after=old&x=1',
    );
    expect(sent(PLACES[2]!, '..')).toBeNull();
    expect(sent(PLACES[1]!, 'a; admin=1')).toBeNull();
    expect(sent(PLACES[3]!, 'a&admin=1')?.path).toBe('/v1/responses/resp_old/cancel?after=a%26admin%3D1&x=1');
  });

  it('never makes a head with a line break, or JSON that cannot be read, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), fc.constantFrom(...PLACES), (value, to) => {
        const set = sent(to, value);
        if (set === null) return;
        for (const text of [set.path, ...set.headers]) expect(text).not.toMatch(/[\r\n\0]/);
        expect(set.path.split('/').length).toBe(5);
        const body = JSON.parse(set.body) as { a: [{ id: string }] };
        if (to.in === 'json') expect(body.a[0].id).toBe(value);
      }),
    );
  });

  it('is not put where the request has no such place', () => {
    expect(sent({ in: 'json', pointer: '/none' }, 'new')).toBeNull();
    expect(sent({ in: 'path', segment: 9 }, 'new')).toBeNull();
    expect(sent(PLACES[4]!, 'new', request({ headers: ['content-encoding', 'gzip'] }))).toBeNull();
  });
});
