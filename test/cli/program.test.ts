import { afterEach, expect, test, vi } from 'vitest';
import { prepare } from '../../src/cli/commands/index.ts';
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
    ['record', '--dir', '/rec', '--target', 'x', '--tls-cert', ''],
    '--tls-cert: the name of the file is empty',
  ],
  [['forget', '/no/such', '--hash-key-file', ''], '--hash-key-file: the name of the file is empty'],
])('a path that an unset variable left empty is refused: %j', async (args, reason) => {
  await expect(run(...args)).rejects.toThrow(reason);
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
