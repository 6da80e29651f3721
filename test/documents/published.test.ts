import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { publishedSchemas } from '../../src/documents/published.ts';
import { repositoryRoot } from '../support/shared-data.ts';

test.each(publishedSchemas())('docs/$file is that of the code', ({ file, schema }) => {
  const published = readFileSync(join(repositoryRoot, 'docs', file), 'utf8');
  expect(published).toBe(`${JSON.stringify(schema, null, 2)}\n`);
});
