import { readdirSync, readFileSync } from 'node:fs';

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
