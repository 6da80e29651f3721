import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeWhole } from '../../src/app/staged-output.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a file takes the place of one that is there', () => {
  const path = join(temporaryDirectory(), 'out');
  writeFileSync(path, 'of yesterday');
  writeWhole(path, 'whole');
  expect(readFileSync(path, 'utf8')).toBe('whole');
});

test.each([
  ['no directory', 'no/out'],
  ['below a file', 'file/out'],
  ['further below a file', 'file/deeper/out'],
  ['a name that is too long', 'x'.repeat(300)],
])('a place that cannot be written is named, and nothing is left: %s', (_, name) => {
  const home = temporaryDirectory();
  writeFileSync(join(home, 'file'), '');
  const refusal = expect.objectContaining({
    code: 'OUTPUT_UNWRITABLE',
    message: expect.stringContaining(`${name} cannot be written: `),
  });
  expect(() => writeWhole(join(home, name), 'whole')).toThrow(refusal);
  expect(readdirSync(home)).toEqual(['file']);
});
