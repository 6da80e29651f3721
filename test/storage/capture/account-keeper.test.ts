import { spawnSync } from 'node:child_process';
import { constants, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { afterEach, expect, it, vi } from 'vitest';
import { AccountKeeper } from '../../../src/storage/capture/account-keeper.ts';
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
  const keeper = new AccountKeeper({
    dir: CAPTURE,
    accountOf: () => accountOf({ life: LIFE, atUs }),
    noticeAt: () => undefined,
    logger: new LogBook(),
    guard: RETHROWING,
  });
  await keeper.begin(10);
  for (let call = 0; call < 2 * THREADS; call += 1) {
    atUs += 2e6;
    keeper.write();
  }
  await stat(CAPTURE).catch(() => null);
});
