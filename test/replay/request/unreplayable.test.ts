import { describe, expect, test } from 'vitest';
import { unreplayableReason } from '../../../src/replay/request/build.ts';

const plain: Parameters<typeof unreplayableReason>[0] = {
  method: 'POST',
  target: '/v2/models/m/infer?x=%20',
  headers: [
    ['Host', 'h'],
    ['Content-Type', 'application/json'],
    ['X-Bytes', 'caf\u00e9'],
  ],
  hasTrailers: false,
};

describe('what cannot be replayed as it was', () => {
  test.each([
    [null, 'an ordinary request, high bytes in a value included', {}],
    [null, 'a method nobody has heard of', { method: 'PURGE' }],
    [null, 'a GET with a body', { method: 'GET' }],
    [null, 'chunked with a body', { headers: [['Transfer-Encoding', ' Chunked']] }],
    [null, 'chunked with nothing in it', { headers: [['transfer-encoding', 'chunked']] }],
    [
      null,
      'hop-by-hop names, which are left out by rule',
      {
        headers: [
          ['Connection', 'close'],
          ['TE', 'trailers'],
        ],
      },
    ],
    [null, 'an empty header value', { headers: [['X-Empty', '']] }],
    ['connect_method', 'a tunnel', { method: 'CONNECT', target: 'h:443' }],
    ['invalid_method', 'a method that is no token', { method: 'PO ST' }],
    ['invalid_target', 'the asterisk form', { method: 'OPTIONS', target: '*' }],
    ['invalid_target', 'the absolute form', { target: 'http://production/x' }],
    ['invalid_target', 'a space in the target', { target: '/a b' }],
    ['invalid_header', 'a control byte in a value', { headers: [['X', 'a\u0001b']] }],
    ['invalid_header', 'a name that is no token', { headers: [['X Y', 'a']] }],
    ['expect_header', 'a request that waited for 100', { headers: [['Expect', '100-continue']] }],
    ['upgrade_header', 'an upgrade', { headers: [['upgrade', 'websocket']] }],
    [
      'transfer_coding',
      'a compressed transfer coding',
      { headers: [['Transfer-Encoding', 'gzip, chunked']] },
    ],
    ['trailers', 'trailers', { hasTrailers: true }],
  ] as const)('is %s for %s', (reason, _what, parts) => {
    expect(unreplayableReason({ ...plain, ...parts })).toBe(reason);
  });
});
