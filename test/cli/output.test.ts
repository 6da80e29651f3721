import { expect, test } from 'vitest';
import { calledAs } from '../../src/cli/output.ts';

test.each([
  ['/usr/local/bin/reprise', undefined, 'reprise'],
  ['/home/me/reprise/bin/reprise.js', 'exec', 'npx reprise'],
  ['/home/me/reprise/bin/reprise.js', 'run', 'node reprise/bin/reprise.js'],
  ['/home/me/my tools/bin/reprise.js', undefined, 'reprise'],
])('a line to copy calls the program as %s with npm_command %s was called', (script, npm, called) => {
  expect(calledAs(script, npm ?? '', '/home/me')).toBe(called);
});
