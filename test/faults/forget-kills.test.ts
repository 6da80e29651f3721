import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CaptureReader } from '../../src/storage/capture/reader.ts';
import { verifyCapture } from '../../src/storage/capture/verify.ts';
import { placesOf } from '../support/capture-bytes.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US, testHash } from '../support/exchanges.ts';
import { canTrace } from '../support/host-abilities.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const STRACE = '/usr/bin/strace';
const HOUR_US = 3_600_000_000;
const ADA = Buffer.from(testHash.ofIdentity('session', 'Adalberta')).toString('hex');
/** What changes names, what makes them durable, what ends a file: a kill before each of them, once. */
const STEPS = ['rename', 'fsync', 'unlink', 'chmod'];
/** A command makes far fewer of each; one that never ends would make more. */
const CALLS_MAX = 60;

/** Adalberta and Ben in turns, over two segments. */
function conversation(): string {
  return captureOf(
    Array.from({ length: 40 }, (_, index) => {
      const who = index % 2 === 0 ? 'Adalberta' : 'Ben';
      return exchangeOf({
        arrivalUs: TEST_EPOCH_US + index * (HOUR_US / 20),
        session: testHash.ofIdentity('session', who),
        request: requestMessage({ body: `{"prompt":"${who} asks ${index}"}` }),
      });
    }),
  );
}

function exchangesIn(directory: string): number {
  const reader = new CaptureReader(directory);
  try {
    return [...reader.rows()].filter((row) => (reader.payload(row)?.response ?? null) !== null).length;
  } finally {
    reader.close();
  }
}

function verified(directory: string) {
  return verifyCapture(directory, { encryptionKey: null, onSegment: () => {} });
}

async function forgetAda(directory: string, inject: string | null) {
  const reprise = [
    process.execPath,
    join(repositoryRoot, 'bin', 'reprise.js'),
    'forget',
    directory,
    '--session-hash',
    ADA,
  ];
  const [command = '', ...args] =
    inject === null
      ? reprise
      : [
          STRACE,
          '-f',
          '-qq',
          '-o',
          '/dev/null',
          '-e',
          `trace=${inject.split(':')[0]}`,
          '-e',
          `inject=${inject}`,
          ...reprise,
        ];
  return await runProcess(command, args);
}

describe.skipIf(!canTrace)('a forget that is killed (no strace, or it may not attach)', () => {
  it.each(STEPS)(
    'before any %s leaves each segment old or new, sound, and is ended by the next',
    {
      timeout: 300_000,
    },
    async (step) => {
      const original = conversation();
      let kills = 0;
      for (let call = 1; call <= CALLS_MAX; call += 1) {
        const directory = join(temporaryDirectory(), 'capture');
        cpSync(original, directory, { recursive: true });
        const { status } = await forgetAda(directory, `${step}:signal=SIGKILL:when=${call}`);
        // Every segment is whole: 20 exchanges when it is the old one, 10 when it is the new one.
        expect(verified(directory)).toMatchObject({ problems: [] });
        expect([40, 30, 20]).toContain(exchangesIn(directory));
        if (status === 0) break;
        kills += 1;
        expect((await forgetAda(directory, null)).status).toBe(0);
        expect(verified(directory)).toMatchObject({ ok: true, exchanges: 20, leftovers: [] });
        expect(placesOf(directory, 'Adalberta')).toEqual([]);
      }
      expect(kills).toBeGreaterThan(0);
      expect(kills).toBeLessThan(CALLS_MAX);
    },
  );
});
