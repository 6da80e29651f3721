import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from './shared-data.ts';

/** A fenced block of a page. */
export interface DocBlock {
  /** Where it stands: `docs/guides/replay.md:12`. */
  readonly at: string;
  readonly language: string;
  readonly text: string;
  /** Where the page itself says that our tests do not run it, and why; null otherwise. */
  readonly notRun: string | null;
  /** The file that the page says to save it as; null otherwise. */
  readonly file: string | null;
}

const FENCE = /^([ \t]*)```(\S*)[^\n]*\n([\s\S]*?)^\1```[ \t]*$/gm;

/** The pages that people follow, as paths from the root. Decisions and logs of changes hold no commands. */
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
  return [...markdown.matchAll(FENCE)].map((match) => {
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
}

/** The commands of a block: lines that end in a backslash go on, and so do loops and cases. */
export function commandsOf(block: DocBlock): string[] {
  const lines = block.language === 'console' ? promptedLines(block.text) : block.text;
  const joined = lines.replaceAll(/\\\n\s*/g, ' ');
  if (/^(?:case|for|until|while|if) /m.test(joined)) return [joined];
  return joined.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
}

/** What a reader types of a session: what stands behind `$ `. */
function promptedLines(session: string): string {
  return [...session.matchAll(/^\$ ((?:.*\\\n)*.*)$/gm)].map(([, command = '']) => command).join('\n');
}
