import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DIALECT, MAX_AVERAGE_WORDS, MAX_WORDS, proseFiles, proseOf } from '../../scripts/prose.ts';
import { repositoryRoot } from '../support/shared-data.ts';

test.each(proseFiles(repositoryRoot))('sentences of %s have 20 words at most, on average', (page) => {
  const { average } = proseOf(page, readFileSync(join(repositoryRoot, page), 'utf8'));
  expect(average ?? 0, `npm run prose ${page} shows the long ones`).toBeLessThanOrEqual(MAX_AVERAGE_WORDS);
});

test.each(proseFiles(repositoryRoot))('no sentence of %s is above 30 words', (page) => {
  const { sentences } = proseOf(page, readFileSync(join(repositoryRoot, page), 'utf8'));
  expect(sentences.filter(({ words }) => words > MAX_WORDS)).toEqual([]);
});

test.each(proseFiles(repositoryRoot))('%s has no phrase that only this project uses', (page) => {
  const { sentences } = proseOf(page, readFileSync(join(repositoryRoot, page), 'utf8'));
  const found = sentences.filter(({ text }) => DIALECT.some(([phrase]) => phrase.test(text)));
  expect(found.map(({ text }) => text)).toEqual([]);
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
