import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { LIMITS } from '../../core/limits.ts';

/** HAProxy's PROXY protocol: version 1 is a line of text, version 2 is binary. */
export type ProxyProtocolVersion = 'v1' | 'v2';

interface ProxyAddress {
  readonly host: string;
  readonly port: number;
}

/** Source and destination of a connection; null if the sender does not know, or if the connection is its own. */
export interface ProxyHeader {
  readonly source: ProxyAddress | null;
  readonly destination: ProxyAddress | null;
}

/** `more`: the header is not complete yet. `malformed`: it never will be. */
type ProxyReading =
  | { readonly kind: 'whole'; readonly header: ProxyHeader; readonly bytes: number }
  | { readonly kind: 'more' }
  | { readonly kind: 'malformed' };

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const FIXED_BYTES = 16;
/** The longest line in version 1, including its end. */
const LINE_BYTES = 107;
const UNKNOWN: ProxyHeader = { source: null, destination: null };
const MALFORMED: ProxyReading = { kind: 'malformed' };
const MORE: ProxyReading = { kind: 'more' };

/** Reads the header at the start of a connection, in either version. */
export function readProxyHeader(bytes: Buffer): ProxyReading {
  const signed = Math.min(bytes.length, SIGNATURE.length);
  if (bytes.subarray(0, signed).equals(SIGNATURE.subarray(0, signed))) return readBinary(bytes);
  const begun = Math.min(bytes.length, 6);
  return bytes.toString('latin1', 0, begun) === 'PROXY '.slice(0, begun) ? readLine(bytes) : MALFORMED;
}

function readLine(bytes: Buffer): ProxyReading {
  const end = bytes.subarray(0, LINE_BYTES).indexOf('\r\n');
  if (end < 0) return bytes.length < LINE_BYTES ? MORE : MALFORMED;
  const line = bytes.toString('latin1', 0, end);
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { kind: 'whole', header: UNKNOWN, bytes: end + 2 };
  const match = /^PROXY (TCP4|TCP6) (\S+) (\S+) (\d{1,5}) (\d{1,5})$/.exec(line);
  if (!match) return MALFORMED;
  const [, family, from = '', to = '', fromPort, toPort] = match;
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6;
  const source = { host: from, port: Number(fromPort) };
  const destination = { host: to, port: Number(toPort) };
  const valid = isAddress(from) && isAddress(to) && source.port <= 65_535 && destination.port <= 65_535;
  return valid ? { kind: 'whole', header: { source, destination }, bytes: end + 2 } : MALFORMED;
}

function readBinary(bytes: Buffer): ProxyReading {
  if (bytes.length < FIXED_BYTES) return MORE;
  const version = (bytes[12] as number) >> 4;
  const command = (bytes[12] as number) & 0x0f;
  const length = FIXED_BYTES + bytes.readUInt16BE(14);
  if (version !== 2 || command > 1 || length > LIMITS.proxyHeaderBytes) return MALFORMED;
  if (bytes.length < length) return MORE;
  const header = command === 0 ? UNKNOWN : readAddresses(bytes[13] as number, bytes.subarray(16, length));
  return header ? { kind: 'whole', header, bytes: length } : MALFORMED;
}

/** Families other than TCP over IP carry no address that is used here. Their headers are still valid. */
function readAddresses(family: number, addresses: Buffer): ProxyHeader | null {
  const size = family === 0x11 ? 4 : family === 0x21 ? 16 : 0;
  if (size === 0) return UNKNOWN;
  if (addresses.length < 2 * size + 4) return null;
  const read = (at: number, portAt: number) => ({
    host: textOf(addresses.subarray(at, at + size)),
    port: addresses.readUInt16BE(portAt),
  });
  return { source: read(0, 2 * size), destination: read(size, 2 * size + 2) };
}

/** The header to send. Both addresses must have one family. If they differ, both are written as IPv6. */
export function writeProxyHeader(version: ProxyProtocolVersion, header: ProxyHeader): Buffer {
  const source = header.source && withoutMapping(header.source);
  const destination = header.destination && withoutMapping(header.destination);
  if (!source || !destination) {
    if (version === 'v1') return Buffer.from('PROXY UNKNOWN\r\n');
    return Buffer.concat([SIGNATURE, Buffer.from([0x20, 0, 0, 0])]);
  }
  const v4 = isIPv4(source.host) && isIPv4(destination.host);
  if (version === 'v1') {
    const [from, to] = [source, destination].map(({ host }) =>
      v4 || isIPv6(host) ? host : `::ffff:${host}`,
    );
    return Buffer.from(
      `PROXY TCP${v4 ? 4 : 6} ${from} ${to} ${source.port} ${destination.port}\r\n`,
      'latin1',
    );
  }
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const addresses = [bytesOf(source.host, v4), bytesOf(destination.host, v4), ports];
  const head = Buffer.from([0x21, v4 ? 0x11 : 0x21, 0, v4 ? 12 : 36]);
  return Buffer.concat([SIGNATURE, head, ...addresses]);
}

/**
 * An address without a zone, which has no meaning on other hosts. Dual-stack sockets show IPv4 as mapped IPv6; this is
 * undone.
 */
export function plainAddress(host: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(host);
  return mapped?.[1] ?? host.replace(/%.*$/, '');
}

function withoutMapping({ host, port }: ProxyAddress): ProxyAddress {
  return { host: plainAddress(host), port };
}

function textOf(address: Buffer): string {
  if (address.length === 4) return address.join('.');
  const groups = Array.from({ length: 8 }, (_, group) => address.readUInt16BE(group * 2).toString(16));
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

function bytesOf(host: string, v4: boolean): Buffer {
  if (v4) return Buffer.from(host.split('.').map(Number));
  if (isIPv4(host))
    return Buffer.from([...Array<number>(10).fill(0), 255, 255, ...host.split('.').map(Number)]);
  // The platform writes all groups in hexadecimal, including those of an IPv4 address at the end.
  const spelled = new URL(`http://[${host}]/`).hostname.slice(1, -1);
  const [head = '', tail] = spelled.split('::');
  const front = groupsOf(head);
  const back = tail === undefined ? [] : groupsOf(tail);
  const zeros = Array<number>(8 - front.length - back.length).fill(0);
  const bytes = Buffer.alloc(16);
  [...front, ...zeros, ...back].forEach((group, index) => {
    bytes.writeUInt16BE(group, index * 2);
  });
  return bytes;
}

function groupsOf(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
}
