import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const folder = temporaryDirectory();
mkdirSync(join(folder, 'captures'));

/** What is typed before the Tab key, and the command line after it. */
const TYPED = [
  ['reprise repl', 'reprise replay'],
  ['reprise record --mode g', 'reprise record --mode gateway'],
  ['reprise replay capt', 'reprise replay captures/'],
  ['reprise report runs/one --format llm', 'reprise report runs/one --format llm-d'],
  ['reprise config pri', 'reprise config print'],
  ['reprise config print --show', 'reprise config print --show-origin'],
  ['reprise completion f', 'reprise completion fish'],
  ['reprise replay --out capt', 'reprise replay --out captures/'],
] as const;

async function scriptFor(shell: string): Promise<string> {
  const file = join(folder, `completion.${shell}`);
  const { status, stdout } = await runReprise(['completion', shell]);
  expect(status).toBe(0);
  writeFileSync(file, stdout);
  return file;
}

function run(shell: string, args: readonly string[]): string {
  const options = { cwd: folder, env: { PATH: process.env['PATH'], HOME: folder, TERM: 'dumb' } };
  const { stdout, stderr, error } = spawnSync(shell, args, { ...options, encoding: 'utf8', timeout: 60_000 });
  expect({ error, stderr }).toEqual({ error: undefined, stderr: '' });
  return stdout;
}

const isThere = (shell: string) => spawnSync(shell, ['--version']).status === 0;
const expected = TYPED.map(([, line]) => line);
/** Of bash the slash of a directory is added by readline; zsh takes it away when the line is entered. */
const withoutSlash = expected.map((line) => line.replace(/\/$/, ''));

describe('completion, by the shells themselves', () => {
  test('bash completes commands, flags, their words, and paths', async () => {
    const script = await scriptFor('bash');
    const lines = TYPED.map(([typed]) => {
      const words = typed.split(' ');
      return `COMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _reprise; echo "${words.slice(0, -1).join(' ')} \${COMPREPLY[*]}"`;
    });
    const answers = run('bash', ['--norc', '-c', `source ${script}\n${lines.join('\n')}`])
      .trim()
      .split('\n');
    expect(answers).toEqual(withoutSlash);
  });

  test.skipIf(!isThere('zsh'))('zsh does (needs Debian’s zsh)', async () => {
    const script = await scriptFor('zsh');
    const file = join(folder, 'type.zsh');
    // A terminal in which the lines are typed; each runs a function that says what it was called with.
    const setup = join(folder, 'setup.zsh');
    writeFileSync(setup, `PS1=\nsource ${script}\nreprise() { print -r -- "<reprise $*>" }\nprint ready\n`);
    writeFileSync(
      file,
      [
        'zmodload zsh/zpty',
        'zpty z "zsh -f -i"',
        'hear() { local line; zpty -r -m z line "*$1*" && print -r -- "$line" }',
        `zpty -w z 'source ${setup}'`,
        'hear ready >/dev/null',
        ...TYPED.map(([typed]) => `zpty -w -n z '${typed}'$'\\t\\n'; hear '<reprise*>'`),
        'zpty -d z',
      ].join('\n'),
    );
    const answers = run('zsh', ['-f', file]).matchAll(/<(reprise[^>]*)>/g);
    expect([...answers].map(([, line]) => line?.trimEnd())).toEqual(withoutSlash);
  });

  test.skipIf(!isThere('fish'))('fish does (needs Debian’s fish)', async () => {
    const script = await scriptFor('fish');
    const file = join(folder, 'ask.fish');
    writeFileSync(
      file,
      [`source ${script}`, ...TYPED.map(([typed]) => `complete -C '${typed}' | string join ' | '`)].join(
        '\n',
      ),
    );
    const answers = run('fish', ['--no-config', file]).trim().split('\n');
    const words = answers.map((line) => line.split('\t')[0]);
    expect(words).toEqual(expected.map((line) => line.split(' ').at(-1)));
  });
});
