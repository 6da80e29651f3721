import { expect, test } from 'vitest';
import { csvLine } from '../../src/core/text.ts';

test.each([
  ['=1+1', '"\'=1+1"'],
  ['+1', '"\'+1"'],
  ['-1', '"\'-1"'],
  ['@SUM(A1)', '"\'@SUM(A1)"'],
  ['|calc', '"\'|calc"'],
  ['\tx', '"\'\tx"'],
  [' \t=1', '"\' \t=1"'],
  ['a,b', '"a,b"'],
  ['say "hi"', '"say ""hi"""'],
  ['two\nlines', 'two\\x0alines'],
  ['turned \u202e round\u2028', 'turned \\x202e round\\x2028'],
  ['\u001b[31m', '\\x1b[31m'],
  ['plain', 'plain'],
])('%j is the cell %j', (text, cell) => {
  expect(csvLine([text])).toBe(`${cell}\r\n`);
});

test('numbers below 0 stay numbers, and what is not known is empty', () => {
  expect(csvLine([-1.5, null, 0, true])).toBe('-1.5,,0,true\r\n');
});
