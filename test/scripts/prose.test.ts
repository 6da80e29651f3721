import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { dialectOf, MAX_AVERAGE_WORDS, MAX_WORDS, proseFiles, proseOf } from '../../scripts/prose.ts';
import { repositoryRoot } from '../support/shared-data.ts';

test.each(proseFiles(repositoryRoot))('sentences of %s have 20 words at most, on average', (page) => {
  const { average } = proseOf(page, readFileSync(join(repositoryRoot, page), 'utf8'));
  expect(average ?? 0, `npm run prose ${page} shows the long ones`).toBeLessThanOrEqual(MAX_AVERAGE_WORDS);
});

test.each(proseFiles(repositoryRoot))('no sentence of %s is above 30 words', (page) => {
  const { sentences } = proseOf(page, readFileSync(join(repositoryRoot, page), 'utf8'));
  expect(sentences.filter(({ words }) => words > MAX_WORDS)).toEqual([]);
});

/** The texts of flags are prose too. */
const COMMANDS = 'docs/reference/commands.md';

test.each([...proseFiles(repositoryRoot), COMMANDS])(
  '%s has no phrase that only this project uses',
  (page) => {
    expect(dialectOf(readFileSync(join(repositoryRoot, page), 'utf8'))).toEqual([]);
  },
);

test('a phrase is found in sentences, tables, headings and quotations, and not in code', () => {
  const page =
    '# All\n\nIt ends at\nonce.\n\n| a | its own, of its\n| b | void |\n\n> [told of](at-once.md) `at once`\n\n```ts\nvoid 0;\n```\n';
  expect(dialectOf(page).map(({ phrase }) => phrase)).toEqual(['at once', 'void']);
  expect(dialectOf('- plays\n- a cost that is small beside it\n## Tiers at once\n> void')).toHaveLength(4);
});

test('code, tables and headings are no sentences; a riddle is found', () => {
  const page =
    '# Head\n\nOne `--flag x` here. Whoever asks\nwaits.\n\n| a | b |\n\n```sh\nreprise x. Y.\n```\n';
  const { sentences, riddles } = proseOf('p.md', page);
  expect(sentences.map(({ text, words }) => [text, words])).toEqual([
    ['One CODE here.', 3],
    ['Whoever asks waits.', 3],
  ]);
  expect(riddles.map(({ phrase }) => phrase)).toEqual(['Whoever']);
});
