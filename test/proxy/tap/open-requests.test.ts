import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { OpenRequests } from '../../../src/proxy/tap/open-requests.ts';
import { repeated } from '../../support/long-form.ts';

const CHUNK_BYTES = 65_536;

function chunkOf(text: string): Buffer {
  return Buffer.from(text.repeat(Math.ceil(CHUNK_BYTES / text.length)).slice(0, CHUNK_BYTES), 'latin1');
}

interface Work {
  searches: number;
  /** Bytes that were passed by searches, and those that were read one by one. */
  bytes: number;
}

/** Counts what is done with bytes. */
function watched(bytes: Buffer): { readonly bytes: Buffer; readonly work: Work } {
  const work: Work = { searches: 0, bytes: 0 };
  const search = (kind: 'indexOf' | 'lastIndexOf') => (text: string, from: number, encoding?: 'latin1') => {
    const at = bytes[kind](text, from, encoding);
    const end = kind === 'indexOf' ? bytes.length : 0;
    work.searches += 1;
    work.bytes += Math.abs((at < 0 ? end : at) - from);
    return at;
  };
  const get = (_: Buffer, key: string | symbol): unknown => {
    if (key === 'indexOf' || key === 'lastIndexOf') return search(key);
    if (typeof key === 'string' && /^\d+$/.test(key)) work.bytes += 1;
    const value: unknown = Reflect.get(bytes, key, bytes);
    return typeof value === 'function' ? value.bind(bytes) : value;
  };
  return { bytes: new Proxy(bytes, { get }), work };
}

describe('the search for request lines', () => {
  it.each([
    '/1.',
    '/',
    ' HTTP/1.1\r',
    ' HTTP/1.1 ',
    'x HTTP/1.1\n',
    '\n HTTP/1.1\n',
    'GET / HTTP/1.1\r\nHost: h\r\n\r\n',
  ])('does bounded work on a chunk of nothing but %j', (text) => {
    const { bytes, work } = watched(chunkOf(text));
    const further = new OpenRequests().client(bytes, 0, true);
    expect(further.length).toBeLessThan(LIMITS.pipelinedRequests);
    expect(work.searches).toBeLessThanOrEqual(100);
    expect(work.bytes).toBeLessThan(8 * CHUNK_BYTES);
  });

  it('finds the lines that an expression finds, however many bytes look like the end of one', () => {
    const part = fc.constantFrom(
      '/1.',
      ' HTTP/1.1\r',
      ' HTTP/1.0\n',
      ' HTTP/1.1',
      ' ',
      '\r\n',
      '\n',
      'x',
      'Via: HTTP/1.1',
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 900, size: 'max' }), (parts) => {
        const text = parts.join('');
        const ends = [...text.matchAll(/ HTTP\/1\..(?=[\r\n])/g)].flatMap(({ index }) => {
          const before = text.slice(text.lastIndexOf('\n', index) + 1, index);
          const isFirst = !text.slice(0, index).includes('\n');
          return isFirst || before.includes(' ') ? [index + ' HTTP/1.1'.length] : [];
        });
        expect(new OpenRequests().client(Buffer.from(text, 'latin1'), 0, false)).toEqual(ends);
      }),
      { numRuns: repeated(200, 5_000) },
    );
  });
});

describe('more request lines in a chunk than may be open', () => {
  const chunk = chunkOf('GET / HTTP/1.1\r\n');

  it('are open until all of the chunk is settled', () => {
    const requests = new OpenRequests();
    requests.client(chunk, 100, true);
    requests.server(Buffer.from('HTTP/1.1 200 OK\r\n'));
    expect(requests.none).toBe(false);
    requests.settled(100 + chunk.length - 1);
    expect(requests.none).toBe(false);
    requests.settled(100 + chunk.length);
    expect(requests.none).toBe(true);
  });
});
