import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/core/exchange.ts';
import { headerPairsOf } from '../../src/core/headers.ts';
import { fixtureData } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { latin1, load } from './support.ts';

/** A fresh folder with these files in it. */
function folderOf(files: Readonly<Record<string, string | Buffer>>): string {
  const folder = temporaryDirectory();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

describe('a folder of payloads', () => {
  test('gives every raw message of the data set byte for byte, its chunked body decoded', async () => {
    const folder = fixtureData('made-here-binary-bodies');
    const source = readFileSync(join(folder, 'SOURCE.md'), 'utf8');
    const expected = new Map(
      [...source.matchAll(/^\| (\S+\.http) \| \d+ \| (\d+) \| ([0-9a-f]{64}) /gm)].map(
        ([, file = '', bytes, sha256 = '']) => [sha256, { file, bytes: Number(bytes) }],
      ),
    );
    expect(expected.size).toBe(11);
    const pool = await load(folder);
    expect(pool.size).toBe(11);
    expect(pool.skippedFiles).toEqual(['SOURCE.md']);
    const seen = new Map<string, Message>();
    for (let draw = 0; draw < 500; draw += 1) {
      const { request: message } = pool.draw();
      seen.set(createHash('sha256').update(message.body.kept!).digest('hex'), message);
    }
    expect([...seen.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [sha256, message] of seen) {
      const { file, bytes } = expected.get(sha256)!;
      expect(message.body.bytes).toBe(bytes);
      const raw = readFileSync(join(folder, file));
      expect(Buffer.from(message.head)).toEqual(raw.subarray(0, raw.indexOf('\r\n\r\n') + 4));
    }
  });

  test('takes files of known types as bodies, from folders in it too, gzip or not, in the order of names', async () => {
    const folder = folderOf({
      'b/two.json.gz': gzipSync('{"two":2}'),
      'a.json': '{"one":1}',
      'c.JPG': Buffer.from([0xff, 0xd8, 0x00]),
      LICENSE: 'text',
      '.hidden.json': '{}',
    });
    const pool = await load(folder, { method: 'PUT', path: '/v1/models/m:predict' });
    expect(pool.skippedFiles).toEqual(['LICENSE']);
    expect(pool.size).toBe(3);
    const drawn = new Map<string, string>();
    for (let draw = 0; draw < 60; draw += 1) {
      const { request: message } = pool.draw();
      const type = headerPairsOf(message.head).find(([name]) => name === 'Content-Type')?.[1];
      drawn.set(latin1(message.body.kept), type ?? '');
    }
    expect(Object.fromEntries(drawn)).toEqual({
      '{"one":1}': 'application/json',
      '{"two":2}': 'application/json',
      '\u00ff\u00d8\u0000': 'image/jpeg',
    });
  });

  test('reads a message written by hand: LF becomes CRLF, Host and length are put in', async () => {
    const folder = folderOf({ 'a.http': 'POST /x HTTP/1.1\nX-A: 1\n\nline\nline\n' });
    const { request: message } = (await load(folder)).draw();
    expect(latin1(message.head)).toBe(
      'POST /x HTTP/1.1\r\nHost: imported.invalid\r\nX-A: 1\r\nContent-Length: 10\r\n\r\n',
    );
    expect(latin1(message.body.kept)).toBe('line\nline\n');
  });

  test('keeps chunked framing and trailers, and reads over chunk extensions', async () => {
    const head = 'POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n';
    const folder = folderOf({
      'a.http': `${head}3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n`,
    });
    const { request: message } = (await load(folder)).draw();
    expect(latin1(message.head)).toBe(head);
    expect(latin1(message.body.kept)).toBe('abc0123456789');
    expect(latin1(message.trailers)).toBe('X-T: 1\r\nX-U: 2\r\n');
  });

  test.each([
    ['no blank line', 'POST / HTTP/1.1\r\nHost: h\r\n', 'no blank line ends the head'],
    ['no request line', 'HTTP/1.1 200 OK\r\n\r\n', 'line 1: "HTTP/1.1 200 OK" is no HTTP/1.1 request line'],
    ['another version', 'POST / HTTP/1.0\r\n\r\n', 'line 1: "POST / HTTP/1.0" is no HTTP/1.1 request line'],
    [
      'a line that is no header',
      'POST / HTTP/1.1\r\nHost: h\r\nrubbish\r\n\r\n',
      'line 3: not a header line',
    ],
    ['a folded header', 'POST / HTTP/1.1\r\nA: h\r\n b: x\r\n\r\n', '" b" is not a header name'],
    ['a body that is cut', 'POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc', 'the body has 3 bytes'],
    ['a body that goes on', 'POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nabc', 'the body has 3 bytes'],
    [
      'a chunk size of -5',
      'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n',
      'not in chunked coding',
    ],
    [
      'a chunk that is cut',
      'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc',
      'ends before its last chunk',
    ],
    [
      'no last chunk',
      'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
      'ends before its last chunk',
    ],
    [
      'bytes after the last chunk',
      'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nabc',
      'bytes after the last chunk',
    ],
  ])('refuses a message with %s, naming the file', async (_title, content, reason) => {
    const folder = folderOf({ 'ok.http': 'GET / HTTP/1.1\r\nHost: h\r\n\r\n', 'zz.http': content });
    await expect(load(folder)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringContaining(join(folder, 'zz.http')),
    });
    await expect(load(folder)).rejects.toThrow(reason);
  });

  test('needs --request-path for bodies, and holds one request at least', async () => {
    await expect(load(folderOf({ 'a.json': '{}' }))).rejects.toMatchObject({
      message: expect.stringContaining('a.json: no path'),
      hint: expect.stringContaining('--request-path'),
    });
    await expect(load(folderOf({ 'README.md': 'x' }))).rejects.toThrow('holds no request');
    await expect(load(join(temporaryDirectory(), 'none'))).rejects.toThrow('cannot be read: ENOENT');
  });

  test('refuses a body over the limit of a request', async () => {
    const folder = folderOf({ 'big.bin': Buffer.alloc(32 * 1024 * 1024 + 1) });
    await expect(load(folder, { method: 'POST', path: '/' })).rejects.toThrow(
      'big.bin: the body has 32.0 MiB',
    );
  });
});
