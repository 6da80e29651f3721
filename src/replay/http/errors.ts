import { constants } from 'node:http2';
import type { SendError } from '../../core/run.ts';

/** The end of a send without a complete answer: an error, or the recorded client left. */
export type SendEnd = SendError | 'cancelled';

/** The progress of a written request when its connection failed. */
export interface SendProgress {
  /** Whether a byte of a response had arrived. */
  readonly answered: boolean;
  /** Whether the connection had answered another request before. */
  readonly reusedConnection: boolean;
  /** Whether the target had announced that it sends no more. */
  readonly ended: boolean;
}

/** The connection, or the route to it, broke. */
const BROKEN_CODES: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED']);
/** This host had no free socket: no descriptor, no local port, or no memory for it. The target was not asked. */
const LOCAL_CODES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS']);
const LOST_CODES: ReadonlySet<string> = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']);
/** Errors of undici's parser for an answer that is no valid HTTP/1.1, or that ended too early. They have no codes. */
const PARSER_ERRORS: ReadonlySet<string> = new Set([
  'HTTPParserError',
  'ResponseContentLengthMismatchError',
  'HeadersOverflowError',
]);
/** undici uses one code for all errors of a connection. These messages identify unexpected answers. */
const UNASKED_ANSWER = /^bad (?:response|upgrade)$/;
/** undici refuses to send the request unchanged. */
const REFUSED_CODES: ReadonlySet<string> = new Set(['UND_ERR_INVALID_ARG', 'UND_ERR_NOT_SUPPORTED']);

/**
 * The request was not written, because no connection was opened. @param error the error of Node or of undici's
 * connector
 */
export function connectErrorOf(error: unknown): SendError {
  const code = codeOf(error);
  if (REFUSED_CODES.has(code)) return 'other';
  if (LOCAL_CODES.has(code)) return 'no_socket';
  if (code === 'ECONNREFUSED') return 'connect_refused';
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return 'connect_timeout';
  return 'connect_failed';
}

/** The connection failed while it carried a request. @param error the error of Node or undici */
export function brokenErrorOf(error: unknown, progress: SendProgress): SendError {
  const code = codeOf(error);
  // The server closed an idle connection just when we used it again. The cause is its time-out, not a failure.
  const wasIdleClose = progress.reusedConnection && !progress.answered;
  // The target closed the connection before an answer was complete.
  const ended = wasIdleClose ? 'reset_on_reuse' : 'closed_early';
  if (LOST_CODES.has(code)) return 'reset';
  if (BROKEN_CODES.has(code)) return wasIdleClose ? 'reset_on_reuse' : 'reset';
  if (error instanceof Error && PARSER_ERRORS.has(error.name)) return progress.ended ? ended : 'protocol';
  if (code !== 'UND_ERR_SOCKET') return 'other';
  return UNASKED_ANSWER.test((error as Error).message) ? 'protocol' : ended;
}

/** What is known when a stream of HTTP/2 ended without a complete answer. */
export interface StreamProgress extends SendProgress {
  /** Code of the RST_STREAM frame, sent or received. */
  readonly code: number;
  /** Whether the connection had a GOAWAY frame that excludes the stream, or that ended the whole connection. */
  readonly goneAway: boolean;
}

const { NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR, NGHTTP2_CANCEL } = constants;
/** The target reset the stream for its own reasons, not because of what either side sent. */
const RESET_CODES: ReadonlySet<number> = new Set([
  NGHTTP2_NO_ERROR,
  NGHTTP2_INTERNAL_ERROR,
  NGHTTP2_CANCEL,
  constants.NGHTTP2_STREAM_CLOSED,
  constants.NGHTTP2_ENHANCE_YOUR_CALM,
]);

/** A stream of HTTP/2 failed. @param error the error of Node; null if there was only a code, or nothing */
export function streamErrorOf(error: unknown, progress: StreamProgress): SendError {
  if (progress.goneAway) return 'goaway';
  const code = codeOf(error);
  if (BROKEN_CODES.has(code) || LOST_CODES.has(code)) return brokenErrorOf(error, progress);
  if (code === 'ERR_HTTP2_ERROR') return 'protocol';
  if (progress.code === constants.NGHTTP2_REFUSED_STREAM) return 'refused_stream';
  // Node cancels the streams of a connection that was closed.
  if (progress.ended)
    return progress.reusedConnection && !progress.answered ? 'reset_on_reuse' : 'closed_early';
  if (code !== '' && code !== 'ERR_HTTP2_STREAM_ERROR') return 'other';
  return RESET_CODES.has(progress.code) ? 'reset' : 'protocol';
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}
