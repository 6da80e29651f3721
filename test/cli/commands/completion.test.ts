import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { runCommand } from '../../support/command-here.ts';

const { stdout: script } = await runCommand(['completion', 'bash']);

/** What a real bash offers for a line whose last word is being typed. */
function offered(...line: string[]): string[] {
  const words = ['reprise', ...line].map((word) => `'${word}'`).join(' ');
  const ask = `COMP_WORDS=(${words}); COMP_CWORD=${line.length}; _reprise; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', `${script}\n${ask}`], { encoding: 'utf8', cwd: '/' });
  expect(stderr).toBe('');
  return stdout.trim().split('\n');
}

test.each([
  [['repl'], ['replay']],
  [['import', 'arr'], ['arrivals']],
  [['import', 'arrivals', '--request-p'], ['--request-path']],
  [['replay', 'capture', '--sta'], ['--stages']],
  [['record', '--mode', 'g'], ['gateway']],
  [['record', '--dir', 'tm'], ['tmp']],
  [['replay', 'tm'], ['tmp']],
])('bash completes %j by %j', (line, words) => {
  expect(offered(...line)).toEqual(words);
});

test('zsh and fish have every command', async () => {
  const fish = (await runCommand(['completion', 'fish'])).stdout;
  expect(fish).toContain(
    "complete -c reprise -n '__fish_seen_subcommand_from record' -l mode -x -a 'wire gateway'",
  );
  expect((await runCommand(['completion', 'zsh'])).stdout).toContain(script);
});
