import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCommand } from '../../support/command-here.ts';
import { mixedSends, storedRun } from '../../support/reported-runs.ts';
import { playedAt, searched } from '../../support/searched.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

test('a search is reported by its directory and by its document: text, JSON and page', async () => {
  const directory = join(temporaryDirectory(), 'search');
  const document = searched([playedAt(1), playedAt(2), playedAt(1.5)]);
  mkdirSync(directory);
  writeFileSync(join(directory, 'capacity.json'), JSON.stringify(document));
  const text = await runCommand(['report', directory]);
  expect(text).toMatchObject({ status: 0, stderr: '' });
  expect(text.stdout).toContain('Safe up to 2x of the busiest 30 s (40.0/s)');
  const json = await runCommand(['report', join(directory, 'capacity.json'), '--json']);
  expect(JSON.parse(json.stdout)).toEqual(document);
  const [page, markdown] = [join(directory, 'page.html'), join(directory, 'page.md')];
  const written = await runCommand(['report', directory, '--html', page, '--markdown', markdown]);
  expect(written).toMatchObject({ status: 0, stdout: '' });
  expect(readFileSync(page, 'utf8')).toContain('<!doctype html>');
  expect(readFileSync(markdown, 'utf8')).toContain('Safe up to 2x of the busiest 30 s (40.0/s)');
});

test('a report that is written to a file prints one line', async () => {
  const page = join(temporaryDirectory(), 'page.html');
  const { status, stdout, stderr } = await runCommand(['report', storedRun(mixedSends(10)), '--html', page]);
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: `page written to ${page}\n` });
});
