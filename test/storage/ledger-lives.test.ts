import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  CELL_BYTES,
  cellOffsetOf,
  encodeCell,
  LEDGER_FILE,
  type LifeAccount,
} from '../../src/core/ledger-cell.ts';
import { LedgerFile } from '../../src/proxy/ledger-file.ts';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { followedBy, killedIn, livesOf } from '../../src/storage/ledger-lives.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const NONE = { bytes: 0, turns: 0 };

let directory = '';
beforeEach(() => {
  directory = temporaryDirectory();
});

/** Recordings that followed each other, each of which found the ones before it. */
async function lived(...accounts: readonly (Partial<LifeAccount> & { life: string; startedUs: number })[]) {
  for (const account of accounts) {
    const file = await LedgerFile.open(directory);
    const nothing = { seen: NONE, recorded: NONE, lost: {}, omitted: {}, pending: NONE, untold: [] };
    await file.write({ state: 'open', atUs: account.startedUs + 5, exchanges: 0, ...nothing, ...account });
    await file.settleOthers(account.life, account.startedUs + 1);
    await file.close();
  }
}

function notedBy(life: string, nowUs: number): string[] {
  return followedBy(directory, life, nowUs).killed.map((one) => one.life);
}

describe('what a recorder notes of the recordings before it', () => {
  it('is each that was killed, also where those that found them were killed before they had a segment', async () => {
    await lived(
      { life: 'old', startedUs: 10 },
      { life: 'first', startedUs: 20, exchanges: 9 },
      { life: 'idle', startedUs: 30 },
      { life: 'idle too', startedUs: 40 },
    );
    expect(notedBy('next', 50).sort()).toEqual(['first', 'idle', 'idle too']);
  });

  it('is noted by the first alone that has something to write', async () => {
    await lived(
      { life: 'killed', startedUs: 10 },
      { life: 'finder', startedUs: 20, exchanges: 9, state: 'ended' },
      { life: 'later', startedUs: 30, exchanges: 9, state: 'ended' },
    );
    expect(notedBy('next', 40)).toEqual([]);
  });

  it('is one that was killed, also where a segment of it is damaged, so that nobody knows what it committed', async () => {
    const startedUs = TEST_EPOCH_US - 1;
    directory = captureOf([exchangeOf({})]);
    const [segment] = segmentsOf(directory);
    const database = new Database(segment?.path ?? '');
    database.exec('DROP TABLE hour');
    database.close();
    await lived({ life: 'killed', startedUs, atUs: TEST_EPOCH_US + 1e12, pending: { bytes: 9, turns: 2 } });
    const { killed, committed } = followedBy(directory, 'next', TEST_EPOCH_US + 2e12);
    expect({ killed: killed.map(({ life }) => life), committed }).toEqual({
      killed: ['killed'],
      committed: [],
    });
  });

  it('is none whose forwarders had ended: it stops, and has let go of the capture', async () => {
    await lived({ life: 'stopping', startedUs: 10, complete: true });
    expect(notedBy('next', 20)).toEqual([]);
    await lived({ life: 'next', startedUs: 20 });
    expect(notedBy('another', 30)).toEqual(['next']);
  });
});

describe('a recording whose lock cannot be asked for', () => {
  const nowUs = Date.now() * 1000;
  /** By the clock here it was written 20 s ago; at the second look `then` has happened. */
  function found(then: () => void): string[] {
    let looks = 0;
    const nowNs = () => {
      looks += 1;
      if (looks === 2) then();
      return looks * 1e9;
    };
    const clock = { nowNs, epochUs: () => nowUs, anchor: () => ({ monotonicNs: 0, epochUs: nowUs }) };
    return killedIn(directory, clock).map(({ life }) => life);
  }

  it('is not called killed where it writes on, however far its clock is behind the one here', async () => {
    await lived({ life: 'runs', startedUs: nowUs - 30e6, atUs: nowUs - 20e6 });
    const [account] = livesOf(directory) as [LifeAccount];
    const next = { ...account, number: account.number + 1, atUs: account.atUs + 1e6 };
    const file = openSync(join(directory, LEDGER_FILE), 'r+');
    expect(
      found(() => writeSync(file, encodeCell(next), 0, CELL_BYTES, cellOffsetOf(0, next.number))),
    ).toEqual([]);
    closeSync(file);
  });

  it('is called killed where it does not', async () => {
    await lived({ life: 'killed', startedUs: nowUs - 30e6, atUs: nowUs - 20e6 });
    expect(found(() => undefined)).toEqual(['killed']);
  });
});
