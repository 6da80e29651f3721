import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';

const contentType = 'application/x-www-form-urlencoded';
const redaction = bodyRedaction(['/prompt=mask', '/user=hash', '/gone=drop']);
const form = (body: string) => cover(redaction, body, { contentType });

describe('a form', () => {
  it('has the fields covered that rules name, in any encoding', () => {
    const body =
      'model=m&prompt=tell+me+a+secret&%70rompt=again%20secret&user=alice%40example.com&gone=xyz&n=1';
    const { text, names } = form(body);
    expect(text).toMatch(
      /^model=m&prompt=[a-z+]{16}&%70rompt=[a-z+]{14}&user=[0-9a-f]{16}\+[a-z]{2}&gone=\+\+\+&n=1$/,
    );
    expect(names).toEqual(['/prompt', '/user', '/gone']);
    expect(text).not.toContain('secret');
  });

  it('has fields covered whose names give a secret away, as a query has', () => {
    const { text, names } = form(
      'api_key=abc%2Fdef&max_tokens=5&x=1;password=hun;ter2&next=%2Fa%3Ftoken%3Dzzz',
    );
    expect(text).toMatch(/^api_key=[a-z+]{9}&max_tokens=5&x=1;password=[a-z+]{8}&next=[a-z+]{18}$/);
    expect(names).toEqual(['/api_key', '/password', '/next']);
  });

  it('hashes what a field says, however it was encoded', () => {
    const plain = (value: string) => form(`user=${value}`).text.slice(5, 21);
    expect(plain('alice%40example.com')).toBe(plain('%61lice%40example.com'));
    expect(plain('alice+and+bob+go')).toBe(plain('alice%20and%20bob%20go'));
    expect(plain('caf%E9%80+and+more')).toMatch(/^[0-9a-f]{16}$/);
  });

  it('has a field masked whole that rules look into', () => {
    const { text, names } = cover(bodyRedaction(['/doc/text=mask']), 'doc=%7B%22text%22%3A1%7D&b=1', {
      contentType,
    });
    expect(text).toMatch(/^doc=[a-z+]{20}&b=1$/);
    expect(names).toEqual(['/doc']);
  });

  it.each([
    ['callback=https://h/cb?token=S3cretTOK&b=1', /^callback=https:\/\/h\/cb\?token=[a-z+]{9}&b=1$/],
    ['callback=https://h/cb#access_token=S3cret', /^callback=https:\/\/h\/cb#access_token=[a-z+]{6}$/],
    ['callback=https%3A%2F%2Fh%2Fcb%3Ftoken%3DS3cret', /^callback=[a-z+]{37}$/],
    ['u=https://svc:S3cretPW@h/a.png', /^u=https:\/\/[a-z+]{12}@h\/a\.png$/],
    ['u=https%3A%2F%2Fsvc%3AS3cretPW%40h', /^u=[a-z+]{32}$/],
    ['u=https://svc:S3c;ret@h/a?token=S3cret', /^u=https:\/\/[a-z+]{11}@h\/a\?token=[a-z+]{6}$/],
    ['u=https://svc:S3c;token=S3cret@h', /^u=https:\/\/[a-z+]{22}$/],
    ['a=1&u=https%3A%2F%2Fsvc%3Ax;S3cret%40h', /^a=1&u=[a-z+]{32}$/],
  ])('has the credentials of URLs in it covered, as a query has: %s', (body, stored) => {
    const { text, names } = form(body);
    expect(text).toMatch(stored);
    expect(names).not.toEqual([]);
  });

  it('notes no name that is a secret itself, and is none where a name is an encoded URL with one', () => {
    expect(form('https://u:S3cret@h=1&//u:S3cret@token=2').names).toEqual(['/@']);
    expect(form('https%3A%2F%2Fu%3AS3cret%40h=1')).toMatchObject({ kept: null, dropped: 'bad_form' });
  });

  it('hashes the whole of a field whose rule says so, credentials of a URL included', () => {
    const plain = (body: string) => form(body).text.slice(5, 21);
    expect(plain('user=https://a:b@host/x')).toBe(plain('user=https%3A%2F%2Fa%3Ab%40host%2Fx'));
  });

  it.each([
    ['https%3A%2F%2Fh%2F%3Ftoken%3DS3cret=1'],
    ['x=1;https%3A%2F%2Fh%2F%3Ftoken%3DS3cret=1'],
    ['%2525252F=1&a%253Bapi_key%253DS3cret=1'],
  ])('is none where a name hides a secret of a URL: %s', (body) => {
    expect(form(body)).toMatchObject({ kept: null, dropped: 'bad_form' });
  });

  it('has what a URL hides in its fragment covered, named or not', () => {
    expect(form('u=https://h/#%2Fcb%3Ftoken%3DS3cret').text).toMatch(/^u=https:\/\/h\/#[a-z+]{22}$/);
  });

  it('has user info covered whose sign is encoded byte by byte', () => {
    expect(form('u=https%3A%2F%2Fa%3AS3cret%25%34%30h').text).toMatch(/^u=[a-z+]{34}$/);
  });

  it('with more credentials than are told one by one has the value covered whole', () => {
    const { text, names } = form(`a=1&u=${'//S3cret@h,'.repeat(100)}&b=2`);
    expect(text).toMatch(/^a=1&u=[a-z+]{1100}&b=2$/);
    expect(names).toEqual(['/u']);
  });

  it('notes nothing of a secret in a name of thousands of characters', () => {
    expect(form(`//S3cret${'x'.repeat(5_000)}@token=2`).names).toEqual(['/@']);
  });

  it('keeps no secret because a name of other letters was kept before it', () => {
    // Letters whose lowest bytes spell `api_key`.
    const wide = String.fromCharCode(...[...Buffer.from('api_key')].map((byte) => 0x100 + byte));
    const fresh = bodyRedaction(['/prompt=mask']);
    const covered = (body: string) => cover(fresh, body, { contentType }).text;
    expect(covered(`${encodeURIComponent(wide)}=1`)).toContain('=1');
    expect(covered('api_key=S3cret')).toMatch(/^api_key=[a-z+]{6}$/);
  });

  it.each(['a=joe@example.com', 'a=joe%40example.com&u=https://h/x', 'q=what?+and+#b=1'])(
    'keeps what only looks like it: %s',
    (body) => {
      expect(form(body)).toMatchObject({ text: body, names: [] });
    },
  );

  it('without such fields stays as it is', () => {
    expect(form('a=1&b=&&c=x y\r\n')).toMatchObject({ names: [], dropped: null });
  });

  it('made of semicolons alone takes no time to speak of', () => {
    for (const hostile of [';'.repeat(1_000_000), '//a@;'.repeat(50_000), '%2F%2F%40;'.repeat(50_000)]) {
      expect(form(`a=${hostile}`).dropped).toBeNull();
    }
  }, 30_000);

  it.each([
    'some prompt that curl sent',
    'some prompt=that curl sent',
    'a=1&secret',
    'a=1\nsecret=2',
    '\u001f\u008b=gzip',
  ])('that is none is dropped: %j', (body) => {
    expect(form(body)).toMatchObject({ kept: null, dropped: 'bad_form' });
  });
});
