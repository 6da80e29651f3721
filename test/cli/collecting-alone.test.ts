import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/**
 * The flags of Node that a process had each time it began, in order. It notes them itself, before anything else of
 * it runs: who looks at it from outside may miss a life of some milliseconds.
 */
async function beginningsOf(args: readonly string[]): Promise<{ stderr: string; flags: string[][] }> {
  const home = temporaryDirectory();
  const [note, notes] = [join(home, 'note.mjs'), join(home, 'notes')];
  // Threads begin with it too, and are no beginning of the process.
  const said =
    "if (isMainThread) appendFileSync(process.env.NOTES, JSON.stringify(process.execArgv) + '\\n');";
  writeFileSync(
    note,
    `import { appendFileSync } from 'node:fs'; import { isMainThread } from 'node:worker_threads'; ${said}`,
  );
  const env = { NODE_OPTIONS: `--import=${pathToFileURL(note).href}`, NOTES: notes };
  const { status, stderr } = await runReprise(args, { env });
  expect(status).toBe(0);
  const lines = readFileSync(notes, 'utf8').split('\n').slice(0, -1);
  return { stderr, flags: lines.map((text) => JSON.parse(text)) };
}

describe.skipIf(process.platform !== 'linux')('garbage is collected without helpers', () => {
  test.each([[['replay', '--help']], [['selftest', '--help']]])('by %s, which sends', async (args) => {
    const { stderr, flags } = await beginningsOf(args);
    expect(stderr).toBe('');
    // Anew once, and then no more.
    expect(flags).toEqual([[], ['--single-threaded-gc']]);
  });

  test.each([[['replay', '--dry-run', '--help']], [['profile', '--help']]])('and not by %s', async (args) => {
    const { flags } = await beginningsOf(args);
    expect(flags).toEqual([[]]);
  });
});
