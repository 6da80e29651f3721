/** More than any address takes, with brackets, port and zone. */
const ADDRESS_CHARS = 128;

const BRACKETED = /^\[([0-9a-f:.%]+)\](?::\d+)?$/;
const IPV4 = /^(\d+(?:\.\d+){3})(?::\d+)?$/;
/** IPv4 as a socket for both families shows it, and as the shortest spelling of the same has it. */
const MAPPED = /^::ffff:(\d+(?:\.\d+){3})$/;
const MAPPED_HEX = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/;

/**
 * An address without port, brackets or quotes, in one form for both families and all spellings: a client whose
 * proxies write `2001:0db8:0::1` and `2001:db8::1` is one. Null for `unknown` and the like.
 */
export function addressOf(text: string): string | null {
  if (text.length > ADDRESS_CHARS) return null;
  const bare = text.trim().replace(/^"|"$/g, '').toLowerCase();
  const address = BRACKETED.exec(bare)?.[1] ?? IPV4.exec(bare)?.[1] ?? bare;
  const mapped = MAPPED.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!/^[0-9a-f:.%]*[.:][0-9a-f:.%]*$/.test(address)) return null;
  return address.includes(':') ? shortest(address) : address;
}

/** IPv6 in its shortest spelling (RFC 5952), or the IPv4 address that it stands for; null where it is none. */
function shortest(address: string): string | null {
  const [groups = '', ...zone] = address.split('%');
  // The platform's own reader; only hexadecimal digits, colons and points can be between the brackets.
  const host = URL.parse(`http://[${groups}]/`)?.hostname.slice(1, -1);
  if (host === undefined) return null;
  const [, high, low] = MAPPED_HEX.exec(host) ?? [];
  if (high === undefined || low === undefined) return [host, ...zone].join('%');
  const bits = [high, low].map((group) => Number.parseInt(group, 16));
  return bits.flatMap((group) => [group >> 8, group & 0xff]).join('.');
}
