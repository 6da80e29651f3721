import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { maskedHeader as header, maskedRequest as request } from './masked-heads.ts';

const SECRET = 'Zq7s3cr3tZq7';

/** Headers whose names do not tell. */
const HEADERS = ['X-Note', 'User-Agent', 'X-Context', 'baggage', 'Via'];

const SCHEMES = ['Bearer', 'Basic', 'Digest', 'DPoP', 'Negotiate', 'Token', 'ApiKey', 'Api-Key', 'OAuth'];
const MORE_SCHEMES = [
  'SSWS',
  'GenieKey',
  'JWT',
  'AWS4-HMAC-SHA256',
  'TC3-HMAC-SHA256',
  'VAPID',
  'Bearer Token',
];

const NAMES = [
  ...[
    'token',
    'access_token',
    'refresh-token',
    'apiKey',
    'api.key',
    'password',
    'client_secret',
    'session.key',
  ],
  ...['db_creds', 'access_code', 'macaroon', 'user_tkn', 'samlAssertion', 'client_cert', 'authorization'],
];

/** What a credential with a scheme may stand in. */
const AROUND_SCHEME = [
  (text: string) => text,
  (text: string) => `"${text}"`,
  (text: string) => `see ${text}`,
  (text: string) => `Authorization: ${text}`,
  (text: string) => `a=1, auth-info="${text}"`,
  (text: string) => JSON.stringify({ a: [1, { upstream: text }] }),
  (text: string) => JSON.stringify({ a: JSON.stringify({ upstream: text }) }),
  (text: string) => `x;${text}`,
  (text: string) => `note=${text.replace(' ', '%20')},user=1`,
];

/** What may stand between a secret name and its value. */
const AROUND_NAME = [
  (name: string, value: string) => `${name}=${value}`,
  (name: string, value: string) => `user=1,${name}=${value},other=2`,
  (name: string, value: string) => `user=1, ${name} = "${value}"`,
  (name: string, value: string) => `(${name}='${value}')`,
  (name: string, value: string) => `${name}: ${value}`,
  (name: string, value: string) => JSON.stringify({ n: 5, [name]: value }),
  (name: string, value: string) => JSON.stringify({ inner: JSON.stringify({ [name]: value }) }),
  (name: string, value: string) => `data=${encodeURIComponent(JSON.stringify({ [name]: value }))}`,
  (name: string, value: string) => `{"\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}":"${value}"}`,
  (name: string, value: string) => `{'${name}': '${value}'}`,
];

const oneOf = <Item>(items: readonly Item[]) => fc.constantFrom(...items);

describe('a credential in a header of any name', () => {
  it('is masked after any scheme, wherever it stands', () => {
    const parts = fc.tuple(oneOf(HEADERS), oneOf([...SCHEMES, ...MORE_SCHEMES]), oneOf(AROUND_SCHEME));
    const cased = fc.constantFrom(
      (text: string) => text,
      (text: string) => text.toLowerCase(),
      (text: string) => text.toUpperCase(),
    );
    fc.assert(
      fc.property(parts, cased, ([name, scheme, around], inCase) => {
        const masked = header(`${name}: ${around(`${inCase(scheme)} ${SECRET}`)}`);
        expect(masked.text).not.toContain(SECRET);
        expect(masked.names).toEqual([name.toLowerCase()]);
      }),
      { numRuns: repeated(400, 2_000) },
    );
  });

  it('is masked under any secret name, wherever it stands', () => {
    fc.assert(
      fc.property(oneOf(HEADERS), oneOf(NAMES), oneOf(AROUND_NAME), (name, secretName, around) => {
        const masked = header(`${name}: ${around(secretName, SECRET)}`);
        expect(masked.text).not.toContain(SECRET);
        expect(masked.names).toEqual([name.toLowerCase()]);
      }),
      { numRuns: repeated(400, 2_000) },
    );
  });

  it.each([
    'Hawk id="dh37fgj492je", ts="1353832234", nonce="j4h3g2", mac="6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE="',
    'OAuth realm="x", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_signature="tR3"',
    'Token 9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b',
    'token opensesame',
    'AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo',
    'SharedKey account:opensesame',
    '{"authorization":"Bearer opensesame"}',
    "'Bearer opensesame'",
    'access_token=opensesame',
    'userId=alice,access_token=opensesame',
    'password: hunter2',
  ])('is masked whole: %s', (value) => {
    expect(header(`X-Note: ${value}`).headers).toEqual([['X-Note', '*'.repeat(value.length)]]);
  });

  it.each([
    ['X-Note', 'token_count=5'],
    ['X-Note', '{"max_tokens":5,"tokens": 5,"token_count":7,"promptTokenCount":12}'],
    ['X-Note', 'max_tokens=5, tokens=5, total-tokens=17'],
    ['X-Flags', '{"use_token":true,"password":null}'],
    ['X-Title', 'The secret: a novel'],
    ['X-Title', 'Token limits of large models'],
    ['X-Title', 'Visual Basic runtime'],
    ['X-Cloud', 'AWS us-east-1'],
    ['X-Error', 'maximum token limit (4096) exceeded'],
    ['User-Agent', 'python-requests/2.31 OAuth 2.0 client'],
    ['User-Agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0'],
    ['anthropic-beta', 'token-counting-2024-11-01,token-efficient-tools-2025-02-19'],
    ['Accept', 'application/json, text/event-stream;q=0.9'],
    ['Cache-Control', 'private, max-age=0, no-cache="set-cookie"'],
    ['Permissions-Policy', 'publickey-credentials-get=(self), geolocation=()'],
    ['baggage', 'userId=alice,serverNode=DF%2028,isProduction=false'],
    ['Access-Control-Allow-Headers', 'Authorization, X-Api-Key, Content-Type'],
    ['Access-Control-Allow-Private-Network', 'true'],
    ['Server-Timing', 'auth;dur=53, token;desc="count"'],
    ['Content-Disposition', 'attachment; filename="token.txt"'],
    ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    ['X-Amzn-Trace-Id', 'Root=1-67891233-abcdef012345678912345678;Sampled=1'],
    ['ETag', 'W/"Zm9vYmFy="'],
    ['Alt-Svc', 'h3=":443"; ma=86400'],
    ['WWW-Authenticate', 'Bearer realm="api", error="invalid_token", scope="token=a"'],
  ])('does not hide ordinary traffic: %s: %s', (name, value) => {
    expect(header(`${name}: ${value}`)).toMatchObject({ headers: [[name, value]], names: [] });
  });

  it('takes time linear in hostile values', () => {
    const size = 200_000;
    for (const unit of [
      'Bearer a ',
      'token ',
      '"token"',
      '"',
      'token:',
      'a=',
      '= ',
      'key',
      '\\u0074',
      '\\',
      'x: ',
    ]) {
      const text = `X-Note: ${unit.repeat(size / unit.length)}!`;
      expect(header(text).text.length).toBeGreaterThan(size / 2);
    }
  });
});

describe('a header with such a name', () => {
  it.each([
    ...[
      'X-Db-Creds',
      'X-Cred',
      'X-Private-Data',
      'Private-Token',
      'X-Macaroon',
      'Macaroons',
      'X-Access-Code',
    ],
    ...['X-User-Tkn', 'X-Tkn', 'X-Saml-Assertion', 'X-SAMLRequest', 'saml2-response'],
    ...['Client-Cert', 'Client-Cert-Chain', 'X-Client-Cert', 'X-SSL-Client-Cert', 'X-Forwarded-Client-Cert'],
    ...[
      'X-ARR-ClientCert',
      'X-Amzn-Mtls-Clientcert-Leaf',
      'ssl-client-certificate',
      'X-Forwarded-Tls-Client-Cert',
    ],
  ])('is masked: %s', (name) => {
    expect(header(`${name}: opensesame`).headers).toEqual([[name, '**********']]);
  });

  it.each([
    'X-Credits',
    'X-Certified',
    'X-Accredited',
    'X-Same-Locale',
    'Access-Control-Request-Private-Network',
  ])('is kept where it only looks like one: %s', (name) => {
    expect(header(`${name}: 17`).headers).toEqual([[name, '17']]);
  });
});

describe('a query value that is JSON', () => {
  it('has its secrets masked, encoded or not', () => {
    const value = fc.oneof(
      fc.constantFrom(...NAMES).map((name) => JSON.stringify({ n: { a: 'x;y', [name]: SECRET } })),
      fc.constantFrom(...SCHEMES).map((scheme) => JSON.stringify({ headers: [`${scheme} ${SECRET}`] })),
      fc.constantFrom(...NAMES).map((name) => JSON.stringify([JSON.stringify({ [name]: SECRET })])),
      fc.constantFrom(
        `{"url":"https://u:${SECRET}@h/x"}`,
        `{"url":"https:\\/\\/u:${SECRET}@h\\/x"}`,
        `{"url":"https:\\u002f\\u002fu:${SECRET}\\u0040h"}`,
      ),
    );
    const coding = fc.constantFrom(
      (text: string) => text.replaceAll(' ', '+'),
      encodeURIComponent,
      (text: string) => encodeURIComponent(encodeURIComponent(text)),
    );
    fc.assert(
      fc.property(value, coding, fc.constantFrom('filter=', '', 'a=1;f='), (json, coded, key) => {
        const { target, names } = request(`/p?${key}${coded(json)}&b=2`);
        expect(target).not.toContain(SECRET);
        expect(target).toMatch(/&b=2$/);
        expect(names).toHaveLength(1);
      }),
      { numRuns: repeated(300, 2_000) },
    );
  });

  it.each([
    '/p?filter={"max_tokens":5,"tokens":5,"model":"m"}',
    '/p?filter=%7B%22max_tokens%22%3A5%2C%22tokens%22%3A+5%7D',
    '/p?q="bearer+bonds+of+2026"&title=%22Basic%20English%22',
    '/p?filter={"role":"user","content":"what+is+a+token"}',
  ])('is kept without one: %s', (target) => {
    expect(request(target)).toMatchObject({ target, names: [] });
  });

  it('whose key holds the secret is masked with it', () => {
    expect(request(`/p?{"token":"${SECRET}=${SECRET}"}&b=2`).target).toMatch(/^\/p\?\*+&b=2$/);
  });
});

describe('user info behind backslashes', () => {
  it.each([
    ['/p?u=https:\\\\me:S3cret@h/x', '/p?u=https:\\\\*********@h/x'],
    ['/p?u=/\\me:S3cret@h/x', '/p?u=/\\*********@h/x'],
    ['/p?u=https:\\/\\/me:S3cret@h\\/x', '/p?u=https:\\/\\/*********@h\\/x'],
    ['/p?u=https:///me:S3cret@h/x', '/p?u=https:///*********@h/x'],
    ['/p?u=https:/me:S3cret@h/x', '/p?u=https:/*********@h/x'],
    ['/p?u=https:\\me:S3cret@h/x', '/p?u=https:\\*********@h/x'],
    ['/p?u=https:\\\\me:S3\\cret@h/x', '/p?u=https:\\\\**********@h/x'],
    ['/p?u=https%3A%5C%5Cme%3AS3cret%40h', `/p?u=${'*'.repeat(29)}`],
    // As a bare authority, which a target may be, all before the sign is user info.
    ['https:\\\\me:S3cret@h/x', `${'*'.repeat(17)}@h/x`],
  ])('is masked in the target %s', (target, stored) => {
    expect(request(target).target).toBe(stored);
  });

  it('is masked in headers, and paths of Windows and of files stay', () => {
    expect(header('X-Source: https:\\\\me:S3cret@h').headers[0]?.[1]).toBe('https:\\\\*********@h');
    for (const value of ['C:\\data\\v@1', 'file:///data@v1/x', 'a\\b@c'])
      expect(header(`X-Source: ${value}`).headers).toEqual([['X-Source', value]]);
  });
});
