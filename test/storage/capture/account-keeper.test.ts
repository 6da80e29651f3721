import { spawnSync } from 'node:child_process';
import { constants, existsSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { accountFileOf, type LifeAccount } from '../../../src/core/accounting.ts';
import { AccountKeeper } from '../../../src/storage/capture/account-keeper.ts';
import { besideOf } from '../../../src/storage/capture/accounts.ts';
import { SpareAccount } from '../../../src/storage/capture/spare-account.ts';
import { accountOf } from '../../support/accounts.ts';
import { LogBook } from '../../support/log-book.ts';
import { RETHROWING } from '../../support/tap-side.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const LIFE = 'abcdef01';
/** No capture can be there. */
const CAPTURE = '/proc/reprise-cannot-be-here';
/** As many as a process has for files and for names. */
const THREADS = 4;

function keeperOf(
  dir: string,
  accountOf: () => LifeAccount,
  { opensFirst = false, logger = new LogBook() } = {},
): AccountKeeper {
  const others = { opensFirst, noticeAt: () => undefined, logger, guard: RETHROWING };
  return new AccountKeeper({ dir, accountOf, ...others });
}

let hanging = '';
afterEach(() => {
  // Lets every write go on, so that the process can end.
  if (hanging !== '') openSync(hanging, constants.O_RDONLY | constants.O_NONBLOCK);
  vi.unstubAllEnvs();
});

it('holds one thread at most with writes to a second place that hangs, because names are resolved there too', async () => {
  vi.stubEnv('TMPDIR', temporaryDirectory());
  const { path = '' } = (await SpareAccount.of(CAPTURE, LIFE)) ?? {};
  // A process that opens it to write waits for a reader.
  expect(spawnSync('mkfifo', [path]).status).toBe(0);
  hanging = path;
  let atUs = 0;
  const keeper = keeperOf(CAPTURE, () => accountOf({ life: LIFE, atUs }));
  await keeper.begin(10);
  for (let call = 0; call < 2 * THREADS; call += 1) {
    atUs += 2e6;
    keeper.write();
  }
  await stat(CAPTURE).catch(() => null);
});

it('removes what a full disk left of the account beside the capture, once the capture takes it', async () => {
  const capture = join(temporaryDirectory(), 'capture');
  // An empty file gets its name if there is no room for more.
  const beside = besideOf(capture, accountFileOf(LIFE));
  writeFileSync(beside, '');
  const keeper = keeperOf(capture, () => accountOf({ life: LIFE, ended: true }));
  await keeper.begin(10_000);
  await keeper.end(10_000);
  expect(readdirSync(capture)).toEqual([accountFileOf(LIFE)]);
  expect(existsSync(beside)).toBe(false);
});

it.each([
  ['listens first', false, 1],
  ['opens its capture first', true, 0],
])('logs once that an account cannot be written by a recording that %s', async (_, opensFirst, lines) => {
  vi.stubEnv('TMPDIR', temporaryDirectory());
  const logger = new LogBook();
  const dir = '/dev/null/capture';
  const keeper = keeperOf(dir, () => accountOf({ life: LIFE }), { opensFirst, logger });
  await keeper.begin(5_000);
  expect(logger.lines).toHaveLength(lines);
  // From here on traffic passes, so the account is missed.
  keeper.moveTo(dir);
  await keeper.end(5_000);
  expect(logger.lines).toHaveLength(1);
});
