import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { removeOlderRuns } from '../../../src/storage/runs/retention.ts';
import { SqliteRunStore } from '../../../src/storage/runs/store.ts';
import { run } from '../../support/sends.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const TOTALS = { planned: 0, sent: 0, completed: 0, failed: 0, cancelled: 0, refused: 0 };
const DAY_MS = 86_400_000;
const NOW_US = 1_794_000_000_000_000;

/** A run that began and ended so many days before now. */
function runOf(
  parent: string,
  name: string,
  daysAgo: number,
  summary: object | null = { kind: 'replay' },
): string {
  const directory = join(parent, name);
  const store = new SqliteRunStore(directory);
  const atUs = NOW_US - daysAgo * DAY_MS * 1e3;
  if (summary === null) store.close();
  else store.seal(run({ startedAtUs: atUs, endedAtUs: atUs }), TOTALS, summary);
  return directory;
}

const count = (runs: number) => ({ kind: 'count', runs }) as const;

describe('removeOlderRuns', () => {
  test('keeps the newest, the new one among them', () => {
    const parent = temporaryDirectory();
    for (const [name, daysAgo] of [
      ['c', 3],
      ['a', 1],
      ['d', 4],
      ['b', 2],
    ] as const)
      runOf(parent, name, daysAgo);
    const { removed, failed } = removeOlderRuns(`${join(parent, 'a')}/`, count(2), NOW_US);
    expect(failed).toEqual([]);
    expect(removed).toEqual([join(parent, 'c'), join(parent, 'd')]);
    expect(readdirSync(parent).sort()).toEqual(['a', 'b']);
  });

  test('keeps those that ended within a time, and the new one however old its clock says it is', () => {
    const parent = temporaryDirectory();
    for (const daysAgo of [0, 29, 31, 400]) runOf(parent, `run-${daysAgo}`, daysAgo);
    removeOlderRuns(join(parent, 'run-400'), { kind: 'age', ms: 30 * DAY_MS }, NOW_US);
    expect(readdirSync(parent).sort()).toEqual(['run-0', 'run-29', 'run-400']);
  });

  test('removes what was played to calibrate together with its run', () => {
    const parent = temporaryDirectory();
    const old = runOf(parent, 'old', 9);
    runOf(old, 'calibration', 9, { kind: 'calibration' });
    const { removed } = removeOlderRuns(runOf(parent, 'new', 0), count(1), NOW_US);
    expect(removed).toEqual([old]);
    expect(existsSync(old)).toBe(false);
  });

  test('never removes anything that is not a sealed run', () => {
    const parent = temporaryDirectory();
    const elsewhere = runOf(temporaryDirectory(), 'elsewhere', 9);
    const kept = [
      runOf(parent, 'unsealed', 9, null),
      runOf(parent, 'another-kind', 9, { kind: 'calibration' }),
      runOf(parent, 'with-notes', 9),
    ];
    writeFileSync(join(parent, 'with-notes', 'notes.md'), 'mine');
    symlinkSync(elsewhere, join(parent, 'link'));
    writeFileSync(join(parent, 'summary.json'), '{}');
    for (const [name, database] of [
      ['fake', 'no database'],
      ['empty', ''],
    ] as const) {
      mkdirSync(join(parent, name));
      writeFileSync(join(parent, name, 'run.sqlite'), database);
      writeFileSync(join(parent, name, 'summary.json'), '{"kind":"replay"}');
      kept.push(join(parent, name));
    }
    const before = readdirSync(parent).length;
    const result = removeOlderRuns(join(parent, 'new'), count(1), NOW_US);
    expect(result).toEqual({ removed: [], failed: [] });
    expect(readdirSync(parent)).toHaveLength(before);
    expect([...kept, elsewhere].every((path) => existsSync(path))).toBe(true);
  });

  test('takes a folder that is called calibration for nothing but what it holds', () => {
    const parent = temporaryDirectory();
    const notes = runOf(parent, 'notes', 9);
    mkdirSync(join(notes, 'calibration'));
    writeFileSync(join(notes, 'calibration', 'weights.bin'), 'mine');
    symlinkSync(runOf(temporaryDirectory(), 'elsewhere', 9), join(runOf(parent, 'link', 9), 'calibration'));
    runOf(runOf(parent, 'replay', 9), 'calibration', 9);
    runOf(runOf(parent, 'unsealed', 9), 'calibration', 9, null);
    const both = runOf(runOf(parent, 'more', 9), 'calibration', 9, { kind: 'calibration' });
    writeFileSync(join(both, 'notes.md'), 'mine');
    const result = removeOlderRuns(join(parent, 'new'), count(1), NOW_US);
    expect(result).toEqual({ removed: [], failed: [] });
    expect(readdirSync(parent).sort()).toEqual(['link', 'more', 'notes', 'replay', 'unsealed']);
  });

  test('says which it could not remove', () => {
    const parent = temporaryDirectory();
    const old = runOf(parent, 'old', 9);
    const refuse = (directory: string) => {
      throw new Error(`EACCES: ${directory}`);
    };
    const { removed, failed } = removeOlderRuns(runOf(parent, 'new', 0), count(1), NOW_US, refuse);
    expect(removed).toEqual([]);
    expect(failed).toEqual([{ directory: old, reason: `EACCES: ${old}` }]);
    expect(existsSync(old)).toBe(true);
  });
});
