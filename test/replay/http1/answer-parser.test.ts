import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AnswerParser, type AnswerProgress } from '../../../src/replay/http1/answer-parser.ts';

interface Reading {
  readonly words: readonly string[];
  readonly progress: AnswerProgress;
  readonly keepsAlive: boolean;
  readonly keepAliveSeconds: number | null;
}

/** Reads one answer in pieces of these sizes, the last size again and again. */
function readInPieces(
  text: string,
  sizes: readonly number[],
  method = 'POST',
  parser = new AnswerParser(),
): Reading {
  const words: string[] = [];
  let body = '';
  parser.expect(method, {
    onFirstByte: () => words.push('first byte'),
    onStatus: (status, head) => words.push(`${status} ${JSON.stringify(head)}`),
    onData: (bytes) => {
      body += bytes.toString('latin1');
    },
  });
  const bytes = Buffer.from(text, 'latin1');
  let progress: AnswerProgress = 'open';
  for (let at = 0, piece = 0; at < bytes.length && progress === 'open'; piece += 1) {
    const size = sizes[Math.min(piece, sizes.length - 1)] ?? bytes.length;
    progress = parser.read(bytes.subarray(at, at + size));
    at += size;
  }
  words.push(body);
  const { keepsAlive, keepAliveSeconds } = parser;
  return { words, progress, keepsAlive, keepAliveSeconds };
}

const read = (text: string, method?: string): Reading => readInPieces(text, [], method);

const ANSWERS = [
  'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: 1\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 201\r\ncontent-length: 0\r\n\r\n',
  'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n',
];

describe('an answer', () => {
  test('is read alike in one piece and in any others', () => {
    fc.assert(
      fc.property(fc.constantFrom(...ANSWERS), fc.array(fc.integer({ min: 1, max: 40 })), (answer, sizes) => {
        const whole = read(answer);
        expect(whole.progress).toBe('complete');
        expect(readInPieces(answer, [...sizes, 1])).toEqual(whole);
      }),
    );
  });

  test('is read as if it were the first, whatever was read on the connection before', () => {
    const asked = fc.record({ answer: fc.constantFrom(...ANSWERS), method: fc.constantFrom('POST', 'HEAD') });
    fc.assert(
      fc.property(fc.array(asked, { maxLength: 6 }), (all) => {
        const parser = new AnswerParser();
        for (const { answer, method } of all) {
          // To HEAD there is no body, and what stands for one would be the next answer.
          const text = method === 'HEAD' ? answer.slice(0, answer.lastIndexOf('\r\n\r\n') + 4) : answer;
          const first = readInPieces(text, [], method);
          expect(readInPieces(text, [], method, parser)).toEqual(first);
          if (first.progress !== 'complete') return;
        }
      }),
    );
  });

  test('tells what its head says of its body', () => {
    const answer = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n';
    const plain = 'HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x';
    expect(read(plain).words[1]).toBe(
      '200 {"contentType":null,"contentEncoding":null,"hasLength":true,"contentLength":"3","inferenceHeaderLength":"2"}',
    );
    expect(read(answer).words).toEqual([
      'first byte',
      '200 {"contentType":"text/event-stream","contentEncoding":"gzip","hasLength":false,"contentLength":null,"inferenceHeaderLength":null}',
      '',
    ]);
  });

  test('to HEAD has no body, whatever its length', () => {
    const head = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n';
    expect(read(head, 'HEAD').progress).toBe('complete');
    expect(read(head, 'GET').progress).toBe('open');
  });

  test('without a length ends with its connection, and only then', () => {
    const parser = new AnswerParser();
    parser.expect('GET', {
      onFirstByte: () => undefined,
      onStatus: () => undefined,
      onData: () => undefined,
    });
    expect(parser.endOfStream()).toBe(false);
    expect(parser.read(Buffer.from('HTTP/1.1 200 OK\r\n\r\nsome'))).toBe('open');
    expect(parser.endOfStream()).toBe(true);
    expect(parser.keepsAlive).toBe(false);
  });

  test('is no answer where two clients could read it in two ways', () => {
    const lines = [
      'content-length: 1\r\ncontent-length: 2',
      'content-length: 1\r\ntransfer-encoding: chunked',
      'content-length: -1',
      'transfer-encoding: chunked, chunked',
      'content-length : 1',
      'x: a\r\n folded: b',
    ];
    for (const line of lines)
      expect(read(`HTTP/1.1 200 OK\r\n${line}\r\n\r\nx`).progress, line).toBe('protocol');
    for (const text of ['HTTP/2 200\r\n\r\n', 'garbage\r\n\r\n', 'HTTP/1.1 101 Switching\r\n\r\n']) {
      expect(read(text).progress, text).toBe('protocol');
    }
  });
});

describe('the connection behind an answer', () => {
  const withHead = (start: string, ...lines: string[]): Reading =>
    read(`${[start, 'content-length: 0', ...lines].join('\r\n')}\r\n\r\n`);

  test('stays unless the server says that it does not', () => {
    expect(withHead('HTTP/1.1 200 OK').keepsAlive).toBe(true);
    expect(withHead('HTTP/1.1 200 OK', 'connection: keep-alive').keepsAlive).toBe(true);
    expect(withHead('HTTP/1.1 200 OK', 'x-connection: close', 'y: connection: close').keepsAlive).toBe(true);
    expect(withHead('HTTP/1.1 200 OK', 'connection: disclose').keepsAlive).toBe(true);
    for (const value of ['close', 'Close', 'x, close', 'close,x', 'close ', 'te , CLOSE']) {
      expect(withHead('HTTP/1.1 200 OK', `Connection:${value}`).keepsAlive, value).toBe(false);
    }
  });

  test('of HTTP/1.0 ends unless the server says that it stays', () => {
    expect(withHead('HTTP/1.0 200 OK').keepsAlive).toBe(false);
    expect(withHead('HTTP/1.0 200 OK', 'Connection: Keep-Alive').keepsAlive).toBe(true);
  });

  test('is of no use where something came behind the answer', () => {
    expect(read('HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxy')).toMatchObject({
      progress: 'complete',
      keepsAlive: false,
    });
  });

  test('is kept for as long as the server says', () => {
    expect(withHead('HTTP/1.1 200 OK', 'Keep-Alive: timeout=5, max=100').keepAliveSeconds).toBe(5);
    expect(withHead('HTTP/1.1 200 OK', 'keep-alive: max=100').keepAliveSeconds).toBeNull();
    expect(withHead('HTTP/1.1 200 OK').keepAliveSeconds).toBeNull();
  });

  test('says nothing of the answer before, once there is another', () => {
    const parser = new AnswerParser();
    const taker = { onFirstByte: () => undefined, onStatus: () => undefined, onData: () => undefined };
    parser.expect('GET', taker);
    parser.read(Buffer.from('HTTP/1.1 200 OK\r\nkeep-alive: timeout=9\r\ncontent-length: 0\r\n\r\n'));
    expect(parser.keepAliveSeconds).toBe(9);
    parser.expect('GET', taker);
    expect(parser.hasStatus).toBe(false);
    expect(
      parser.read(Buffer.from('HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')),
    ).toBe('complete');
    expect([parser.keepsAlive, parser.keepAliveSeconds]).toEqual([false, null]);
  });
});
