import { errors } from 'undici';
import { describe, expect, test } from 'vitest';
import { brokenErrorOf, connectErrorOf, type SendProgress } from '../../../src/replay/http/errors.ts';

const fresh: SendProgress = { answered: false, reusedConnection: false, ended: false };
const reused: SendProgress = { ...fresh, reusedConnection: true };
const answering: SendProgress = { ...reused, answered: true };
const ended: SendProgress = { ...fresh, answered: true, ended: true };

function withCode(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe('the class of a failed send', () => {
  test.each([
    ['connect_refused', withCode('ECONNREFUSED')],
    ['connect_timeout', new errors.ConnectTimeoutError()],
    ['connect_timeout', withCode('ETIMEDOUT')],
    ['connect_failed', withCode('ENOTFOUND')],
    ['no_socket', withCode('EMFILE')],
    ['no_socket', withCode('ENFILE')],
    ['no_socket', withCode('EADDRNOTAVAIL')],
    ['no_socket', withCode('ENOBUFS')],
    ['connect_failed', withCode('ERR_TLS_CERT_ALTNAME_INVALID')],
    ['connect_failed', withCode('ECONNRESET')],
    ['connect_failed', 'not even an error'],
  ] as const)('is %s where connecting ended in %s', (expected, error) => {
    expect(connectErrorOf(error)).toBe(expected);
  });

  test.each([
    ['reset', withCode('ECONNRESET'), fresh],
    ['reset', withCode('EPIPE'), fresh],
    ['reset', withCode('ECONNABORTED'), fresh],
    ['reset_on_reuse', withCode('ECONNRESET'), reused],
    ['reset_on_reuse', withCode('EPIPE'), reused],
    ['reset', withCode('ECONNRESET'), answering],
    ['reset', withCode('ETIMEDOUT'), reused],
    ['reset', withCode('EHOSTUNREACH'), reused],
    ['other', new Error('no code at all'), fresh],
    ['other', 'not even an error', fresh],
  ] as const)('is %s where the connection broke with %s', (expected, error, progress) => {
    expect(brokenErrorOf(error, progress)).toBe(expected);
  });

  test.each([
    ['closed_early', fresh],
    ['reset_on_reuse', reused],
    ['closed_early', answering],
  ] as const)('is %s where the target closed and progress was %o', (expected, progress) => {
    expect(brokenErrorOf(new errors.SocketError('other side closed'), progress)).toBe(expected);
  });

  test.each([
    ['protocol', new errors.SocketError('bad response'), fresh],
    ['protocol', new errors.SocketError('bad upgrade'), fresh],
    ['protocol', new errors.HTTPParserError('no HTTP'), fresh],
    ['protocol', new errors.HeadersOverflowError(), fresh],
    ['protocol', new errors.ResponseContentLengthMismatchError(), answering],
    ['closed_early', new errors.ResponseContentLengthMismatchError(), ended],
    ['closed_early', new errors.HTTPParserError('cut short'), ended],
  ] as const)('is %s for what undici says of an answer: %s', (expected, error, progress) => {
    expect(brokenErrorOf(error, progress)).toBe(expected);
  });

  test.each([
    new errors.InvalidArgumentError('duplicate host header'),
    new errors.NotSupportedError('expect header not supported'),
  ])('is other where undici would not send the request: %s', (error) => {
    expect(connectErrorOf(error)).toBe('other');
  });
});
