import { AppError } from '../core/errors.ts';

/** A TCP endpoint. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * Reads `host:port`, `:port`, `[::1]:port`, or the same behind `http://`. A path is refused: a wire forwards
 * bytes and cannot map paths.
 * @throws AppError OPTION_INVALID naming `what`.
 */
export function parseAddress(text: string, what: string, options: { anyPort?: boolean } = {}): Address {
  const match = /^(?:http:\/\/)?(\[[0-9A-Fa-f:.]+\]|[^\s:/[\]@?#]*):(\d{1,5})\/?$/.exec(text.trim());
  const port = match ? Number(match[2]) : Number.NaN;
  const host = match?.[1] ? match[1].replace(/^\[|\]$/g, '') : options.anyPort ? '::' : '127.0.0.1';
  if (!match || port > 65_535 || (port === 0 && !options.anyPort)) {
    throw new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(text)} is not an address`, {
      hint: refusalOf(text),
    });
  }
  return { host, port };
}

function refusalOf(text: string): string {
  if (/^https:/i.test(text))
    return 'TLS is not spoken yet; give the plain port, such as http://127.0.0.1:8080.';
  if (/^http:\/\/[^/]+\/./.test(text)) return 'Give host and port alone: paths pass through unchanged.';
  return 'Give host:port, such as 127.0.0.1:8080 or http://[::1]:8080.';
}

export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
