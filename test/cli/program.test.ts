import type { Command } from 'commander';
import { afterEach, expect, test, vi } from 'vitest';
import { COMMANDS, prepare } from '../../src/cli/commands/index.ts';
import { isRare } from '../../src/cli/options.ts';
import { terminal } from '../../src/cli/terminal.ts';
import { LogBook } from '../support/log-book.ts';

const log = new LogBook();
vi.mock('../../src/cli/logger.ts', () => ({ loggerOf: () => log }));

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

async function run(...args: string[]): Promise<void> {
  const { program } = await prepare(args);
  await program.parseAsync(args, { from: 'user' });
}

test.each([
  [['status', '--dir', ''], '--dir: the name of the directory is empty'],
  [
    ['record', '--dir', '/rec', '--target', 'x', '--listen-tls', 'cert=,key=k'],
    '--listen-tls cert: the name of the file is empty',
  ],
  [['forget', '/no/such', '--hash-key-file', ''], '--hash-key-file: the name of the file is empty'],
])('a path that an unset variable left empty is refused: %j', async (args, reason) => {
  await expect(run(...args)).rejects.toThrow(reason);
});

test.each([
  ['replay --taget http://x', '--taget', '--target'],
  ['replay capture --multiplir 2 --slo', '--multiplir', '--multiplier'],
  ['replay capture --target --multipleir 2', '--multipleir', '--multiplier'],
  ['replay --config /nonexistent --taget=http://x', '--taget', '--target'],
  ['import arrivals --tme at', '--tme', '--time'],
  ['config print record --listn :80', '--listn', '--listen'],
])('a mistyped flag is named before anything else: %s', async (line, flag, near) => {
  await expect(run(...line.split(' '))).rejects.toMatchObject({
    message: `unknown option '${flag}'`,
    hint: `Did you mean ${near}?`,
  });
});

test.each([
  ['replay capture --target --multiplier 2', '--target has no value: --multiplier follows it'],
  ['rpelay --tarket x', "error: unknown command 'rpelay'\n(Did you mean replay?)"],
])('what is wrong besides is told as it is: %s', async (line, message) => {
  await expect(run(...line.split(' '))).rejects.toMatchObject({ message });
});

test('a value that begins with dashes, and what follows --, are no flags', async () => {
  const line = ['replay', 'capture', '--dry-run', '-H', '--x: y', '--', '--taget'];
  await expect(run(...line)).rejects.toThrow(/too many arguments/);
});

test.each(COMMANDS)(
  '$name fits 40 lines of help, and explains every flag at length',
  async ({ name, load }) => {
    const helpOf = async (flag: string) => {
      const { program } = await prepare([name, flag]);
      const command = program.commands.find((each) => each.name() === name) as Command;
      return command.helpInformation();
    };
    const rowsOf = (help: string) =>
      [...help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, flag]) => flag);
    const short = await helpOf('--help');
    // Four more lines say where the other flags are.
    expect(short.trimEnd().split('\n').length).toBeLessThanOrEqual(36);
    expect(rowsOf(short).length).toBeLessThan(16);
    const flags = (await load()).options.map(({ flags }) => /--[\w-]+/.exec(flags)?.[0]);
    expect(rowsOf(await helpOf('--help-all'))).toEqual(expect.arrayContaining(flags));
  },
);

test.each([
  ['replay capture --dry-run --serve :0', '--serve has no effect with --dry-run'],
  ['replay capture --dry-run --serve open', '--serve has no effect with --dry-run'],
  ['capacity capture --slo realtime --simulate --serve :0', '--serve has no effect with --simulate'],
  ['capacity capture --slo realtime --dry-run --serve open', '--serve has no effect with --dry-run'],
])('a page of what sends nothing is refused: %s', async (line, message) => {
  await expect(run(...line.split(' '))).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringContaining(message),
  });
});

test('no flag of a long help stands under a heading that says nothing, and a short one has -q and -v', async () => {
  for (const name of ['replay', 'capacity']) {
    const { program } = await prepare([name, '--help-all']);
    const command = program.commands.find((each) => each.name() === name) as Command;
    expect(command.options.filter(({ helpGroupHeading }) => helpGroupHeading === 'Other:')).toEqual([]);
    const short = command.options.filter((option) => !isRare(option)).map((option) => option.short);
    expect(short).toEqual(expect.arrayContaining(['-q', '-v']));
  }
});

test.each(['--dir', '--hash-key-file', '--encryption-key-file'])(
  'an empty %s keeps no traffic away: the recorder is off, and says so',
  async (flag) => {
    // Behind what refuses empty names for good; nothing is started.
    const args = [
      'record',
      '--dir',
      '/rec',
      '--listen',
      'nowhere',
      '--target',
      'http://127.0.0.1:1',
      flag,
      '',
    ];
    await expect(run(...args)).rejects.toThrow('--listen:');
  },
);

test('an unknown variable is warned of once where the settings of another command line are printed', async () => {
  vi.stubEnv('REPRISE_TARKET', 'x');
  vi.spyOn(terminal, 'print').mockReturnValue(undefined);
  await run('config', 'print', 'record');
  expect(log.lines.map(({ fields }) => fields)).toEqual([
    { variable: 'REPRISE_TARKET', didYouMean: 'REPRISE_TARGET' },
  ]);
});
