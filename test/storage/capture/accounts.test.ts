import { copyFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { accountFileOf } from '../../../src/core/accounting.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { earlierAccounts, writtenBy } from '../../../src/storage/capture/accounts.ts';
import { formatSegmentName, hourOf } from '../../../src/storage/capture/directory.ts';
import { inspectCapture, surveyCapture } from '../../../src/storage/capture/inspect.ts';
import { SegmentWriter } from '../../../src/storage/capture/segment-writer.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { accountOf } from '../../support/accounts.ts';
import { newCapture, writerOptions } from '../../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';

const ID = '7f3a9c21';

/** The account of the life that writers of tests have. */
function lostBy(atUs: number, exchanges: number) {
  return accountOf({ life: ID, atUs, lost: { writer_down: { exchanges, bytes: exchanges } } });
}

describe('a recorder that was killed after it had made a segment and before its first commit', () => {
  it('does not make the next one count losses twice, nor what was committed as lost', () => {
    const directory = newCapture();
    const first = new CaptureWriter(writerOptions(directory), systemClock);
    first.append(exchangeOf());
    first.setAccount(lostBy(1, 5));
    const progress = { bytes: 9, turns: 1, exchanges: 1 };
    first.commit(progress);
    first.close();
    const hour = hourOf(TEST_EPOCH_US);
    const path = join(directory, formatSegmentName({ hour, recorder: ID, sequence: 2 }));
    const meta = { ...writerOptions(directory), openedUs: TEST_EPOCH_US, encryption: null };
    new SegmentWriter(path, hour, meta, {
      durability: 'commit',
      cipher: null,
      baseline: lostBy(1, 5),
    }).close();
    const written = writtenBy(directory, ID);
    expect(written.progress).toEqual(progress);
    const second = new CaptureWriter(writerOptions(directory, { account: written.account }), systemClock);
    second.setAccount(lostBy(2, 7));
    second.commit();
    second.close();
    expect(inspectCapture(directory).losses.exchanges).toBe(7);
  });
});

describe('an account file that cannot be read', () => {
  /** A segment, and such a file of another life. */
  function scene(content: string) {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    writer.append(exchangeOf());
    writer.close();
    writeFileSync(join(directory, accountFileOf('other')), content);
    return directory;
  }

  it.each([
    ['empty', ''],
    ['damaged', '{"life":"other","lost":'],
    ['of another life', JSON.stringify(accountOf({ life: 'else' }))],
  ])('makes coverage unknown, and not whole: %s', (_, content) => {
    const document = inspectCapture(scene(content));
    expect(document).toMatchObject({
      exchanges: 1,
      coverage: null,
      coverageAtLeast: null,
      unreadableAccounts: ['other'],
      losses: { exact: false, uncountedAtMost: null },
    });
  });

  it('leaves the coverage of times before its recording as it was, if it is empty', () => {
    const at = (us: number) => [{ fromUs: us, toUs: us + 1 }];
    const coverageAt = (content: string, us: number) => {
      const directory = scene(content);
      const laterS = TEST_EPOCH_US / 1e6 + 60;
      utimesSync(join(directory, accountFileOf('other')), laterS, laterS);
      return surveyCapture(directory).coverageWithin(at(us)).coverage;
    };
    expect(coverageAt('', TEST_EPOCH_US)).toBe(1);
    expect(coverageAt('', TEST_EPOCH_US + 120e6)).toBeNull();
    expect(coverageAt('{', TEST_EPOCH_US)).toBeNull();
  });
});

describe('the accounts of earlier recordings', () => {
  it('travel with the first segment of the next one, and count once where their files are there too', () => {
    const directory = newCapture();
    const killed = accountOf({
      life: 'dead',
      startedUs: TEST_EPOCH_US,
      atUs: TEST_EPOCH_US + 1,
      turnsAhead: 32,
      pending: { bytes: 30, turns: 3 },
      lost: { queue_bytes: { exchanges: 4, bytes: 40 } },
    });
    writeFileSync(join(directory, accountFileOf('dead')), JSON.stringify(killed));
    const options = writerOptions(directory, { earlierAccounts: earlierAccounts(directory, ID) });
    const writer = new CaptureWriter(options, systemClock);
    writer.append(exchangeOf());
    writer.close();
    const elsewhere = newCapture();
    const name = formatSegmentName({ hour: hourOf(TEST_EPOCH_US), recorder: ID, sequence: 1 });
    for (const suffix of ['', '.manifest.json'])
      copyFileSync(join(directory, name + suffix), join(elsewhere, name + suffix));
    for (const place of [directory, elsewhere]) {
      expect(inspectCapture(place)).toMatchObject({
        exchanges: 1,
        coverage: 1 / 8,
        coverageAtLeast: 1 / 40,
        killed: { length: 1 },
        losses: { exchanges: 7, exact: false, uncountedAtMost: 32 },
      });
    }
  });
});
