import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CELL_BYTES, LEDGER_BYTES, LEDGER_FILE, type LifeAccount } from '../../src/core/ledger-cell.ts';
import { LedgerFile, readLives } from '../../src/proxy/ledger-file.ts';
import { WorkMark } from '../../src/proxy/work-mark.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let directory = '';
const open: LedgerFile[] = [];

beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(async () => {
  for (const file of open.splice(0)) await file.close();
});

async function ledger(): Promise<LedgerFile> {
  const file = await LedgerFile.open(directory);
  open.push(file);
  return file;
}

function accountOf(life: string, atUs: number, changes: Partial<LifeAccount> = {}): LifeAccount {
  return {
    life,
    number: 0,
    state: 'open',
    startedUs: 1,
    atUs,
    seen: { bytes: 1_000, turns: 10 },
    recorded: { bytes: 900, turns: 9 },
    lost: {},
    omitted: {},
    pending: { bytes: 100, turns: 1 },
    untold: [],
    ...changes,
  };
}

const QUOTA = { reason: 'quota' as const, exchanges: 3, bytes: 300, fromUs: 10, toUs: 20 };

describe('the ledger of a capture', () => {
  it('is really allocated from the start, private, and never grows', async () => {
    const file = await ledger();
    const before = statSync(join(directory, LEDGER_FILE));
    expect([before.size, before.mode & 0o777]).toEqual([LEDGER_BYTES, 0o600]);
    expect(before.blocks * 512).toBeGreaterThanOrEqual(LEDGER_BYTES);
    for (let at = 0; at < 20; at += 1) await file.write(accountOf('a', at));
    const after = statSync(join(directory, LEDGER_FILE));
    expect([after.size, after.blocks]).toEqual([before.size, before.blocks]);
  });

  it('owes nothing when it is new', async () => {
    expect((await ledger()).untold('b', 99)).toEqual([]);
  });

  it('tells what a killed recording had pending and untold', async () => {
    await (await ledger()).write(accountOf('a', 50, { untold: [QUOTA] }));
    expect((await ledger()).untold('b', 99)).toEqual([
      QUOTA,
      { reason: 'crash_gap', exchanges: 1, bytes: 100, fromUs: 50, toUs: 99 },
    ]);
  });

  it('takes from what was pending what was committed after the last account, and its bytes by that share', async () => {
    const pending = { pending: { bytes: 1_000, turns: 10 }, exchanges: 9, knownUntilUs: 40 };
    await (await ledger()).write(accountOf('a', 50, pending));
    const file = await ledger();
    expect(file.untold('b', 99, [{ life: 'a', exchanges: 15 }])).toEqual([
      { reason: 'crash_gap', exchanges: 4, bytes: 400, fromUs: 40, toUs: 99 },
    ]);
    expect(file.untold('b', 99, [{ life: 'a', exchanges: 25 }])).toEqual([]);
    // Segments that are not there any more make nothing lost that was not pending.
    expect(file.untold('b', 99, [{ life: 'a', exchanges: 2 }])).toMatchObject([{ exchanges: 10 }]);
  });

  it('keeps of a life that was killed when the next recording found it', async () => {
    await (await ledger()).write(accountOf('killed', 50));
    const ended = await ledger();
    await ended.write(accountOf('ended', 60, { state: 'ended' }));
    await (await ledger()).settleOthers('next', 99);
    const lives = await readLives(directory);
    expect(lives.map(({ life, state, foundUs }) => [life, state, foundUs])).toEqual([
      ['killed', 'told', 99],
      ['ended', 'told', undefined],
    ]);
  });

  it('tells of one that ended in good order only what it could not tell', async () => {
    await (await ledger()).write(accountOf('a', 50, { state: 'ended', untold: [QUOTA] }));
    expect((await ledger()).untold('b', 99)).toEqual([QUOTA]);
  });

  it('tells it once: the next recording has it in its own account', async () => {
    await (await ledger()).write(accountOf('a', 50));
    const second = await ledger();
    const untold = second.untold('b', 99);
    await second.write(accountOf('b', 60, { pending: { bytes: 0, turns: 0 }, untold }));
    // Killed here, both still say so: told twice is better than not at all.
    expect((await ledger()).untold('c', 99)[0]).toMatchObject({ reason: 'crash_gap', exchanges: 2 });
    await second.settleOthers('b');
    expect((await ledger()).untold('c', 99)).toEqual(untold);
  });

  it('loses at most the last writing when that was torn', async () => {
    const file = await ledger();
    for (const bytes of [1, 2, 3]) await file.write(accountOf('a', bytes, { pending: { bytes, turns: 1 } }));
    // The third writing lies in the second cell.
    const raw = openSync(join(directory, LEDGER_FILE), 'r+');
    writeSync(raw, Buffer.alloc(100, 'x'), 0, 100, CELL_BYTES + 100);
    closeSync(raw);
    expect((await ledger()).untold('b', 99)).toMatchObject([{ reason: 'crash_gap', bytes: 2 }]);
  });

  it('has room for any number of lives: the oldest goes', async () => {
    for (let life = 0; life < 130; life += 1) {
      const file = await LedgerFile.open(directory);
      await file.write(accountOf(`life ${life}`, life));
      await file.settleOthers(`life ${life}`);
      await file.close();
    }
    expect(statSync(join(directory, LEDGER_FILE)).size).toBe(LEDGER_BYTES);
    expect((await ledger()).untold('next', 999)).toMatchObject([
      { reason: 'crash_gap', bytes: 100, fromUs: 129 },
    ]);
  });

  it('refuses whoever was taken over to write on', async () => {
    const first = await ledger();
    expect(await first.write(accountOf('a', 1))).toBe(true);
    const second = await ledger();
    await second.write(accountOf('b', 2));
    await second.settleOthers('b');
    expect(await first.write(accountOf('a', 3))).toBe(false);
  });

  it('is made whole when it was cut short', async () => {
    writeSync(openSync(join(directory, LEDGER_FILE), 'w'), Buffer.alloc(5_000, 1));
    await (await ledger()).write(accountOf('a', 50));
    expect(statSync(join(directory, LEDGER_FILE)).size).toBe(LEDGER_BYTES);
    expect((await ledger()).untold('b', 99)).toHaveLength(1);
  });
});

describe('the mark of a recorder at work', () => {
  it('names the connection that was worked at, and none in between', async () => {
    const file = await ledger();
    const mark = WorkMark.open(directory);
    expect(await file.readMark()).toBeNull();
    mark?.set(3, 4_000_000_000);
    expect(await file.readMark()).toEqual({ slot: 3, connection: 4_000_000_000 });
    mark?.clear();
    expect(await file.readMark()).toBeNull();
    mark?.set(0, 1);
    expect(await file.readMark()).toEqual({ slot: 0, connection: 1 });
    mark?.retire();
    mark?.set(0, 2);
    expect(await file.readMark()).toBeNull();
  });

  it('is none where there is no ledger', async () => {
    expect(WorkMark.open(directory)).toBeNull();
  });

  it('is no account', async () => {
    const file = await ledger();
    await file.write(accountOf('a', 50));
    WorkMark.open(directory)?.set(1, 1);
    expect((await ledger()).untold('a', 99)).toEqual([]);
    expect((await ledger()).untold('b', 99)).toHaveLength(1);
  });
});
