import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { startReprise } from '../support/process.ts';

const LOOK_MS = 5;

/** Everything a process was called as from its start to its end. */
async function namesOf(args: readonly string[]): Promise<{ stderr: string; names: string[] }> {
  const run = startReprise(args);
  const names = new Set<string>();
  let over = false;
  void run.finished.finally(() => {
    over = true;
  });
  while (!over) {
    try {
      names.add(readFileSync(`/proc/${run.child.pid}/cmdline`, 'latin1'));
    } catch {
      // It has just ended.
    }
    await sleep(LOOK_MS);
  }
  const { status, stderr } = await run.finished;
  expect(status).toBe(0);
  return { stderr, names: [...names] };
}

describe.skipIf(process.platform !== 'linux')('garbage is collected without helpers', () => {
  test.each([[['replay', '--help']], [['selftest', '--help']]])('by %s, which sends', async (args) => {
    const { stderr, names } = await namesOf(args);
    expect(stderr).toBe('');
    expect(names.some((name) => name.includes('--single-threaded-gc'))).toBe(true);
  });

  test.each([[['replay', '--dry-run', '--help']], [['profile', '--help']]])('and not by %s', async (args) => {
    const { names } = await namesOf(args);
    expect(names.some((name) => name.includes('--single-threaded-gc'))).toBe(false);
  });
});
