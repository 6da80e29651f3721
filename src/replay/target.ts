import { isIP } from 'node:net';
import { AppError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { likelyAddress, shownUrl } from '../core/text.ts';
import { addressOf } from '../redaction/identities.ts';

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

/** `staging:8000`, `[::1]:8000/base`, `:8000`; a word before the colon that is a scheme is a slip. */
const HOST_AND_PORT = /^\s*(?!https?:)(?:\[[^\]]+\]|[\w.-]*):\d{1,5}(?:\/\S*)?\s*$/i;

/**
 * Reads the address of a target: `http://host:port`, `https://host/base`, `host:port` (which is http; without a host,
 * this machine), `unix:/path/of.sock`.
 * @throws AppError OPTION_INVALID for anything a replay could not mean.
 */
export function parseTarget(text: string, flag = '--target'): Target {
  const refuse = (why: string, likely: string | null = null) =>
    new AppError('OPTION_INVALID', `${flag}: ${JSON.stringify(shownUrl(text))} ${why}`, {
      hint:
        likely !== null
          ? `Did you mean ${likely}?`
          : 'Give the server to test, such as staging:8000, https://staging/base or unix:/path of its socket.',
    });
  if (/^unix:/i.test(text.trim())) return unixTarget(text.trim(), refuse);
  const address = HOST_AND_PORT.test(text)
    ? `http://${text.trim().replace(/^:/, '127.0.0.1:')}`
    : text.trim();
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url === null || !/^https?:\/\//i.test(address))
    throw refuse('is neither host:port nor an http URL', likelyAddress(text));
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

/** What stands between several names, for which there would have to be several options. */
const SEPARATOR = /[\s,;]/;
const URL_BEGIN = /^(?:[a-z][a-z0-9+.-]*:)?\/\//i;
const NAME = /^[\w-]+(?:\.[\w-]+)*$/;

/**
 * The host in an authority or a URL (`Host` value, `host:port`, `[::1]:80`, `https://user@host/path`), in the one
 * form that hosts are compared in: lower case, no port, no trailing dot, addresses in their shortest spelling. What
 * is no host is left as it is.
 */
export function hostnameOf(text: string): string {
  const authority = authorityIn(text);
  const bracketed = /^\[([^\]]*)\]/.exec(authority)?.[1];
  const colon = authority.indexOf(':');
  const hasPort = bracketed === undefined && colon >= 0 && colon === authority.lastIndexOf(':');
  return comparable(bracketed ?? (hasPort ? authority.slice(0, colon) : authority));
}

/**
 * The host that an option names, which is the name alone or the URL it is pasted from.
 * @throws AppError OPTION_INVALID for what is no host, or more than one: a fence would be open where it is
 */
export function parseHostName(text: string, flag: string): string {
  const name = hostnameOf(text);
  if (!SEPARATOR.test(text.trim()) && !hasOddPort(text) && (NAME.test(name) || isIP(name) !== 0)) return name;
  throw new AppError('OPTION_INVALID', `${flag}: ${JSON.stringify(shownUrl(text))} is not a host name`, {
    hint: `Give each host separately, without patterns: ${flag} models.example.com ${flag} 10.0.0.1 (one entry each in a configuration file, one line each in the environment).`,
  });
}

function authorityIn(text: string): string {
  return text
    .trim()
    .replace(URL_BEGIN, '')
    .replace(/[/?#][\s\S]*$/, '')
    .replace(/^[\s\S]*@/, '');
}

/**
 * Whether what is behind the only colon is no port: then what stands before it is no host, but the scheme of a URL
 * without its slashes. A URL may leave its port empty.
 */
function hasOddPort(text: string): boolean {
  const port = /^(?:\[[^\]]*\]|[^:[]*):([^:]*)$/.exec(authorityIn(text))?.[1];
  if (port === undefined) return false;
  return port === '' ? !URL_BEGIN.test(text.trim()) : !/^\d+$/.test(port);
}

function comparable(host: string): string {
  const bare = host.toLowerCase().replace(/\.$/, '');
  // Which interface an address is reached by makes it no other one.
  const address = bare.replace(/%.*$/, '');
  if (isIP(address) === 6) return addressOf(address) ?? address;
  // The platform's own reader, as a target is read: it knows all spellings of IPv4, and names in other scripts.
  return URL.parse(`http://${bare}/`)?.hostname ?? bare;
}
