/**
 * Measures the prose of the documentation. `npm run prose` prints for each page the average sentence length, the
 * longest sentences and phrases that are hard to understand. `npm run prose PAGE` shows one page.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** The highest average number of words of a page's sentences, and the most words of one sentence. */
export const MAX_AVERAGE_WORDS = 20;
export const MAX_WORDS = 30;

/** Phrases that are hard to understand, each with advice on what to write instead. */
const RIDDLES: readonly (readonly [phrase: RegExp, instead: string])[] = [
  [/\b(?:whoever|whomever)\b/i, 'name the person: a reader, a user, an attacker'],
  [/\bso (?:much|many) (?:of|a|at|as|that|in|to|else)\b/i, 'give the quantity a name'],
  [/\b(?:of|in|by|for|to|with) (?:which|whom)\b/i, 'begin a new sentence'],
  [/\bthat of (?:what|which|that)\b/i, 'name the thing again'],
  [/\bwhat is (?:of|by|to be) (?:what|which|that)\b/i, 'name the thing'],
  [/\b(?:therein|thereof|therefrom|whereof|wherein|hereof|nought|lest)\b/i, 'use everyday words'],
  [/\bis theirs\b|\bis ours\b|\bis nobody's\b/i, 'say who does what'],
  [/\bsuch (?:a|an) one\b|\bsuch ones\b/i, 'name the thing again'],
  [/\bit may be that\b/i, 'say when'],
];

/** Blocks of code. */
const FENCED = /^[ \t]*(```|~~~)[\s\S]*?^[ \t]*\1/gm;

/** Phrases of this project alone, each with what its users say. A test rejects them. */
const DIALECT: readonly (readonly [phrase: RegExp, instead: string])[] = [
  [/\bplay(?:s|ed|ing)?\b/i, 'replay, send, run again'],
  [/\bat once\b/i, 'immediately; together; at one time'],
  [/\bof (?:its|their|our|my) own\b/i, 'its own'],
  [/\bvoid\b/i, 'invalidated by a slow generator'],
  [/\bbeside each other\b|\b(?:small|large|short|long|little|much) beside\b/i, 'compared with'],
  [/\b(?:kept|keeps?) (?:its|all|the|their) objectives?\b/i, 'meet'],
  [/\bg(?:ave|ives?) first\b/i, 'first objective to fail'],
  [/\b(?:is|are|was) told\b|\b(?:tells?|knows?) of\b/i, 'shows, prints, reports, contains'],
  [/\banew\b/i, 'again'],
  [/\bsays? nothing (?:of|about)\b/i, 'shows nothing about'],
  [/\bas it came\b|\bto hand on\b/i, 'at the original pace; to share'],
  [/\bbeyond hope\b|\bspoil(?:s|ed)\b/i, 'cannot recover; invalidated'],
];

export interface Prose {
  readonly page: string;
  readonly sentences: readonly Sentence[];
  readonly words: number;
  /** Mean number of words; null for a page without a sentence. */
  readonly average: number | null;
  readonly riddles: readonly {
    readonly phrase: string;
    readonly instead: string;
    readonly sentence: string;
  }[];
}
interface Sentence {
  readonly text: string;
  readonly words: number;
}

/**
 * The sentences of a page, without code blocks, tables and headings. Inline code counts as one word, which may begin a
 * sentence.
 */
export function proseOf(page: string, markdown: string): Prose {
  const sentences = sentencesOf(markdown).map((text) => ({ text, words: text.split(/\s+/).length }));
  const words = sentences.reduce((sum, sentence) => sum + sentence.words, 0);
  const riddles = sentences.flatMap(({ text }) => foundIn(text, RIDDLES));
  return {
    page,
    sentences,
    words,
    average: sentences.length === 0 ? null : words / sentences.length,
    riddles: [...riddles, ...dialectOf(markdown)],
  };
}

/** The phrases of this project alone in everything that is not code: sentences, tables, headings and quotations. */
export function dialectOf(markdown: string): Prose['riddles'] {
  const lines = markdown
    .replaceAll(FENCED, '\n')
    .replaceAll(/`[^`]*`/g, 'CODE')
    .replaceAll(/\]\([^)]*\)/g, ']')
    .replaceAll(/\n(?! *(?:\n|[|#>*-]|\d+\. ))/g, ' ')
    .split('\n');
  return lines.flatMap((line) => foundIn(line.trim(), DIALECT));
}

function foundIn(sentence: string, phrases: typeof RIDDLES): Prose['riddles'] {
  return phrases.flatMap(([phrase, instead]) => {
    const [found] = phrase.exec(sentence) ?? [];
    return found === undefined ? [] : [{ phrase: found, instead, sentence }];
  });
}

function sentencesOf(markdown: string): string[] {
  const blocks = markdown
    .replace(/^---\n[\s\S]*?\n---\n/, '')
    .replaceAll(/<!--[\s\S]*?-->/g, '')
    .replaceAll(FENCED, '\n')
    .replaceAll(/^\s*(?:[|#>].*|:::.*|<.*>)$/gm, '\n')
    .replaceAll(/^\s*(?:[-*]|\d+\.) /gm, '\n\n')
    .split(/\n\s*\n/);
  return blocks.flatMap((block) =>
    block
      .replaceAll(/`[^`]*`/g, 'CODE')
      .replaceAll(/(?:CODE, ){5,}CODE/g, 'CODE')
      .replaceAll(/!\[[^\]]*\]\([^)]*\)/g, '')
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replaceAll(/[*_]{1,2}/g, '')
      .replaceAll(/\s+/g, ' ')
      .trim()
      .split(/(?<=[.!?][)"']?) +(?=[^\p{Ll}])/u)
      .filter((sentence) => /\p{L}/u.test(sentence)),
  );
}

/** Every page for readers, as paths from the root. The changelog and generated pages are left out. */
export function proseFiles(root: string): string[] {
  const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md') && !/node_modules|^reference.commands/.test(file))
    .map((file) => join('docs', file));
  return ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', join('deploy', 'README.md'), ...docs].sort();
}

function print(root: string, only: string | undefined): void {
  const all = proseFiles(root)
    .filter((page) => only === undefined || page === relative(root, only))
    .map((page) => proseOf(page, readFileSync(join(root, page), 'utf8')));
  for (const { page, sentences, average, riddles } of all.sort(
    (a, b) => (b.average ?? 0) - (a.average ?? 0),
  )) {
    const long = sentences.filter(({ words }) => words > (only === undefined ? MAX_WORDS : 25));
    console.log(
      `${(average ?? 0).toFixed(1).padStart(5)}  ${page}: ${sentences.length} sentences, ${long.length} long, ${riddles.length} riddles`,
    );
    if (only === undefined) continue;
    for (const { text, words } of long) console.log(`\n  ${words} words: ${text}`);
    for (const { phrase, instead, sentence } of riddles)
      console.log(`\n  "${phrase}": ${instead}\n    ${sentence}`);
  }
}

if (process.argv[1] === import.meta.filename) print(join(import.meta.dirname, '..'), process.argv[2]);
