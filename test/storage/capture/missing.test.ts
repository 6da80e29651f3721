import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { accountFileOf, type Counted, type LifeAccount } from '../../../src/core/accounting.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import type { InspectDocument } from '../../../src/storage/capture/inspect.ts';
import type { VerifyDocument } from '../../../src/storage/capture/verify.ts';
import { newCapture } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { TEST_EPOCH_US } from '../../support/exchanges.ts';
import { type LifeParts, live } from '../../support/lives.ts';

const HOUR_US = 3_600_000_000;

/** A recording with its account. */
function recorded(parts: LifeParts, account: Partial<LifeAccount> = {}, end = true): string {
  return live({ ...parts, account }, end);
}

/** Three recordings of one directory, one after the other. */
function threeRecordings(): string {
  const directory = newCapture();
  recorded({ id: 'aa', directory, hours: 1, perHour: 30 });
  recorded({ id: 'bb', directory, hours: 2, startHour: 1, perHour: 20 });
  recorded({ id: 'cc', directory, hours: 1, startHour: 3, perHour: 30 });
  return directory;
}

function remove(directory: string, life: string, ...sequences: number[]): void {
  for (const { path, recorder, sequence } of segmentsOf(directory)) {
    if (recorder !== life || (sequences.length > 0 && !sequences.includes(sequence))) continue;
    for (const suffix of ['', '.manifest.json', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
  }
}

async function inspect(...args: readonly string[]): Promise<InspectDocument> {
  const { stdout } = await runCommand(['inspect', ...args, '--json']);
  return JSON.parse(stdout) as InspectDocument;
}

async function verify(directory: string): Promise<VerifyDocument & { readonly status: number | null }> {
  const { status, stdout } = await runCommand(['verify', directory, '--json']);
  return { ...(JSON.parse(stdout) as VerifyDocument), status };
}

const iso = (hours: number) =>
  new Date((TEST_EPOCH_US + hours * HOUR_US) / 1000).toISOString().replace('Z', '000Z');

describe('a recording whose segments are gone, with their manifests', () => {
  it.each([
    ['aa', 30, 0],
    ['bb', 40, 1],
    ['cc', 30, 3],
  ])('is named and counted: %s', async (life, exchanges, startHour) => {
    const directory = threeRecordings();
    expect(await inspect(directory)).toMatchObject({ coverage: 1, missing: { exchanges: 0 } });
    remove(directory, life);
    const document = await inspect(directory);
    expect(document).toMatchObject({
      exchanges: 100 - exchanges,
      coverage: (100 - exchanges) / 100,
      coverageAtLeast: (100 - exchanges) / 100,
      unexplained: exchanges / 100,
      missing: { exchanges, recorders: null },
    });
    expect(document.recorders.find(({ id }) => id === life)).toMatchObject({
      segments: 0,
      exchanges: 0,
      startedAt: iso(startHour),
      end: 'stopped',
      gaps: [{ kind: 'missing', from: iso(startHour), exchanges }],
    });
    const { stdout } = await runCommand(['inspect', directory]);
    expect(stdout).toMatch(new RegExp(`^missing +${exchanges} exchanges: .*${life}`, 'm'));
    const checked = await verify(directory);
    expect(checked).toMatchObject({ ok: false, status: 3 });
    expect(checked.problems).toMatchObject([{ file: accountFileOf(life), kind: 'missing' }]);
  });

  it('is not called missing if it saw nothing, or if its recorder had nothing to write', async () => {
    const directory = threeRecordings();
    recorded({ id: 'dd', directory, hours: 0, startHour: 4 });
    expect(await inspect(directory)).toMatchObject({ coverage: 1, missing: { exchanges: 0 } });
    expect(await verify(directory)).toMatchObject({ ok: true, problems: [] });
  });
});

describe('segments of a recording that are gone', () => {
  it.each([
    [[1], 0],
    [[2, 3], 1],
    [[4], 3],
  ])('are counted by what the others and the account hold: %j', async (sequences, fromHour) => {
    const directory = recorded({ id: 'aa', hours: 4, perHour: 25 });
    remove(directory, 'aa', ...sequences);
    const exchanges = 25 * sequences.length;
    const document = await inspect(directory);
    expect(document).toMatchObject({
      exchanges: 100 - exchanges,
      coverage: (100 - exchanges) / 100,
      missing: { exchanges },
      losses: { exact: true },
    });
    const [gap] = document.recorders[0]?.gaps ?? [];
    expect(gap).toMatchObject({ kind: 'missing', exchanges });
    expect(Date.parse(gap?.from ?? '') / 1e3).toBeCloseTo(Date.parse(iso(fromHour)) / 1e3, -1);
    expect(await verify(directory)).toMatchObject({ ok: false });
  });

  it('take with them the losses that only they had recorded, which are counted all the same', async () => {
    const lost = (exchanges: number): Counted => ({ exchanges, turns: exchanges, bytes: exchanges });
    const directory = newCapture();
    recorded({ id: 'aa', directory, hours: 3, lostOf: (hour) => ({ queue_bytes: lost(5 * (hour + 1)) }) });
    expect((await inspect(directory)).losses.exchanges).toBe(15);
    remove(directory, 'aa', 2);
    expect(await inspect(directory)).toMatchObject({
      losses: { exchanges: 15, exact: true },
      coverage: 20 / 45,
    });
  });

  it('leave the windows alone in which nothing is missing', async () => {
    const directory = recorded({ id: 'aa', hours: 4, perHour: 25 });
    remove(directory, 'aa', 2);
    const coverageOf = async (from: number, to: number) => {
      const window = ['--window', `${iso(from)}..${iso(to)}`];
      const { stdout } = await runCommand(['replay', directory, ...window, '--dry-run', '--json']);
      return (JSON.parse(stdout) as { coverage: number | null }).coverage;
    };
    expect(await coverageOf(2, 4)).toBe(1);
    expect(await coverageOf(0, 4)).toBeCloseTo(0.75, 2);
    // One hour of two, of which nothing before the first arrival counts.
    expect(await coverageOf(0, 2)).toBeLessThan(0.6);
  });

  it('are not missing if retention removed them, and may be elsewhere if they were shipped', async () => {
    const directory = recorded({ id: 'aa', hours: 4, perHour: 25 });
    const [first] = segmentsOf(directory);
    cpSync(`${first?.path}.manifest.json`, `${first?.path}.handed`);
    remove(directory, 'aa', 1);
    const document = await inspect(directory);
    expect(document).toMatchObject({ coverage: 1, missing: { exchanges: 0 } });
    expect(document.recorders[0]?.gaps).toMatchObject([{ kind: 'shipped', exchanges: 25 }]);
    expect(await verify(directory)).toMatchObject({ ok: true });
  });

  it('have no number if their recording wrote none, and then nothing is called whole', async () => {
    const directory = live({ id: 'aa', hours: 3 });
    remove(directory, 'aa', 2);
    expect(await inspect(directory)).toMatchObject({
      coverage: null,
      coverageAtLeast: null,
      missing: { exchanges: null },
      losses: { exact: false, uncountedAtMost: null },
    });
  });
});

describe('a segment that is not sealed and whose write-ahead log is gone', () => {
  it('is named by inspect and verify, and nothing is called whole', async () => {
    const live = recorded({ id: 'aa', hours: 2, perHour: 25 }, {}, false);
    const copy = newCapture();
    for (const file of readdirSync(live).filter((name) => /\.(sqlite|manifest\.json)$/.test(name)))
      cpSync(join(live, file), join(copy, file));
    const open = segmentsOf(copy).find(({ sealed }) => !sealed)?.file;
    for (const directory of [copy, copy]) {
      expect(await inspect(directory)).toMatchObject({
        withoutLog: [open],
        coverage: null,
        coverageAtLeast: null,
        losses: { exact: false },
      });
      const checked = await verify(directory);
      expect(checked).toMatchObject({ ok: false, status: 3 });
      expect(checked.problems).toMatchObject([{ file: open, kind: 'log' }]);
    }
    const { stdout } = await runCommand(['inspect', copy]);
    expect(stdout).toContain(`${open}`);
    expect(await inspect(live)).toMatchObject({ withoutLog: [] });
  });
});

describe('a capture with accounts of an older version', () => {
  /** Such accounts name no segment and no second place. */
  function aged(directory: string, life: string): string {
    const path = join(directory, accountFileOf(life));
    const { spare: _, segment: __, ...account } = JSON.parse(readFileSync(path, 'utf8')) as LifeAccount;
    writeFileSync(path, JSON.stringify(account));
    return directory;
  }

  it('is read as before if its recording stopped', async () => {
    const directory = aged(recorded({ id: 'aa', hours: 3 }), 'aa');
    expect(await inspect(directory)).toMatchObject({ coverage: 1, losses: { exact: true }, killed: [] });
    remove(directory, 'aa', 3);
    const document = await inspect(directory);
    expect(document).toMatchObject({ missing: { exchanges: 10 } });
    expect(document.recorders[0]?.gaps).toMatchObject([{ kind: 'missing', segments: null, exchanges: 10 }]);
  });

  it('has no lower bound if its recording was killed, and says why', async () => {
    const directory = aged(recorded({ id: 'aa', hours: 3 }, { ended: false, turnsAhead: 32 }, false), 'aa');
    expect(await inspect(directory)).toMatchObject({
      exchanges: 30,
      coverageAtLeast: null,
      killed: [{ uncountedAtMost: null, unknownBecause: 'older_account' }],
    });
    const { stdout } = await runCommand(['inspect', directory]);
    expect(stdout).toMatch(/^killed .*its account is of an older version$/m);
  });
});
