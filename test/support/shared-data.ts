import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the checkout. */
export const repositoryRoot = fileURLToPath(new URL('../..', import.meta.url));

const sharedRoot = process.env['REPRISE_SHARED'] ?? join(repositoryRoot, '..', 'shared');

/**
 * A file or folder of the large data sets, which are too big for the repository; null if it is missing. Then skip the
 * test with the reason: `test.skipIf(path === null)`, or `context.skip(missing(…))`.
 */
export function sharedData(relativePath: string): string | null {
  const path = join(sharedRoot, 'data', relativePath);
  return existsSync(path) ? path : null;
}

/** Why a test that needs `relativePath` is skipped. */
export function missing(relativePath: string): string {
  return `data/${relativePath} is not here; set REPRISE_SHARED to the folder that holds data/`;
}

/** A file or folder of the small data sets in the repository. */
export function fixtureData(relativePath: string): string {
  return join(repositoryRoot, 'fixtures', 'data', relativePath);
}
