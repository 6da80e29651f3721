import { errors } from 'undici';
import { describe, expect, test } from 'vitest';
import {
  brokenErrorOf,
  connectErrorOf,
  endedErrorOf,
  type SendProgress,
} from '../../src/replay/send-error.ts';

const fresh: SendProgress = { answered: false, reusedConnection: false };
const reused: SendProgress = { answered: false, reusedConnection: true };
const answering: SendProgress = { answered: true, reusedConnection: true };

function withCode(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe('the class of a failed send', () => {
  test.each([
    ['connect_refused', withCode('ECONNREFUSED')],
    ['connect_timeout', new errors.ConnectTimeoutError()],
    ['connect_timeout', withCode('ETIMEDOUT')],
    ['connect_failed', withCode('ENOTFOUND')],
    ['connect_failed', withCode('EMFILE')],
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
    expect(endedErrorOf(progress)).toBe(expected);
  });
});
