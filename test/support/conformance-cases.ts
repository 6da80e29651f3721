import type { SeededRandom } from '../../src/core/random.ts';
import { readCorpus } from '../proxy/recorder/corpus.ts';

/** Spellings of one header line that parsers accept or reject differently, for request smuggling. */
const CODINGS = [
  'Transfer-Encoding: chunked',
  'Transfer-Encoding : chunked',
  ' Transfer-Encoding: chunked',
  'Transfer-Encoding:chunked',
  'Transfer-Encoding:\tchunked',
  'Transfer-Encoding: chunked ',
  'transfer-encoding: CHUNKED',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: identity, chunked',
  'Transfer-Encoding: "chunked"',
  'Transfer-Encoding: chunked;q=1',
  'Transfer-Encoding:\r\n chunked',
  'Transfer-Encoding\r\n: chunked',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: x',
  'Transfer-Encoding: x\r\nTransfer-Encoding: chunked',
  'X: y\nTransfer-Encoding: chunked',
  'X: y\rTransfer-Encoding: chunked',
  'Transfer-Encoding: \x0bchunked',
  'Transfer-Encoding: chunked\x00',
  'Transfer_Encoding: chunked',
  'Transfer-Encoding\xa0: chunked',
  'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked',
  'Connection: Content-Length',
  'X-Nothing: here',
];
const LENGTHS = ['0', '5', '%', '+5', '05', '5, 5', '5\r\nContent-Length: 6', '-1', '0x5', '5 ', '1e1', ''];
const METHODS = ['POST', 'GET', 'DELETE', 'OPTIONS', 'HEAD', 'PUT'];
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';
const BODIES = [
  `0\r\n\r\n${SMUGGLED}`,
  `5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`,
  SMUGGLED,
  `hello${SMUGGLED}`,
  `0\n\n${SMUGGLED}`,
];

/** Every combination of a length, a coding and a body that two parsers could frame differently. */
export function smugglingRequests(): Buffer[] {
  const cases: Buffer[] = [];
  for (const coding of CODINGS) {
    for (const length of LENGTHS) {
      const index = cases.length;
      const method = METHODS[index % METHODS.length] ?? 'POST';
      const body = BODIES[(index + Math.floor(index / METHODS.length)) % BODIES.length] ?? '';
      const stated = length === '%' ? String(body.length) : length;
      const lines = [`${method} /case HTTP/1.1`, 'Host: x', `Content-Length: ${stated}`, coding];
      if (length === '') lines.splice(2, 1);
      cases.push(Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1'));
    }
  }
  return cases;
}

const PIECES = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ':',
  ' ',
  ';',
  ',',
  '-5',
  'ffffffffffffffff',
  'chunked',
  '\xff',
  'HTTP/1.0',
  'Connection: close\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Content-Length: 3\r\n',
  'Expect: 100-continue\r\n',
  'Upgrade: websocket\r\nConnection: upgrade\r\n',
  'Trailer: x\r\n',
  'http://[x/',
  '101',
];

/** Removes, repeats, replaces, truncates or inserts bytes at a random place of a message. */
export function mutate(bytes: Buffer, random: SeededRandom): Buffer {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + random.below(12));
  const before = bytes.subarray(0, at);
  switch (random.below(6)) {
    case 0:
      return Buffer.concat([before, bytes.subarray(end)]);
    case 1:
      return Buffer.concat([before, bytes.subarray(at, end), bytes.subarray(at)]);
    case 2:
      return Buffer.concat([
        before,
        Buffer.from([random.below(256)]),
        bytes.subarray(Math.min(bytes.length, at + 1)),
      ]);
    case 3:
      return Buffer.from(before);
    default: {
      const piece = Buffer.from(PIECES[random.below(PIECES.length)] ?? '', 'latin1');
      return Buffer.concat([before, piece, bytes.subarray(at)]);
    }
  }
}

/** Adds a host, because most messages of the corpus have none and would be rejected only for this. */
function withHost(bytes: Buffer): Buffer {
  const lineEnd = bytes.indexOf('\r\n') + 2;
  if (lineEnd < 2 || /^host:/im.test(bytes.toString('latin1'))) return bytes;
  return Buffer.concat([bytes.subarray(0, lineEnd), Buffer.from('Host: x\r\n'), bytes.subarray(lineEnd)]);
}

/** Messages of one side to send unchanged, and then an endless sequence of mutations of them. */
export class CaseSource {
  readonly whole: readonly Buffer[];
  readonly #random: SeededRandom;

  constructor(side: 'request' | 'response', random: SeededRandom) {
    const corpus = readCorpus()
      .filter((case_) => case_.side === side)
      .map(({ bytes }) => bytes);
    this.whole = side === 'request' ? [...corpus, ...corpus.map(withHost), ...smugglingRequests()] : corpus;
    this.#random = random;
  }

  mutation(): Buffer {
    let bytes = this.whole[this.#random.below(this.whole.length)] as Buffer;
    for (let rounds = 1 + this.#random.below(3); rounds > 0; rounds -= 1) bytes = mutate(bytes, this.#random);
    return bytes;
  }
}
