import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { runProcess, runReprise } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const { version } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as {
  version: string;
};

describe('reprise', () => {
  test('prints its version and nothing else', async () => {
    expect(await runCommand(['--version'])).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
  });

  test('prints its help to stdout when asked, with a line for each command', async () => {
    const { status, stdout, stderr } = await runCommand(['--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const command of ['record', 'inspect', 'replay', 'import']) {
      expect(stdout).toMatch(new RegExp(`^ {2}${command} .*\\S`, 'm'));
    }
  });

  test('without a command prints its help to stderr and ends with 2', async () => {
    const { status, stdout, stderr } = await runCommand([]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/^Usage: reprise/);
  });

  test('ends with 2 for a command it does not have, and names the nearest', async () => {
    expect(await runCommand(['replya'])).toMatchObject({
      status: 2,
      stdout: '',
      stderr: "reprise: unknown command 'replya'\n  hint: Did you mean replay?\n",
    });
  });

  test('ends with 2 for a flag it does not have', async () => {
    expect(await runCommand(['inspect', '--jsno', '.'])).toMatchObject({
      status: 2,
      stdout: '',
      stderr: "reprise: unknown option '--jsno'\n  hint: Did you mean --json?\n",
    });
  });

  test.each([['record'], ['inspect'], ['replay'], ['import']])(
    'explains %s by --help and by help',
    async (name) => {
      const [flag, word] = await Promise.all([runCommand([name, '--help']), runCommand(['help', name])]);
      expect(flag).toMatchObject({ status: 0, stderr: '' });
      expect(flag.stdout).toContain(`Usage: reprise ${name}`);
      expect(word).toEqual(flag);
    },
  );

  test('prints a stack only under REPRISE_DEBUG', async () => {
    const args = ['inspect', '/nonexistent/capture'];
    const quiet = await runCommand(args);
    const loud = await runCommand(args, { env: { REPRISE_DEBUG: '1' } });
    expect(quiet.status).toBe(2);
    expect(quiet.stderr).toMatch(/^reprise: .*\/nonexistent\/capture/);
    expect(quiet.stderr).not.toContain('    at ');
    expect(loud.status).toBe(2);
    expect(loud.stderr).toContain('    at ');
  });

  test('warns of a variable that no command knows, on stderr, once', async () => {
    const { stderr } = await runReprise(['inspect', '/nonexistent/capture'], {
      env: {
        REPRISE_MAX_DSK: '1GiB',
        REPRISE_MAX_DISK: '1GiB',
        REPRISE_SERVICE_HOST: '10.0.0.1',
        REPRISE_LOG_FORMAT: 'json',
      },
    });
    const warnings = stderr.split('\n').filter((line) => line.startsWith('{'));
    expect(warnings.map((line) => JSON.parse(line) as object)).toEqual([
      expect.objectContaining({ level: 'warn', variable: 'REPRISE_MAX_DSK', didYouMean: 'REPRISE_MAX_DISK' }),
    ]);
  });

  test.each(['json', 'pretty'])('logs as the variable or the file says: %s', async (format) => {
    const file = join(temporaryDirectory(), 'reprise.yaml');
    writeFileSync(file, `log-format: ${format}\n`);
    for (const setting of [{ REPRISE_LOG_FORMAT: format }, { REPRISE_CONFIG: file }]) {
      const { stderr } = await runReprise(['inspect', '/nonexistent/capture'], {
        env: { REPRISE_MAX_DSK: '1GiB', ...setting },
      });
      expect(stderr.startsWith('{') ? 'json' : 'pretty').toBe(format);
      expect(stderr).toContain('REPRISE_MAX_DSK');
    }
    const wrong = { REPRISE_LOG_FORMAT: 'xml' };
    expect(await runCommand(['inspect', '/nonexistent/capture'], { env: wrong })).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(
        /^reprise: --log-format: "xml" is none of: pretty, json \(REPRISE_LOG_FORMAT\)/,
      ),
    });
  });

  test('is quiet when its reader has gone', async () => {
    const bin = join(repositoryRoot, 'bin', 'reprise.js');
    // The reader ends before reprise has begun to write.
    const script = `exec 3>&1; { "$0" "$1" --help; echo "status $?" >&3; } | exec true`;
    const { stdout, stderr } = await runProcess('/bin/sh', ['-c', script, process.execPath, bin]);
    expect({ stdout, stderr }).toEqual({ stdout: 'status 0\n', stderr: '' });
  });
});
