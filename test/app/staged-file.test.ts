import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { StagedFile } from '../../src/app/staged-output.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a staged file takes its place whole', () => {
  const home = temporaryDirectory();
  const staged = new StagedFile(join(home, 'out'), 'testing');
  writeFileSync(staged.path, 'whole');
  expect(readdirSync(home)).not.toContain('out');
  staged.publish();
  expect(readdirSync(home)).toEqual(['out']);
  expect(readFileSync(join(home, 'out'), 'utf8')).toBe('whole');
});

test('what came to its place meanwhile stays', () => {
  const home = temporaryDirectory();
  const staged = new StagedFile(join(home, 'out'), 'testing');
  writeFileSync(staged.path, 'ours');
  writeFileSync(join(home, 'out'), 'theirs');
  expect(() => staged.publish()).toThrow(/is there already/);
  staged.discard();
  expect(readdirSync(home)).toEqual(['out']);
  expect(readFileSync(join(home, 'out'), 'utf8')).toBe('theirs');
});

test('a place that is taken, or in no directory, is refused before anything is written', () => {
  const home = temporaryDirectory();
  writeFileSync(join(home, 'out'), '');
  expect(() => new StagedFile(join(home, 'out'), 'testing')).toThrow(/is there already/);
  expect(() => new StagedFile(join(home, 'no', 'out'), 'testing')).toThrow(/cannot be written/);
  expect(() => new StagedFile(join(home, 'out', 'x'), 'testing')).toThrow(/cannot be written/);
  expect(() => new StagedFile(join(home, 'x'.repeat(300)), 'testing')).toThrow(/cannot be written/);
});
