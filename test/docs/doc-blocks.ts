import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from '../support/shared-data.ts';

/** A fenced block of a page. */
export interface DocBlock {
  /** Its place: `docs/guides/replay.md:12`. */
  readonly at: string;
  readonly language: string;
  readonly text: string;
  /** Why our tests do not run it, if the page says so; null otherwise. */
  readonly notRun: string | null;
  /** The file name under which the page says to save it; null otherwise. */
  readonly file: string | null;
  /** The verdict that the page shows as its output; null if it shows none. */
  readonly verdict: string | null;
}

export const isShell = ({ language }: Pick<DocBlock, 'language'>): boolean =>
  /^(?:sh|bash|shell|console)$/.test(language);

const VERDICT = /^(?:Verdict: )?(PASS|FAIL|INCONCLUSIVE|SAME|BETTER|WORSE)[:.]/m;

const FENCE = /^([ \t]*)```(\S*)[^\n]*\n([\s\S]*?)^\1```[ \t]*$/gm;

/** The pages with commands, as paths from the root. Decision records and change logs have none. */
export function docPages(): string[] {
  const inDocs = readdirSync(join(repositoryRoot, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md') && !file.startsWith('adr'))
    .map((file) => join('docs', file));
  return ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', join('deploy', 'README.md'), ...inDocs].sort();
}

export function pageText(page: string): string {
  return readFileSync(join(repositoryRoot, page), 'utf8');
}

export function blocksOf(page: string): DocBlock[] {
  const markdown = pageText(page);
  const blocks = [...markdown.matchAll(FENCE)].map((match) => {
    const [, indent = '', language = '', body = ''] = match;
    const before = markdown.slice(0, match.index).trimEnd();
    const lastLine = before.slice(before.lastIndexOf('\n') + 1).trim();
    return {
      at: `${page}:${before.split('\n').length + 2}`,
      language,
      text: body.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
      notRun: /^\*(Not run by our tests.*)\*$/.exec(lastLine)?.[1] ?? null,
      file: /`([\w./-]+\.\w+)`:$/.exec(lastLine)?.[1] ?? null,
    };
  });
  return blocks.map((block, at) => {
    // Output is in the session itself, or in the block after the commands.
    const next = blocks[at + 1];
    const output = next === undefined || isShell(next) ? block.text : `${block.text}\n${next.text}`;
    return { ...block, verdict: isShell(block) ? (VERDICT.exec(output)?.[1] ?? null) : null };
  });
}

/**
 * The commands of a block. A backslash at the end of a line continues the command, and a loop or case is one command.
 */
export function commandsOf(block: DocBlock): string[] {
  const lines = block.language === 'console' ? promptedLines(block.text) : block.text;
  const joined = lines.replaceAll(/\\\n\s*/g, ' ');
  if (/^(?:case|for|until|while|if) /m.test(joined)) return [joined];
  return joined.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
}

/** The commands that a reader types in a session: the text after `$ `. */
function promptedLines(session: string): string {
  return [...session.matchAll(/^\$ ((?:.*\\\n)*.*)$/gm)].map(([, command = '']) => command).join('\n');
}
