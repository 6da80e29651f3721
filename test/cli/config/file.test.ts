import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { prepare } from '../../../src/cli/commands/index.ts';
import { ConfigFile } from '../../../src/cli/config/file.ts';
import { addOptions, optionsOf, setSources } from '../../../src/cli/options.ts';
import { list, structure, text } from '../../../src/core/options.ts';
import { runCommand } from '../../support/command-here.ts';
import { repositoryRoot } from '../../support/shared-data.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

function configOf(text: string): string {
  const path = join(temporaryDirectory(), 'reprise.yaml');
  writeFileSync(path, text);
  return path;
}

async function settingsOf(args: readonly string[], environment: Record<string, string> = {}) {
  const { stdout, stderr, status } = await runCommand(['config', 'print', '--json', ...args], {
    env: environment,
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const { settings } = JSON.parse(stdout) as { settings: { key: string; value: unknown; origin: string }[] };
  return (key: string) => {
    const found = settings.find((setting) => setting.key === key);
    return found === undefined ? undefined : [found.value, found.origin];
  };
}

describe('a configuration file', () => {
  test('is weaker than a variable, which is weaker than a flag', async () => {
    const path = configOf(
      'log-format: json\nrecord:\n  max-disk: 1GiB\n  bodies: all\n  retain: 2d\n  dir: /from/file\n',
    );
    const setting = await settingsOf(['--config', path, 'record', '--bodies', 'none'], {
      REPRISE_BODIES: 'requests',
      REPRISE_RETAIN: '3d',
    });
    expect(setting('log-format')).toEqual(['json', `${path}:1`]);
    expect(setting('record.dir')).toEqual(['/from/file', `${path}:6`]);
    expect(setting('record.retain')).toEqual(['3d', 'REPRISE_RETAIN']);
    expect(setting('record.bodies')).toEqual(['none', 'flag']);
    expect(setting('record.drain-deadline')?.[1]).toBe('default');
    // Lists in force by default are shown too, not as if nothing were left out.
    expect(setting('record.skip')).toEqual([['health'], 'default']);
    expect(setting('record.identify-client')).toEqual([['forwarded-for', 'peer'], 'default']);
  });

  test('is printed without the credentials it holds', async () => {
    const path = configOf(
      'replay:\n  header: "Authorization: Bearer s3cret"\n  target: http://u:s3cret@model\n',
    );
    const setting = await settingsOf(['--config', path, 'replay']);
    expect(setting('replay.header')?.[0]).toEqual(['Authorization: ***']);
    expect(setting('replay.target')?.[0]).toEqual(['http://***@model']);
  });

  test('may have a section, or a list, whose entries are all commented out', () => {
    const shape = {
      dir: text('--dir <directory>', 'where'),
      skip: list('--skip <rule>', 'left out', { default: ['health'] }),
      routes: structure(z.array(z.string()), 'routes'),
    };
    const optionsIn = (yaml: string) => {
      const record = addOptions(
        new Command('record').action(() => undefined),
        shape,
      );
      const program = new Command().exitOverride().addCommand(record);
      const config = ConfigFile.read(configOf(yaml), program, [record]);
      setSources(program, [config]);
      program.parse(['record'], { from: 'user' });
      return optionsOf(record, shape);
    };
    const nothing = { dir: null, skip: ['health'], routes: null };
    expect(optionsIn('record:\n  # dir: x\n')).toEqual(nothing);
    expect(optionsIn('record:\n  skip:\n    # - none\n  routes:\n    # - a\n')).toEqual(nothing);
    expect(optionsIn('record:\n  skip: none\n  routes: [a]\n')).toEqual({
      dir: null,
      skip: ['none'],
      routes: ['a'],
    });
  });

  test('states a list whole: a flag replaces it and does not add to it', async () => {
    const path = configOf('replay:\n  production-host: [a.example, b.example]\n');
    const ofFile = await settingsOf(['--config', path, 'replay']);
    expect(ofFile('replay.production-host')?.[0]).toEqual(['a.example', 'b.example']);
    const ofFlags = await settingsOf(['--config', path, 'replay', '--production-host', 'c.example']);
    expect(ofFlags('replay.production-host')).toEqual([['c.example'], 'flag']);
    const ofVariable = await settingsOf(['--config', path, 'replay'], {
      REPRISE_PRODUCTION_HOST: 'd.example\ne.example',
    });
    expect(ofVariable('replay.production-host')).toEqual([
      ['d.example', 'e.example'],
      'REPRISE_PRODUCTION_HOST',
    ]);
  });

  test('may give as a number what a flag has as a word, such as 502', async () => {
    const path = configOf('record:\n  refused: 502\n');
    const setting = await settingsOf(['--config', path, 'record']);
    expect(setting('record.refused')).toEqual(['502', `${path}:2`]);
    const wrong = await runCommand([
      'config',
      'print',
      '--config',
      configOf('record: {refused: 503}'),
      'record',
    ]);
    expect(wrong.stderr).toContain('record.refused: 503 is none of: reset, 502');
  });

  test('is told the new name of a key that was renamed', async () => {
    const { status, stderr } = await runCommand([
      '--config',
      configOf('report:\n  md: z.md\n'),
      'report',
      'x',
    ]);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringMatching(
        /line 2, column \d+: report\.md is not a setting\. It is now --markdown FILE/,
      ),
    });
  });

  test('may be switched off by a variable', async () => {
    const path = configOf('replay:\n  dry-run: true\n');
    const setting = await settingsOf(['--config', path, 'replay'], { REPRISE_DRY_RUN: 'no' });
    expect(setting('replay.dry-run')).toEqual([false, 'REPRISE_DRY_RUN']);
  });

  test.each([
    [
      'an unknown key',
      'record:\n  tarket: x\n',
      /line 2, column \d+: record\.tarket is not a setting; did you mean target\?/,
    ],
    [
      'an unknown section',
      'recrod: {}\n',
      /line 1, column \d+: recrod is not a setting; did you mean record\?/,
    ],
    [
      'a value that is no choice',
      'record:\n  bodies: some\n',
      /line 2, column \d+: record\.bodies: "some" is not one of requests/,
    ],
    ['a key given twice', 'record:\n  dir: a\n  dir: b\n', /line 3, column \d+: .*unique/],
    ['what is no YAML', 'a: [1\nb: 2', /line 2, column \d+: /],
    [
      'no address to listen on',
      'record:\n  listen: []\n',
      /line 2, column \d+: record\.listen: the list is empty/,
    ],
    [
      'addresses that are all commented out',
      'record:\n  listen:\n  # - a\n',
      /line 2, column \d+: record\.listen: the list/,
    ],
    ['an alias of nothing', 'record:\n  <<: *x\n', /alias.*: x/],
    [
      'aliases of aliases without end',
      `a: &a [x]\n${'bcdefg'.replace(/./g, (b, at: number) => `${b}: &${b} [${`*${'abcdef'[at]},`.repeat(9)}]\n`)}`,
      /alias count/,
    ],
    ['a list where one value belongs', 'record:\n  dir: [a]\n', /line 2, column \d+: record\.dir/],
  ])('is refused for %s', async (_, text, reason) => {
    const path = configOf(text);
    await expect(prepare(['--config', path, 'config', 'print'])).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(reason),
      hint: expect.any(String),
    });
  });

  test('that is not there is refused', async () => {
    const { status, stderr } = await runCommand(['inspect', '.'], {
      env: { REPRISE_CONFIG: '/no/such/file' },
    });
    expect(status).toBe(2);
    expect(stderr).toContain('configuration /no/such/file cannot be read');
  });

  test('has a schema, published as it is', async () => {
    const { stdout } = await runCommand(['config', 'schema']);
    const published = readFileSync(join(repositoryRoot, 'docs', 'config.schema.json'), 'utf8');
    expect(published, 'run: npm run --silent config-schema').toBe(stdout);
  });
});
