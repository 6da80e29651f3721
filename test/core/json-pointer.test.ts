import { describe, expect, it } from 'vitest';
import { ANY_MEMBER, parseJsonPointer } from '../../src/core/json-cursor.ts';

describe('a JSON pointer', () => {
  it.each([
    ['', []],
    ['/', ['']],
    ['/a/b', ['a', 'b']],
    ['/messages/*/content', ['messages', ANY_MEMBER, 'content']],
    ['/a~1b/m~0n/~01', ['a/b', 'm~n', '~1']],
    ['/a b/"q"/0', ['a b', '"q"', '0']],
    ['/a*', ['a*']],
  ])('%j is read as its steps', (text, steps) => {
    expect(parseJsonPointer(text)).toEqual(steps);
  });

  it.each([
    ['messages', 'does not begin with /', '/messages'],
    ['$.messages.text', 'does not begin with /', '/messages/text'],
    ['/a~', 'neither ~0 nor ~1', '~0'],
    ['/a~2b', 'neither ~0 nor ~1', '~0'],
    ['/a/-', 'past the end of an array', '*'],
    ['/a'.repeat(33), 'more than 32 steps', null],
  ])('%j is refused with the way out', (text, problem, hint) => {
    try {
      parseJsonPointer(text);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'OPTION_INVALID', message: expect.stringContaining(problem) });
      if (hint !== null) expect((error as { hint: string }).hint).toContain(hint);
    }
  });
});
