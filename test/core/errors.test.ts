import { expect, test } from 'vitest';
import { originOf } from '../../src/core/errors.ts';

test('where an error of our own came from is said without its message, whatever that holds', () => {
  const origin = originOf(new TypeError('cannot read "hunter2"\n    at hunter2'));
  expect(origin).toEqual({ error: 'TypeError', at: expect.stringContaining('errors.test.ts') });
  expect(JSON.stringify(origin)).not.toContain('hunter2');
  expect(originOf(new Error('')).at).toContain('errors.test.ts');
  const renamed = new Error('first\n    at hunter2');
  // V8 writes the stack when it is first read.
  expect(renamed.stack).toContain('first');
  renamed.message = 'second';
  expect(originOf(renamed).at).toBe(null);
  expect(originOf('hunter2')).toEqual({ error: 'string', at: null });
});
