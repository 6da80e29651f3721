import type { SendError } from '../../core/run.ts';

/** How a send ends that has no complete answer: by an error, or because its recorded client had left. */
export type SendEnd = SendError | 'cancelled';

/** How far a request had come that was written to a connection, when the connection failed. */
export interface SendProgress {
  /** A byte of a response had arrived. */
  readonly answered: boolean;
  /** The connection had answered another request before. */
  readonly reusedConnection: boolean;
  /** The target has said that it sends no more. */
  readonly ended: boolean;
}

/** A connection broke, or the way to it. */
const BROKEN_CODES: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED']);
/** This host had no socket left: no descriptor, no local port, no memory for it. The target was never asked. */
const LOCAL_CODES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS']);
const LOST_CODES: ReadonlySet<string> = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']);
/** What undici's parser says of an answer that is no HTTP/1.1, or that ended too early; it gives them no codes. */
const PARSER_ERRORS: ReadonlySet<string> = new Set([
  'HTTPParserError',
  'ResponseContentLengthMismatchError',
  'HeadersOverflowError',
]);
/** undici gives its errors of a connection one code; these words tell what came from what did not come. */
const UNASKED_ANSWER = /^bad (?:response|upgrade)$/;
/** undici would not send it as it is. */
const REFUSED_CODES: ReadonlySet<string> = new Set(['UND_ERR_INVALID_ARG', 'UND_ERR_NOT_SUPPORTED']);

/** The request was not written: no connection was had. @param error what Node or undici's connector said */
export function connectErrorOf(error: unknown): SendError {
  const code = codeOf(error);
  if (REFUSED_CODES.has(code)) return 'other';
  if (LOCAL_CODES.has(code)) return 'no_socket';
  if (code === 'ECONNREFUSED') return 'connect_refused';
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return 'connect_timeout';
  return 'connect_failed';
}

/** The connection failed while a request was on it. @param error what Node or undici said */
export function brokenErrorOf(error: unknown, progress: SendProgress): SendError {
  const code = codeOf(error);
  // The server gave up an idle connection in the moment we used it again: its time-out, not its failure.
  const wasIdleClose = progress.reusedConnection && !progress.answered;
  // The target closed the connection before an answer was complete.
  const ended = wasIdleClose ? 'reset_on_reuse' : 'closed_early';
  if (LOST_CODES.has(code)) return 'reset';
  if (BROKEN_CODES.has(code)) return wasIdleClose ? 'reset_on_reuse' : 'reset';
  if (error instanceof Error && PARSER_ERRORS.has(error.name)) return progress.ended ? ended : 'protocol';
  if (code !== 'UND_ERR_SOCKET') return 'other';
  return UNASKED_ANSWER.test((error as Error).message) ? 'protocol' : ended;
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}
