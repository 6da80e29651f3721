import { errors } from 'undici';
import type { SendError } from '../core/run.ts';

/** How a send ends that has no complete answer: by an error, or because its recorded client had left. */
export type SendEnd = SendError | 'cancelled';

/** How far a request had come when it failed. */
export interface SendProgress {
  /** It was written to a connection. */
  readonly started: boolean;
  /** A byte of a response had arrived. */
  readonly answered: boolean;
  /** The connection had answered another request before. */
  readonly reusedConnection: boolean;
}

/** Raised by ourselves to end a request; carries the word it shall be counted under. */
export class SendAborted extends Error {
  readonly sendError: SendEnd;

  constructor(sendError: SendEnd) {
    super(sendError);
    this.name = 'SendAborted';
    this.sendError = sendError;
  }
}

const RESET_CODES: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED']);

/** What undici and Node report, in the words of core's closed list. */
export function sendErrorOf(error: unknown, progress: SendProgress): SendEnd {
  if (error instanceof SendAborted) return error.sendError;
  const code = codeOf(error);
  if (!progress.started) return connectErrorOf(code);
  switch (code) {
    case 'UND_ERR_HEADERS_TIMEOUT':
      return 'first_byte_timeout';
    case 'UND_ERR_BODY_TIMEOUT':
      return 'idle_timeout';
    case 'UND_ERR_HEADERS_OVERFLOW':
      return 'protocol';
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
      return 'closed_early';
    case 'UND_ERR_SOCKET':
      return socketErrorOf(error, progress);
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'reset';
  }
  if (RESET_CODES.has(code)) return wasIdleClose(progress) ? 'reset_on_reuse' : 'reset';
  return error instanceof errors.HTTPParserError ? parserErrorOf(error) : 'other';
}

/** undici gives its parser's errors no code; the parser's words are in the message. */
function parserErrorOf({ message }: Error): SendError {
  // A body that ends with its connection before its own end.
  return message.includes('EOF') ? 'closed_early' : 'protocol';
}

/** Words of undici's SocketError: it has one code for a peer that closed and one that answered nonsense. */
function socketErrorOf(error: unknown, progress: SendProgress): SendError {
  const message = error instanceof Error ? error.message : '';
  if (message === 'bad response' || message === 'bad upgrade') return 'protocol';
  return wasIdleClose(progress) ? 'reset_on_reuse' : 'closed_early';
}

/** The server gave up an idle connection in the moment we used it again: its time-out, not its failure. */
function wasIdleClose(progress: SendProgress): boolean {
  return progress.reusedConnection && !progress.answered;
}

function connectErrorOf(code: string): SendError {
  if (code === 'ECONNREFUSED') return 'connect_refused';
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return 'connect_timeout';
  return 'connect_failed';
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}
