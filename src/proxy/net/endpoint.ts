import { connect, isIPv4, isIPv6, SocketAddress } from 'node:net';
import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { likelyAddress, shownUrl } from '../../core/text.ts';
import { plainAddress } from './proxy-protocol.ts';

/** Where a socket listens or connects to: a TCP address, or the path of a unix socket. */
export type Endpoint =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly tls: boolean }
  | { readonly kind: 'unix'; readonly path: string };

export function speaksTls(endpoint: Endpoint): boolean {
  return endpoint.kind === 'tcp' && endpoint.tls;
}

const TCP = /^(?:(https?):\/\/)?(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:/[\]@?#=]*)(?::(\d{1,5}))?\/?$/i;

interface EndpointReading {
  /** For an address to listen on: port 0 means any free port, and no host means every address of this host. */
  readonly anyPort?: boolean;
  /** Whether an address without `http://` or `https://` before it speaks TLS. */
  readonly tls?: boolean;
}

/**
 * Reads `host:port`, `:port`, `[::1]:port`, the same after `http://` or `https://` (which speaks TLS), or `unix:/path`.
 * The port is optional after `http://` and `https://`. Any other path is refused, because a wire forwards bytes and
 * cannot map paths.
 * @throws AppError OPTION_INVALID naming `what`.
 */
export function parseEndpoint(text: string, what: string, reading: EndpointReading = {}): Endpoint {
  const trimmed = text.trim();
  if (/^unix:/i.test(trimmed)) return parseUnix(trimmed, what);
  const [, scheme, host, digits] = TCP.exec(trimmed) ?? [];
  const tls = scheme === undefined ? (reading.tls ?? false) : scheme.toLowerCase() === 'https';
  const port = digits === undefined ? schemePort(scheme, host) : Number(digits);
  if (port === null || port > 65_535 || (port === 0 && !reading.anyPort)) {
    throw new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(shownUrl(text))} is not an address`, {
      hint: refusalOf(text),
    });
  }
  const anyHost = reading.anyPort ? '::' : '127.0.0.1';
  return { kind: 'tcp', host: host ? host.replace(/^\[|\]$/g, '') : anyHost, port, tls };
}

/** The address of a served page. Without a host, only this machine can reach it. @throws AppError OPTION_INVALID */
export function parseServed(text: string, what: string): Endpoint {
  return parseEndpoint(text.startsWith(':') ? `127.0.0.1${text}` : text, what, { anyPort: true });
}

/** An endpoint as text for people; `parseEndpoint` can read it. */
export function formatEndpoint(endpoint: Endpoint): string {
  if (endpoint.kind === 'unix') return `unix:${endpoint.path}`;
  return endpoint.tls ? `https://${authorityOf(endpoint)}` : authorityOf(endpoint);
}

export function placeOfTarget(target: Endpoint): { path: string } | { host: string; port: number } {
  return target.kind === 'unix' ? { path: target.path } : { host: target.host, port: target.port };
}

/** `host:port` as clients name it in a Host field; for a unix socket, its path. */
export function authorityOf(endpoint: Endpoint): string {
  if (endpoint.kind === 'unix') return `unix:${endpoint.path}`;
  const { host, port } = endpoint;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether only this machine can reach a listener on this host. */
export function isLoopback(host: string): boolean {
  return host === '::1' || host === 'localhost' || (isIPv4(host) && host.startsWith('127.'));
}

function schemePort(scheme: string | undefined, host: string | undefined): number | null {
  if (scheme === undefined || !host) return null;
  return scheme.toLowerCase() === 'https' ? 443 : 80;
}

function parseUnix(text: string, what: string): Endpoint {
  const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
  const refuse = (reason: string, hint: string) =>
    new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(text)} ${reason}`, { hint });
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0')) {
    throw refuse('is not the path of a socket', 'Give an absolute path, such as unix:/run/model/http.sock.');
  }
  if (Buffer.byteLength(path) > UNIX_PATH_BYTES) {
    throw refuse('is too long for a socket', `A path has at most ${UNIX_PATH_BYTES} bytes.`);
  }
  return { kind: 'unix', path };
}

function refusalOf(text: string): string {
  if (text.includes('@'))
    return 'Leave the credentials out: clients bring their own, and those pass through unchanged.';
  if (/^https?:\/\/[^/?#]+(?:[?#]|\/.)/i.test(text))
    return 'Give host and port alone: paths pass through unchanged.';
  const likely = likelyAddress(text);
  const meant = likely === null ? '' : `Did you mean ${likely}? `;
  return `${meant}Give host:port, such as 127.0.0.1:8080 or https://[::1]:8443, or unix:/path.`;
}

/** A longer path does not fit into the kernel's socket address (108 bytes with the final zero, on some systems 104). */
export const UNIX_PATH_BYTES = LIMITS.socketPathBytes;

/** Whether a process listens at the path of a socket. This includes sockets that are full or that we may not use. */
export function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

/**
 * Whether connections to `target` reach the listener. Resolves only the name `localhost`; other names are not looked
 * up.
 */
export function isReachedAs(listen: Endpoint, target: Endpoint): boolean {
  if (listen.kind === 'unix' || target.kind === 'unix') return placeText(listen) === placeText(target);
  return listen.port === target.port && dialled(target.host).some((host) => takes(listen.host, host));
}

/** The addresses that a connection to a host reaches; a wildcard address reaches this host. */
function dialled(host: string): readonly string[] {
  if (host === 'localhost') return ['127.0.0.1', '::1'];
  const address = oneSpelling(host);
  return [address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address];
}

/** An address for comparison: IPv6 in its shortest spelling without a zone, or the IPv4 address that it maps. */
export function oneSpelling(host: string): string {
  if (!isIPv6(host)) return host;
  return plainAddress(new SocketAddress({ address: host.replace(/%.*$/, ''), family: 'ipv6' }).address);
}

/** Whether a listener on a host receives connections to an address. Other interfaces are unknown. */
function takes(listening: string, address: string): boolean {
  if (listening === '::' && address === '::1') return true;
  if (listening === '::' || listening === '0.0.0.0') return isIPv4(address) && address.startsWith('127.');
  return dialled(listening).includes(address);
}

/** A text that is equal for addresses that two processes cannot both bind. */
export function placeText(endpoint: Endpoint): string {
  return endpoint.kind === 'unix' ? endpoint.path : `${endpoint.host} ${endpoint.port}`;
}
