import { AppError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { shownUrl } from '../core/text.ts';

/** Where a replay sends. */
export interface Target {
  /** Origin and base path, for people. */
  readonly url: string;
  readonly origin: string;
  /** Path of the unix socket it listens on; null for TCP. */
  readonly socketPath: string | null;
  readonly tls: boolean;
  /** Name or address without brackets, lower case. */
  readonly hostname: string;
  readonly port: number;
  /** What a `Host` header says: the port only where it is not the scheme's own. */
  readonly authority: string;
  /** Put in front of every recorded path; empty or starting with `/`, never ending with it. */
  readonly basePath: string;
}

/**
 * Reads the address of a target: `http://host:port`, `https://host/base`, `unix:/path/of.sock`.
 * @throws AppError OPTION_INVALID for anything a replay could not mean.
 */
export function parseTarget(text: string): Target {
  const refuse = (why: string) =>
    new AppError('OPTION_INVALID', `--target: ${JSON.stringify(shownUrl(text))} ${why}`, {
      hint: 'Give the URL of the server to test, such as http://staging:8000, or unix:/path of its socket.',
    });
  if (/^unix:/i.test(text.trim())) return unixTarget(text.trim(), refuse);
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:\/\//i.test(text.trim())) throw refuse('is not an http or https URL');
  if (url.username !== '' || url.password !== '') {
    throw refuse('holds credentials; pass them with --header "Authorization: env:NAME"');
  }
  if (url.search !== '' || url.hash !== '')
    throw refuse('has a query or fragment, which a target cannot have');
  const tls = url.protocol === 'https:';
  const basePath = url.pathname.replace(/\/+$/, '');
  return {
    url: url.origin + basePath,
    origin: url.origin,
    socketPath: null,
    tls,
    hostname: bareHostname(url.hostname),
    port: url.port === '' ? (tls ? 443 : 80) : Number(url.port),
    authority: url.host,
    basePath,
  };
}

/** Its host is this machine, and so its name is `localhost`, as other clients of unix sockets have it. */
function unixTarget(text: string, refuse: (why: string) => AppError): Target {
  const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0')) {
    throw refuse('is not the absolute path of a socket');
  }
  if (Buffer.byteLength(path) > LIMITS.socketPathBytes) {
    throw refuse(`is too long for a socket, whose path has at most ${LIMITS.socketPathBytes} bytes`);
  }
  return {
    url: `unix:${path}`,
    origin: 'http://localhost',
    socketPath: path,
    tls: false,
    hostname: 'localhost',
    port: 0,
    authority: 'localhost',
    basePath: '',
  };
}

function bareHostname(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}
