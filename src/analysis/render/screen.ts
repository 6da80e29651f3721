import { TonedLine } from '../../core/text.ts';
import { Tally } from '../stats/tally.ts';
import { type Finding, type View, withoutRepeats } from './table.ts';

/** The size of a command's final output without `--verbose`. */
export const SCREEN = { lines: 20, columns: 80 } as const;

export type ScreenLine = string | TonedLine;

/** The most lines of a finding, and of its advice. */
const MOST_OF_FINDING = 3;
const MOST_OF_ADVICE = 2;
/** A longer word or command gets a line of its own. */
const LONGEST_WORD = 40;
/** A word. A number with its percent sign is one word, and so is a command with its directory and flags. */
const WORD =
  /(?:(?:npx (?:@reprise-load\/)?)?reprise|node \S+\.js) (?:show|report) (?:'[^']*'|\\'|[^\s'])+(?: (?:--[\w-]+|\d+|'[^']*'|"[^"]*"))*\S*|\S+(?:\s+%\S*)*/g;

function wordsOf(text: string): readonly string[] {
  return text.match(WORD) ?? [];
}

/** The end of a sentence that another follows. */
const SENTENCE_END = /(?<=[.!?]) (?=[A-Z])/;

/**
 * Breaks a text into lines of the screen's width, between words. A longer word stays whole. Of a text that needs more
 * than `most` lines, the first sentences that fit are shown, or else the start of its first one; either ends with an ellipsis.
 */
export function folded(text: string, indent = '', most = Number.POSITIVE_INFINITY): string[] {
  const lines = broken(text, indent);
  if (lines.length <= most) return lines;
  const sentences = text.split(SENTENCE_END);
  while (sentences.length > 1) {
    sentences.pop();
    const fewer = broken(`${sentences.join(' ')} …`, indent);
    if (fewer.length <= most) return fewer;
  }
  const last = [...wordsOf(`${lines[most - 1]}`)];
  while (last.length > 1 && indent.length + last.join(' ').length + 2 > SCREEN.columns) last.pop();
  return [...lines.slice(0, most - 1), `${indent}${last.join(' ')} …`];
}

function broken(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of wordsOf(text)) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && indent.length + longer.length > SCREEN.columns) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  if (line !== '') lines.push(line);
  return lines.map((each) => `${indent}${each}`);
}

/** The verdict in its colour. */
export function verdictLines({ verdict, tone, headline }: View): TonedLine[] {
  const word = verdict ?? 'No verdict';
  return folded(`${word}: ${headline}`, '', 2).map((line) => new TonedLine(line, tone));
}

/** The title of a finding for use within a sentence. */
export function shortTitle({ code, title }: Pick<Finding, 'code' | 'title'>): string {
  return title === undefined ? code : `${title.charAt(0).toLowerCase()}${title.slice(1)}`;
}

/**
 * The first reasons with their advice, in at most `most` lines, and the titles of the others with their number.
 * @param where a flag with which a reader sees the others
 */
export function findingLines(findings: readonly Finding[], most: number, where = '--verbose'): string[] {
  const lines: string[] = [];
  const shown = withoutRepeats(findings);
  for (const [at, { text, advice }] of shown.entries()) {
    const ofAdvice = MOST_OF_ADVICE + wordsOf(advice).filter(({ length }) => length > LONGEST_WORD).length;
    const own = [
      ...folded(text, '  ', findings.length > 1 ? MOST_OF_FINDING - 1 : MOST_OF_FINDING),
      ...folded(advice === '' ? '' : `To do: ${advice}`, '    ', ofAdvice),
    ];
    const isLast = at === findings.length - 1;
    if (at > 0 && lines.length + own.length + (isLast ? 0 : 1) > most) {
      const rest = new Tally<string>();
      for (const each of shown.slice(at)) rest.count(shortTitle(each));
      const names = Array.from(rest, ([name, times]) => (times === 1 ? name : `${name} (${times})`));
      return [...lines, ...folded(`Also (${where}): ${names.join(', ')}`, '  ', 1)];
    }
    lines.push(...own);
  }
  return lines;
}

/** A part of a screen. */
interface Block {
  /** The lines that it needs; 0 for a block that may be missing. */
  readonly minimum: number;
  readonly maximum: number;
  /** Of the lines that are left, blocks of a lower rank take theirs first. */
  readonly rank: number;
  /** Its lines, at most as many as this; called with at least 1. */
  readonly lines: (most: number) => readonly ScreenLine[];
  /** Whether it follows the block above it without an empty line. */
  readonly isJoined?: boolean;
}

/** A block with always the same lines. */
export function fixed(lines: readonly ScreenLine[]): Block {
  return block(0, lines.length, lines.length, () => lines);
}

export function block(rank: number, minimum: number, maximum: number, lines: Block['lines']): Block {
  return { rank, minimum, maximum, lines };
}

/** The blocks on one screen. If there is space, empty lines separate them; the last blocks get theirs first. */
export function fitted(blocks: readonly Block[]): ScreenLine[] {
  let spare = SCREEN.lines - blocks.reduce((sum, { minimum }) => sum + minimum, 0);
  const drawn = new Map<Block, readonly ScreenLine[]>();
  for (const each of blocks.toSorted((a, b) => a.rank - b.rank)) {
    const { minimum, maximum } = each;
    // If the screen is too small for what all need, the first block that can be shorter is.
    const most = minimum === maximum ? minimum : Math.min(maximum, minimum + spare);
    const own = most > 0 ? each.lines(most) : [];
    drawn.set(each, own);
    spare -= own.length - minimum;
  }
  const lines: ScreenLine[] = [];
  for (const [at, each] of [...blocks.entries()].toReversed()) {
    const own = drawn.get(each) ?? [];
    const isSpaced = own.length > 0 && at > 0 && each.isJoined !== true && spare > 0;
    lines.unshift(...(isSpaced ? [''] : []), ...own);
    if (isSpaced) spare -= 1;
  }
  return lines;
}
