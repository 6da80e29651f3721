import { expect, test } from 'vitest';
import { calledAs } from '../../src/cli/output.ts';

const checkout = '/home/me/reprise/dist/cli';
const cache = '/home/me/.npm/_npx/a1/node_modules/@reprise-load/reprise/dist/cli';

test.each([
  ['/usr/local/bin/reprise', undefined, checkout, 'reprise'],
  ['/home/me/reprise/bin/reprise.js', 'exec', checkout, 'npx reprise'],
  ['/home/me/.npm/_npx/a1/node_modules/.bin/reprise', 'exec', cache, 'npx @reprise-load/reprise'],
  ['/home/me/reprise/bin/reprise.js', 'run', checkout, 'node reprise/bin/reprise.js'],
  ['/home/me/my tools/bin/reprise.js', undefined, checkout, 'reprise'],
])(
  'a line to copy calls the program as %s with npm_command %s in %s was called',
  (script, npm, home, called) => {
    expect(calledAs(script, npm ?? '', '/home/me', home)).toBe(called);
  },
);
