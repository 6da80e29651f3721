/** What `unreplayableReason` needs to know of a recorded request. */
export interface RecordedRequestShape {
  readonly method: string;
  /** The request target as recorded. */
  readonly target: string;
  /** Flat name, value, … as recorded: before hop-by-hop and framing names are taken out. */
  readonly headers: readonly string[];
  readonly hasTrailers: boolean;
}

/**
 * Why a recorded request is not sent, or null when it can be as it was. A closed list: reports group by it. What
 * asks for more than an answer (a tunnel, an upgrade, a word before the body) is none of a replay's.
 */
export const UNREPLAYABLE_REASONS = [
  'connect_method',
  'invalid_method',
  'invalid_target',
  'invalid_header',
  'expect_header',
  'upgrade_header',
  'transfer_coding',
  'trailers',
  'empty_chunked',
  'duplicate_host',
] as const;
export type UnreplayableReason = (typeof UNREPLAYABLE_REASONS)[number];

const TOKEN = /^[!#$%&'*+\-.^_`|~A-Za-z0-9]+$/;
const TARGET = /^\/[\u0021-\u00ff]*$/;
const HEADER_VALUE = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;

export function unreplayableReason(request: RecordedRequestShape): UnreplayableReason | null {
  if (request.method === 'CONNECT') return 'connect_method';
  if (!TOKEN.test(request.method)) return 'invalid_method';
  // Asterisk form and absolute form: the first is refused, the second names the production host.
  if (!TARGET.test(request.target)) return 'invalid_target';
  if (request.hasTrailers) return 'trailers';
  return firstHeaderReason(request.headers);
}

function firstHeaderReason(headers: readonly string[]): UnreplayableReason | null {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? '';
    const reason = headerReason(name, name.toLowerCase(), headers[i + 1] ?? '');
    if (reason !== null) return reason;
  }
  return null;
}

/** Why a request with this header is not sent. @param lower its name in lower case */
export function headerReason(name: string, lower: string, value: string): UnreplayableReason | null {
  if (!TOKEN.test(name) || !HEADER_VALUE.test(value)) return 'invalid_header';
  switch (lower) {
    case 'expect':
      return 'expect_header';
    case 'upgrade':
      return 'upgrade_header';
    case 'transfer-encoding':
      return value.trim().toLowerCase() === 'chunked' ? null : 'transfer_coding';
    default:
      return null;
  }
}
