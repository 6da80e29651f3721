import { errors } from 'undici';
import { describe, expect, test } from 'vitest';
import { SendAborted, type SendProgress, sendErrorOf } from '../../src/replay/send-error.ts';

const connecting: SendProgress = { started: false, answered: false, reusedConnection: false };
const fresh: SendProgress = { started: true, answered: false, reusedConnection: false };
const reused: SendProgress = { started: true, answered: false, reusedConnection: true };
const answering: SendProgress = { started: true, answered: true, reusedConnection: true };

function withCode(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe('the class of a failed send', () => {
  test.each([
    ['connect_refused', withCode('ECONNREFUSED'), connecting],
    ['connect_timeout', new errors.ConnectTimeoutError(), connecting],
    ['connect_timeout', withCode('ETIMEDOUT'), connecting],
    ['connect_failed', withCode('ENOTFOUND'), connecting],
    ['connect_failed', withCode('EMFILE'), connecting],
    ['connect_failed', withCode('ERR_TLS_CERT_ALTNAME_INVALID'), connecting],
    ['connect_failed', withCode('ECONNRESET'), connecting],
    ['first_byte_timeout', new errors.HeadersTimeoutError(), fresh],
    ['idle_timeout', new errors.BodyTimeoutError(), answering],
    ['reset', withCode('ECONNRESET'), fresh],
    ['reset', withCode('EPIPE'), fresh],
    ['reset_on_reuse', withCode('ECONNRESET'), reused],
    ['reset_on_reuse', withCode('EPIPE'), reused],
    ['reset', withCode('ECONNRESET'), answering],
    ['closed_early', new errors.SocketError('other side closed'), fresh],
    ['reset_on_reuse', new errors.SocketError('other side closed'), reused],
    ['closed_early', new errors.SocketError('other side closed'), answering],
    ['closed_early', new errors.ResponseContentLengthMismatchError(), answering],
    ['closed_early', new errors.HTTPParserError('no HTTP/1.1 (Invalid EOF state)'), answering],
    ['protocol', new errors.HTTPParserError('no HTTP/1.1 (Expected HTTP/)'), fresh],
    ['protocol', new errors.HeadersOverflowError(), fresh],
    ['protocol', new errors.SocketError('bad response'), reused],
    ['protocol', new errors.SocketError('bad upgrade'), fresh],
    ['total_timeout', new SendAborted('total_timeout'), connecting],
    ['stopped', new SendAborted('stopped'), answering],
    ['other', new Error('no code at all'), fresh],
    ['other', 'not even an error', fresh],
  ] as const)('is %s for %s', (expected, error, progress) => {
    expect(sendErrorOf(error, progress)).toBe(expected);
  });
});
