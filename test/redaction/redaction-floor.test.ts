import { describe, expect, it } from 'vitest';
import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { maskedHeader as header, maskedRequest as request } from './masked-heads.ts';

const redaction = new Redaction();

describe('the floor list', () => {
  it.each([
    'Authorization',
    'Proxy-Authorization',
    'Cookie',
    'Set-Cookie',
    'X-Api-Key',
    'API-KEY',
    'x-auth-token',
    'X-Amz-Security-Token',
    'x-goog-api-key',
    'Ocp-Apim-Subscription-Key',
    'X-CSRF-Token',
    'X-Client-Secret',
    'X-User-Password',
    'X-Passwd',
    'X-Hub-Signature-256',
    'Signature',
    'X-Forwarded-Authorization',
    'apikey',
    'X-APIKey',
    'xApiKey',
    'access_token',
    'refreshToken',
    'X-Auth',
    'X-Amzn-Oidc-Data',
    'X-MS-Client-Principal',
    'Sec-WebSocket-Protocol',
    'Cf-Access-Jwt-Assertion',
    'X-Credential',
    'X-Access-Keys',
    'reset-token',
    'x-refresh-tokens',
    'X-Pass',
    'X-User-Pass',
    'X-Passcode',
    'X-PIN',
    'X-OTP',
    'X-Csrf',
    'X-XSRF',
    'DPoP',
    'Authentication',
    'JSESSIONID',
  ])('masks the header %s, whole and at its length', (name) => {
    const { headers, names } = header(`${name}:  s3cr3t v@lue\t`);
    expect(headers).toEqual([[name, '************']]);
    expect(names).toEqual([name.toLowerCase()]);
  });

  it.each([
    'Host',
    'Content-Length',
    'Transfer-Encoding',
    'Content-Type',
    'X-Reprise-Run',
    'Connection',
    'Accept',
    'Idempotency-Key',
    'Sec-WebSocket-Key',
    'X-Max-Tokens',
    'x-ratelimit-remaining-tokens',
    'X-Token-Count',
    'X-Tokenizer',
    'X-Request-Id',
    'X-Session-Id',
    'User-Agent',
    'Keep-Alive',
    'WWW-Authenticate',
    'X-Keyframe',
    'X-Pass-Through',
    'X-Pinned',
  ])('leaves the header %s alone', (name) => {
    const { headers, names } = header(`${name}: 17`);
    expect(headers).toEqual([[name, '17']]);
    expect(names).toEqual([]);
  });

  it.each([
    'api_key',
    'key',
    'access_token',
    'X-Amz-Signature',
    'X-Amz-Credential',
    'X-Goog-Signature',
    'sig',
    'AWSAccessKeyId',
    'Key-Pair-Id',
    'client_secret',
    'password',
    'api%5Fkey',
    '%61pikey',
    'subscription-key',
    'jwt',
    'auth',
    'pass',
    'user_pass',
    'pw',
    'pin',
    'otp',
    'passcode',
    'SAMLResponse',
    'assertion',
    'client_assertion',
    'sessionid',
    'PHPSESSID',
  ])('masks the query key %s', (key) => {
    const { target, names } = request(`/p?a=1&${key}=s%33cret/+x&b=2`);
    expect(target).toBe(`/p?a=1&${key}=***********&b=2`);
    expect(names).toEqual([`?${key.toLowerCase()}`]);
  });

  it.each([
    'max_tokens',
    'tokens_limit',
    'tokenizer',
    'signature_name',
    'model',
    'keyword',
    'prompt_tokens',
    'code',
    'state',
    'pin_memory',
    'pass_through',
    'bypass',
    'spin',
    'session_id',
  ])('leaves the query key %s alone', (key) => {
    expect(request(`/p?${key}=17`)).toMatchObject({ target: `/p?${key}=17`, names: [] });
  });

  it.each([
    'Bearer s3cr3t',
    'bearer\ts3cr3t',
    'Basic czNjcjN0',
    'DPoP s3cr3t',
    'Negotiate s3cr3t',
    'AWS4-HMAC-SHA256 Credential=s3cr3t',
    // As their standards have them.
    'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==',
    'Bearer mF_9.B5f-4.1JqM',
    'Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqb2UifQ.c2lnbmF0dXJl',
    'DPoP Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU',
    'Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa+gJDAiBgkqhkiC9xIBAgI=',
    'NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw==',
    'Digest username="Mufasa", realm="r", nonce="7ypf", uri="/", response="8ca523"',
    'AWS4-HMAC-SHA256 Credential=AKID/20130524/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=f0e8',
    // As servers take them all the same.
    'Bearer opensesame',
    'Bearer EMPTY',
    'Bearer 1|laravelsanctumtoken',
    'Bearer user:opensesame',
    'Bearer "opensesame"',
    'Bearer Bearer opensesame',
    'Bearer Basic opensesame',
    'Bearer opensesame, Basic bjph',
    'Bearer opensesame; expires',
    'Bearer token: s3cr3t',
    `Bearer${' '.repeat(100)}opensesame`,
    'Basic Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==',
    'Basic b3BlbnNlc2FtZQ==',
    'Digest s3cr3t',
    // n:a, in small letters only.
    'Basic bjph',
    'Negotiate realm YIIJvwYGKwYBBQUC',
  ])('masks a header of any name that begins as credentials do: %s', (value) => {
    for (const name of ['X-Authenticated', 'X-Access', 'Referer', 'User-Agent']) {
      const { headers, names } = header(`${name}: ${value}`);
      expect(headers).toEqual([[name, '*'.repeat(value.length)]]);
      expect(names).toEqual([name.toLowerCase()]);
    }
    const folded = redaction.requestHead(Buffer.from('GET / HTTP/1.1\r\nX-A: Bearer\r\n s3cr3t\r\n\r\n'));
    expect(Buffer.from(folded.bytes).toString()).toBe('GET / HTTP/1.1\r\nX-A: ******\r\n*******\r\n\r\n');
  });

  it.each([
    ['X-Plan', 'Basic'],
    ['X-Role', 'bearers of news'],
    ['X-Title', 'Basic English'],
    ['X-Title', 'basic English test'],
    ['X-Prompt', 'Basic arithmetic: what is 2+2'],
    ['User-Agent', 'basic client'],
    ['X-Title', 'Bearer bonds of 2026'],
    ['X-Topic', 'negotiate terms'],
    ['X-Topic', 'NTLM explained.'],
    ['X-Title', 'Digest of the day'],
    ['WWW-Authenticate', 'Bearer realm="models"'],
    ['Proxy-Authenticate', 'Basic realm="models"'],
  ])('leaves a header alone that only looks like one: %s: %s', (name, value) => {
    expect(header(`${name}: ${value}`)).toMatchObject({ headers: [[name, value]], names: [] });
  });

  it('hashes a session key whose name is on it as a session’s', () => {
    const names = { headers: ['jsessionid'], queryKeys: ['sessionid', 'jsessionid'] };
    const hashing = new Redaction({}, { names, hash: new KeyedHash(Buffer.alloc(32, 7)) });
    const head = 'GET /a;jsessionid=s3cr3t?sessionid=s3cr3t HTTP/1.1\r\nJSESSIONID: s3cr3t\r\n\r\n';
    const { bytes, names: masked } = hashing.requestHead(Buffer.from(head));
    const text = Buffer.from(bytes).toString();
    expect(text).toMatch(
      /^GET \/a;jsessionid=([\w-]{6})\?sessionid=\1 HTTP\/1\.1\r\nJSESSIONID: \1\r\n\r\n$/,
    );
    expect(masked).toEqual([]);
    expect(request('/a;jsessionid=s3cr3t/b').target).toBe('/a;jsessionid=********');
  });

  it('can be added to, and not taken away from', () => {
    const more = new Redaction({ headers: ['X-Tenant', 'Content-Length'], queryKeys: ['Who'] });
    const head = Buffer.from(
      'GET /?who=me&key=k HTTP/1.1\r\nx-tenant: acme\r\nContent-Length: 0\r\nCookie: a=b\r\n\r\n',
    );
    const { bytes, names } = more.requestHead(head);
    expect(Buffer.from(bytes).toString()).toBe(
      'GET /?who=**&key=* HTTP/1.1\r\nx-tenant: ****\r\nContent-Length: 0\r\nCookie: ***\r\n\r\n',
    );
    expect(names).toEqual(['?who', '?key', 'x-tenant', 'cookie']);
  });
});
