import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainAddress, readProxyHeader, writeProxyHeader } from '../../../src/proxy/net/proxy-protocol.ts';

const REST = Buffer.from('GET / HTTP/1.1\r\n\r\n');
const SIGNATURE = '0d0a0d0a000d0a515549540a';

function read(bytes: Buffer | string) {
  return readProxyHeader(Buffer.from(bytes as string, 'latin1'));
}

const port = fc.integer({ min: 0, max: 65_535 });
const ends = fc.oneof(fc.tuple(fc.ipV4(), fc.ipV4()), fc.tuple(fc.ipV6(), fc.ipV6()));

describe('a PROXY protocol header', () => {
  it('says who connected to whom, in both versions', () => {
    const header = {
      source: { host: '192.0.2.7', port: 51_000 },
      destination: { host: '198.51.100.1', port: 443 },
    };
    const line = 'PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n';
    expect(writeProxyHeader('v1', header).toString()).toBe(line);
    expect(read(line)).toEqual({ kind: 'whole', header, bytes: line.length });
    const binary = writeProxyHeader('v2', header);
    expect(binary.toString('hex')).toBe(`${SIGNATURE}2111000cc0000207c6336401c73801bb`);
    expect(readProxyHeader(binary)).toEqual({ kind: 'whole', header, bytes: 28 });
  });

  it('comes back as it was written, whatever the addresses and whatever follows', () => {
    fc.assert(
      fc.property(
        ends,
        port,
        port,
        fc.constantFrom('v1' as const, 'v2' as const),
        ([from, to], a, b, version) => {
          const header = { source: { host: from, port: a }, destination: { host: to, port: b } };
          const bytes = writeProxyHeader(version, header);
          const reading = readProxyHeader(Buffer.concat([bytes, REST]));
          if (reading.kind !== 'whole') throw new Error(reading.kind);
          expect(reading.bytes).toBe(bytes.length);
          // What was read once is written as it was: addresses have many spellings and one value.
          expect(writeProxyHeader('v2', reading.header)).toEqual(writeProxyHeader('v2', header));
        },
      ),
    );
  });

  it('is never whole before its last byte', () => {
    const header = { source: { host: '2001:db8::1', port: 1 }, destination: { host: '::1', port: 2 } };
    for (const version of ['v1', 'v2'] as const) {
      const bytes = writeProxyHeader(version, header);
      for (let length = 0; length < bytes.length; length += 1) {
        expect(readProxyHeader(bytes.subarray(0, length))).toEqual({ kind: 'more' });
      }
    }
  });

  it('may name nobody', () => {
    const nobody = { source: null, destination: null };
    expect(read('PROXY UNKNOWN\r\nrest')).toEqual({ kind: 'whole', header: nobody, bytes: 15 });
    expect(read('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n')).toMatchObject({ kind: 'whole', header: nobody });
    const local = Buffer.from(`${SIGNATURE}20000000`, 'hex');
    expect(readProxyHeader(local)).toEqual({ kind: 'whole', header: nobody, bytes: 16 });
    const unix = Buffer.concat([Buffer.from(`${SIGNATURE}213100d8`, 'hex'), Buffer.alloc(216)]);
    expect(readProxyHeader(unix)).toEqual({ kind: 'whole', header: nobody, bytes: 232 });
    expect(writeProxyHeader('v1', nobody).toString()).toBe('PROXY UNKNOWN\r\n');
    expect(writeProxyHeader('v2', nobody)).toEqual(local);
  });

  it('may be longer than its addresses', () => {
    const bytes = Buffer.concat([
      Buffer.from(`${SIGNATURE}21110010c0000207c6336401c73801bb`, 'hex'),
      Buffer.from([3, 0, 1, 9]),
    ]);
    expect(readProxyHeader(bytes)).toMatchObject({ kind: 'whole', bytes: 32 });
  });

  it.each([
    ['a request', 'GET / HTTP/1.1\r\n'],
    ['a line without its end', `PROXY TCP4 ${'1'.repeat(110)}`],
    ['an address of the other family', 'PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n'],
    ['a port that is none', 'PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n'],
    ['a field too many', 'PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n'],
    ['lower case', 'proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n'],
    ['another version', Buffer.from(`${SIGNATURE}31110000`, 'hex').toString('latin1')],
    ['another command', Buffer.from(`${SIGNATURE}22110000`, 'hex').toString('latin1')],
    ['too few addresses', Buffer.from(`${SIGNATURE}211100040a000001`, 'hex').toString('latin1')],
    ['a length without end', Buffer.from(`${SIGNATURE}2111ffff`, 'hex').toString('latin1')],
  ])('is not %s', (_, text) => {
    expect(read(text)).toEqual({ kind: 'malformed' });
  });
});

describe('an address', () => {
  it('is told as what it is', () => {
    expect(plainAddress('::ffff:192.0.2.7')).toBe('192.0.2.7');
    expect(plainAddress('fe80::1%eth0')).toBe('fe80::1');
    const mixed = { source: { host: '192.0.2.7', port: 1 }, destination: { host: '::1', port: 2 } };
    expect(writeProxyHeader('v1', mixed).toString()).toBe('PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n');
    expect(readProxyHeader(writeProxyHeader('v2', mixed))).toMatchObject({
      header: { source: { host: expect.stringMatching(/^::ffff:(192\.0\.2\.7|c000:207)$/) } },
    });
  });
});
