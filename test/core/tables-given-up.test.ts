import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const PROGRAM = join(repositoryRoot, 'test/support/tables-given-up.ts');
const FLAGS = ['--expose-gc', '--single-threaded-gc', '--min-semi-space-size=16', '--max-semi-space-size=16'];

describe('a number map lets go of', () => {
  // 400 KB at least would be held.
  it.each([
    'a table that has become too small',
    'a table that is cleared and given up',
    'a table that is cleared and kept',
    'what is deleted',
    'the room of many that were deleted',
    'the room of many that were cleared',
  ])('%s', async (what) => {
    const child = new RunningProcess(process.execPath, [...FLAGS, PROGRAM, what]);
    const { status, stdout, stderr } = await child.finished;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(Number(stdout)).toBeLessThan(128 * 1024);
  });
});
