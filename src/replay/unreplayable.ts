/** What `unreplayableReason` needs to know of a recorded request. */
export interface RecordedRequestShape {
  readonly method: string;
  /** The request target as recorded. */
  readonly target: string;
  /** Flat name, value, … as recorded: before hop-by-hop and framing names are taken out. */
  readonly headers: readonly string[];
  readonly bodyBytes: number;
  readonly hasTrailers: boolean;
}

/**
 * Why a recorded request cannot be sent as it was, or null when it can. A closed list, complete for what
 * undici 8 refuses or would alter; reports group by it.
 */
export const UNREPLAYABLE_REASONS = [
  'connect_method',
  'invalid_method',
  'invalid_target',
  'invalid_header',
  'expect_header',
  'upgrade_header',
  'transfer_coding',
  'chunked_without_body',
  'trailers',
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
  return headerReason(request.headers, request.bodyBytes);
}

function headerReason(headers: readonly string[], bodyBytes: number): UnreplayableReason | null {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? '';
    const value = headers[i + 1] ?? '';
    if (!TOKEN.test(name) || !HEADER_VALUE.test(value)) return 'invalid_header';
    switch (name.toLowerCase()) {
      case 'expect':
        return 'expect_header';
      case 'upgrade':
        return 'upgrade_header';
      case 'transfer-encoding':
        if (value.trim().toLowerCase() !== 'chunked') return 'transfer_coding';
        // undici writes content-length: 0 for an iterable that yields nothing.
        if (bodyBytes === 0) return 'chunked_without_body';
    }
  }
  return null;
}
