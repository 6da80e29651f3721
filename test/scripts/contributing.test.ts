import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { repositoryRoot } from '../support/shared-data.ts';

/** A row of the table "Which tests cover what" in CONTRIBUTING.md. */
interface Row {
  readonly folders: readonly string[];
  readonly tests: readonly string[];
}

const rows = readFileSync(join(repositoryRoot, 'CONTRIBUTING.md'), 'utf8')
  .split('### Which tests cover what')[1]
  ?.split('\n## ')[0]
  ?.split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line): Row => {
    const [folders = '', ...tests] = line.split('|').slice(1);
    return { folders: quoted(folders), tests: quoted(tests.join()) };
  }) as Row[];

function quoted(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);
}

/** Every room of `src`. A room in which parts are named has all of them named. */
function rooms(): string[] {
  const named = new Set(rows.flatMap(({ folders }) => folders));
  return readdirSync(join(repositoryRoot, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => {
      if (named.has(name)) return [name];
      return readdirSync(join(repositoryRoot, 'src', name), { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((part) => `${name}/${part.name}`);
    });
}

describe('the table of tests in CONTRIBUTING.md', () => {
  test('has each folder of src once', () => {
    expect(rows.flatMap(({ folders }) => folders).sort()).toEqual(rooms().sort());
  });

  test.each(rows)('$folders: names tests that exist, fast and slow', ({ tests }) => {
    expect(tests.length).toBeGreaterThan(1);
    for (const path of tests) expect(existsSync(join(repositoryRoot, path)), path).toBe(true);
  });
});
