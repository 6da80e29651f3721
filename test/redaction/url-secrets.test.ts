import { describe, expect, it } from 'vitest';
import { parseRequestHead } from '../../src/core/headers.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';

const redaction = new Redaction();

function request(target: string, ...lines: string[]) {
  const head = Buffer.from([`GET ${target} HTTP/1.1`, ...lines, '', ''].join('\r\n'), 'latin1');
  const { bytes, names } = redaction.requestHead(head);
  return { ...parseRequestHead(bytes), names };
}

describe('of a URL', () => {
  it('never splits a value where some server would not', () => {
    expect(request('/p?token=abc;def&x=1').target).toBe('/p?token=*******&x=1');
    expect(request('/p?a=1;token=abc').target).toBe('/p?a=1;token=***');
    expect(request('/p?token=a?b=c').target).toBe('/p?token=*****');
    // What stands inside a masked value is part of the value, whatever it looks like.
    expect(request('/p?token=a;key=c')).toMatchObject({ target: '/p?token=*******', names: ['?token'] });
    expect(request('/p;key=abc?x=1').target).toBe('/p;key=*******');
  });

  it('looks into percent-encoded values', () => {
    expect(request('/p?next=%2Fx%3Ftoken%3Dabc&a=1').target).toBe(`/p?next=${'*'.repeat(18)}&a=1`);
    expect(request('/p?next=%252Fx%253Ftoken%253Dabc').target).toBe(`/p?next=${'*'.repeat(24)}`);
    expect(request('/p?next=%2Fx%3Fmodel%3Dabc').target).toBe('/p?next=%2Fx%3Fmodel%3Dabc');
  });

  it('masks user info in targets and in the URLs of headers', () => {
    const { target, names } = request(
      'http://joe:pw@host:80/p@q?key=k',
      'Referer: https://u:p@h/x?api_key=abc#token=de',
    );
    expect(target).toBe('http://******@host:80/p@q?key=*');
    expect(names).toEqual(['@', '?key', 'referer']);
    expect(request('/', 'Referer: https://u:p@h/x?api_key=abc#token=de').headers[0]?.[1]).toBe(
      'https://***@h/x?api_key=***#token=**',
    );
    expect(request('/a@b/c').target).toBe('/a@b/c');
    const connect = redaction.requestHead(Buffer.from('CONNECT u:p@db:1 HTTP/1.1\r\n\r\n'));
    expect(Buffer.from(connect.bytes).toString()).toBe('CONNECT ***@db:1 HTTP/1.1\r\n\r\n');
  });

  it.each([
    [
      'image_url=https://svc:S3cretPW@store.internal/a.png',
      'image_url=https://************@store.internal/a.png',
    ],
    ['a=1&u=//me:S3cret@h&b=2', 'a=1&u=//*********@h&b=2'],
    ['u=https://svc:S3c;ret@h', 'u=https://***********@h'],
    ['https://svc:S3cret@h/x', 'https://**********@h/x'],
    ['u=https://svc:S3cret@h/a%20b', 'u=https://**********@h/a%20b'],
    ['url=https%3A%2F%2Fuser%3APW%40host&b=2', `url=${'*'.repeat(30)}&b=2`],
    ['url=https%253A%252F%252Fuser%253APW%2540host', `url=${'*'.repeat(40)}`],
    ['url=https://user%3APW%40host/a', `url=${'*'.repeat(26)}`],
    ['https%3A%2F%2Fuser%3APW%40host', '*'.repeat(30)],
  ])('masks user info in the URL of a query: ?%s', (query, stored) => {
    const { target, names } = request(`/fetch?${query}`);
    expect(target).toBe(`/fetch?${stored}`);
    expect(names).toEqual(
      [/^h/.test(query) ? '@' : /&?(u\w*|image_url)=/.exec(query)?.[1]].map((key) =>
        key === '@' ? key : `?${key}`,
      ),
    );
  });

  it.each([
    '/p?email=joe@example.com',
    '/p?email=joe%40example.com&to=%22a%22%20%3Cb%40c%3E',
    '/p?u=https://h/a&email=joe@example.com',
    '/p?u=https%3A%2F%2Fh%2Fa%40b',
    '/p?next=%2Fx%3Fu%3Dhttps%3A%2F%2Fh%26email%3Djoe%40x',
    '/npm/@scope/pkg@1.0?u=mailto:joe@example.com',
    '/p?u=file:///data@v1/x',
  ])('leaves alone what only contains an at sign: %s', (target) => {
    expect(request(target)).toMatchObject({ target, names: [] });
  });

  it.each([
    ['Host', 'u:S3cret@models:80', '********@models:80'],
    ['Origin', 'https://u:S3cret@h', 'https://********@h'],
    ['X-Source', 'see https://u:S3cret@h/a and //v@h', 'see https://********@h/a and //*@h'],
  ])('masks user info in the header %s: %s', (name, value, stored) => {
    const { headers, names } = request('/', `${name}: ${value}`);
    expect(headers).toEqual([[name, stored]]);
    expect(names).toEqual([name.toLowerCase()]);
  });

  it.each([
    ['From', 'joe@example.com'],
    ['User-Agent', 'bot/1.0 (+https://example.com/bot; joe@example.com)'],
    ['Host', 'models:80'],
    ['Origin', 'null'],
  ])('leaves alone what has none in the header %s: %s', (name, value) => {
    expect(request('/', `${name}: ${value}`)).toMatchObject({ headers: [[name, value]], names: [] });
  });

  it.each([
    ['X-Callback', 'https://h/cb?token=s3cr3t&a=1', 'https://h/cb?token=******&a=1'],
    ['X-Hook', '/cb;sig=s3cr3t/x', '/cb;sig=********'],
    ['X-Next', 'http%3A%2F%2Fh%2Fx%3Fapi_key%3Ds3cr3t', '*'.repeat(37)],
    ['X-Next', 'https%3A%2F%2Fme%3As3cr3t%40h', '*'.repeat(29)],
    ['X-Links', 'https://h/a?x=1 https://h/b?sig=s3cr3t', 'https://h/a?x=1 https://h/b?sig=******'],
    ['WWW-Authenticate', 'Bearer realm="https://h/?key=s3cr3t"', 'Bearer realm="https://h/?key=*******'],
  ])('masks what lets somebody in where any header holds a URL: %s: %s', (name, value, stored) => {
    const { headers, names } = request('/', `${name}: ${value}`);
    expect(headers).toEqual([[name, stored]]);
    expect(names).toEqual([name.toLowerCase()]);
  });

  it.each([
    ['Accept', 'text/html;q=0.9,*/*;q=0.8'],
    ['User-Agent', 'Mozilla/5.0 (X11; Linux) k=v'],
    ['Forwarded', 'for=192.0.2.60;proto=http;by=203.0.113.43'],
    ['X-Callback', 'https://h/cb?state=1%2F2&x=joe%40example.com#top'],
    ['WWW-Authenticate', 'Bearer realm="api", error="invalid_token"'],
  ])('leaves alone what lets nobody in: %s: %s', (name, value) => {
    expect(request('/', `${name}: ${value}`)).toMatchObject({ headers: [[name, value]], names: [] });
  });

  it.each([
    ['/get/https%3A%2F%2Fh%2Fx%3Ftoken%3Ds3cr3t/b', `/get/${'*'.repeat(36)}/b`],
    ['/get/a%253Ftoken%253Ds3cr3t', `/get/${'*'.repeat(22)}`],
    ['/get/https://me%3As3cr3t%40h/x?a=1', `/get/https://${'*'.repeat(17)}?a=1`],
    ['/get/https:%2F/me:s3cr3t@h/x', `/get/${'*'.repeat(23)}`],
  ])('masks an encoded URL in the path %s, and its route', (target, stored) => {
    expect(request(target)).toMatchObject({ target: stored, names: ['@'] });
    expect(redaction.nameable(target)).toBe(stored.replace(/\*+/g, '*'));
  });

  it('masks a header whole that holds too many user infos to name each', () => {
    const value = 'https://a:b@h '.repeat(70).trim();
    expect(request('/', `X-Urls: ${value}`).headers).toEqual([['X-Urls', '*'.repeat(value.length)]]);
  });

  it('masks user info of a target that begins with two slashes, or holds a URL in its path', () => {
    expect(request('//user:PW@host/x')).toMatchObject({ target: '//*******@host/x', names: ['@'] });
    expect(request('/get/https://user:PW@host/x').target).toBe('/get/https://*******@host/x');
    expect(request('/get/https%3A%2F%2Fuser%3APW%40host/x').target).toBe(`/get/${'*'.repeat(30)}/x`);
    expect(request('user:PW@host:443?u=//h').target).toBe('*******@host:443?u=//h');
  });

  it('masks a value past what ends a URL elsewhere: only `&` and `#` end it', () => {
    expect(request('/p?password=ab>S3cretTAIL&x=1').target).toBe('/p?password=*************&x=1');
    expect(request('/', 'Referer: /p?password=ab>S3cret').headers[0]?.[1]).toBe('/p?password=*********');
    expect(request('/', 'Location: /p?password=ab S3cret#x').headers[0]?.[1]).toBe('/p?password=*********#x');
    expect(request('/', 'Link: </p?password=ab S3cret>; rel=next').headers[0]?.[1]).toBe(
      '</p?password=*********>; rel=next',
    );
  });

  it('notes no name that is a secret itself', () => {
    const { names } = request('/p?//user:PW@token=abc&x%2F%2Fa%3APW%40key=d');
    expect(names).toEqual(['@']);
  });
});
