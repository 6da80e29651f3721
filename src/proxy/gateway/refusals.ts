import type { Refusal } from './guard.ts';

/** Node's error for bytes that are no request it can read; `rawPacket` is the chunk they came in. */
interface ParseError extends NodeJS.ErrnoException {
  readonly rawPacket?: Buffer;
}

const PREFACE = 'PRI * HTTP/2.0\r\n';

/** What a client is told whose bytes Node could not read; null where there is nobody left to be told. */
export function reasonOfClientError(error: ParseError): Refusal | null {
  const { code = '', rawPacket } = error;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return { reason: 'too_slow', status: 408 };
  if (code === 'HPE_HEADER_OVERFLOW') return { reason: 'head_too_large', status: 431 };
  if (!code.startsWith('HPE_')) return null;
  const isPreface = rawPacket?.subarray(0, PREFACE.length).toString('latin1') === PREFACE;
  return { reason: isPreface ? 'http2_preface' : 'unreadable', status: 400 };
}
