import { readdirSync, readFileSync } from 'node:fs';
import type { SeededRandom } from '../../../src/core/random.ts';

/** One message (or more) of llhttp's test corpus, with what llhttp says of it. */
export interface CorpusCase {
  readonly name: string;
  readonly side: 'request' | 'response';
  /** Whether the case is for llhttp's strict mode, which is Node's. */
  readonly strict: boolean;
  readonly bytes: Buffer;
}

const ROOT = new URL('../../../fixtures/data/llhttp-corpus/', import.meta.url);

/** Every case of both sides, in file order. */
export function readCorpus(): CorpusCase[] {
  const cases: CorpusCase[] = [];
  for (const side of ['request', 'response'] as const) {
    for (const file of readdirSync(new URL(side, ROOT)).sort()) {
      const text = readFileSync(new URL(`${side}/${file}`, ROOT), 'utf8');
      const block = /<!-- meta=(\{.*?\}) -->\s*```http\n(.*?)\n```/gs;
      for (const match of text.matchAll(block)) {
        const meta = JSON.parse(match[1] ?? '{}') as { type?: string; mode?: string };
        const title = [...text.slice(0, match.index).matchAll(/^#+ (.*)$/gm)].at(-1)?.[1] ?? '';
        const strict = (meta.type === 'request' || meta.type === 'response') && meta.mode !== 'loose';
        cases.push({ name: `${side}/${file}: ${title}`, side, strict, bytes: bytesOf(match[2] ?? '') });
      }
    }
  }
  return cases;
}

/** The corpus' notation: a backslash joins lines, line ends are CRLF, and `\r \n \t \f \xHH` are written out. */
function bytesOf(text: string): Buffer {
  const escapes: Readonly<Record<string, string>> = { r: '\r', n: '\n', t: '\t', f: '\f' };
  const plain = text
    .replace(/\\\n/g, '')
    .replace(/\r?\n/g, '\r\n')
    .replace(/\\([rntf])/g, (_, letter: string) => escapes[letter] ?? '')
    .replace(/\\x([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(plain, 'latin1');
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
