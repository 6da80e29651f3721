import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { HistoryRun } from '../../src/documents/history.ts';
import { openForWriting } from '../../src/storage/capture/sqlite.ts';
import { History } from '../../src/storage/history.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const ALL = { kind: 'count', runs: 1_000 } as const;
const newFile = () => join(temporaryDirectory(), 'history.sqlite');

function runAt(day: number, parts: Partial<HistoryRun> = {}): HistoryRun {
  return {
    run: `run-${day}`,
    test: 'nightly',
    command: 'replay',
    startedAt: `2026-11-${String(day).padStart(2, '0')}T00:00:00.123456Z`,
    durationS: 60.5,
    verdict: 'PASS',
    result: 'passed',
    capture: 'monday',
    target: 'http://staging',
    version: '1',
    directory: `/runs/run-${day}`,
    figures: [{ name: 'latency_p99', unit: 'ms', value: day }],
    ...parts,
  };
}

function historyOf(runs: readonly HistoryRun[], kept: Parameters<History['add']>[1] = ALL): History {
  const history = new History(newFile(), 'write');
  for (const run of runs) history.add(run, kept);
  return history;
}
const ids = (history: History, most = 1_000) => history.runs(null, most).map(({ run }) => run);

describe('a history', () => {
  test('gives back what was added, the oldest first, to its owner alone', () => {
    const file = newFile();
    const history = new History(file, 'write');
    for (const day of [3, 1, 2]) history.add(runAt(day), ALL);
    history.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const read = new History(file, 'read');
    expect(read.runs('nightly', 10)).toEqual([runAt(1), runAt(2), runAt(3)]);
    expect(read.runs('nightly', 2)).toEqual([runAt(2), runAt(3)]);
    expect(read.runs('other', 2)).toEqual([]);
    read.close();
  });

  test('has a run once, with its last figures', () => {
    const history = historyOf([runAt(1), runAt(1, { figures: [{ name: 'sent', unit: 'count', value: 5 }] })]);
    expect(history.runs(null, 9).map(({ figures }) => figures)).toEqual([
      [{ name: 'sent', unit: 'count', value: 5 }],
    ]);
  });

  test('has the limits of figures, and reads a history whose runs were added without them', () => {
    const file = newFile();
    const limited = { figures: [{ name: 'latency_p99', unit: 'ms', value: 7, limit: 200 }] } as const;
    const history = new History(file, 'write');
    history.add(runAt(1), ALL);
    history.add(runAt(2, limited), ALL);
    history.close();
    expect(new History(file, 'read').runs(null, 9)).toEqual([runAt(1), runAt(2, limited)]);
    const earlier = openForWriting(file, 'commit');
    earlier.exec('DROP TABLE figure_limit');
    earlier.close();
    const old = new History(file, 'read').runs(null, 9);
    expect(old.map(({ figures }) => figures[0]?.limit)).toEqual([undefined, undefined]);
    const again = new History(file, 'write');
    again.add(runAt(2, limited), ALL);
    expect(again.runs(null, 9)).toEqual([runAt(1), runAt(2, limited)]);
  });

  test('has the demand of days by test, and keeps the newest thousand', () => {
    const file = newFile();
    const history = new History(file, 'write');
    const dayOf = (at: number) => new Date(at * 86_400e3).toISOString().slice(0, 10);
    const days = Array.from({ length: 1_005 }, (_, at) => ({ day: dayOf(at), perSecond: at }));
    history.addDemand('monthly', days.slice(0, 700));
    history.addDemand('monthly', days.slice(600));
    history.addDemand('spike', [{ day: '2026-11-01', perSecond: 1 }]);
    history.addDemand('spike', [{ day: '2026-11-01', perSecond: 2 }]);
    history.close();
    const read = new History(file, 'read');
    expect(read.demand('monthly')).toEqual(days.slice(5));
    expect(read.demand('spike')).toEqual([{ day: '2026-11-01', perSecond: 2 }]);
    expect(read.demand('other')).toEqual([]);
    read.close();
    const earlier = openForWriting(file, 'commit');
    earlier.exec('DROP TABLE demand');
    earlier.close();
    expect(new History(file, 'read').demand('spike')).toEqual([]);
  });

  test('keeps a number of the newest of each test, or those of a time', () => {
    const others = [runAt(1, { run: 'a', test: 'spike' })];
    expect(ids(historyOf([...others, runAt(1), runAt(2), runAt(3)], { kind: 'count', runs: 2 }))).toEqual([
      'run-2',
      'run-3',
      'a',
    ]);
    const days = { kind: 'age', ms: 2 * 86_400_000 } as const;
    expect(ids(historyOf([runAt(1), runAt(6), runAt(7)], days))).toEqual(['run-6', 'run-7']);
    // An old run that is told late stays until another is added.
    expect(ids(historyOf([runAt(7), runAt(1)], { kind: 'count', runs: 1 }))).toEqual(['run-1', 'run-7']);
  });

  test('knows the last run of a test with the verdict PASS before an instant, and takes no run without a verdict for one', () => {
    const history = historyOf([
      runAt(1),
      runAt(2),
      runAt(3, { verdict: 'FAIL', result: 'failed' }),
      runAt(4, { verdict: null }),
      runAt(5, { test: 'spike' }),
    ]);
    const passBefore = (day: number) => history.latestPass('nightly', runAt(day).startedAt);
    expect(passBefore(9)?.run).toBe('run-2');
    expect(passBefore(2)?.directory).toBe('/runs/run-1');
    expect(passBefore(1)).toBeNull();
  });

  test('takes runs of two processes', () => {
    const file = newFile();
    const [one, other] = [new History(file, 'write'), new History(file, 'write')];
    one.add(runAt(1), ALL);
    other.add(runAt(2), ALL);
    one.add(runAt(3), ALL);
    expect(ids(other)).toEqual(['run-1', 'run-2', 'run-3']);
    one.close();
    other.close();
  });

  test('refuses what is none, and what a later version wrote', () => {
    const text = newFile();
    writeFileSync(text, 'no database at all, but longer than a header of one would be '.repeat(20));
    const database = newFile();
    openForWriting(database, 'commit').exec('CREATE TABLE a (b)').close();
    const later = newFile();
    new History(later, 'write').close();
    openForWriting(later, 'commit').exec('UPDATE meta SET value = 2').close();
    for (const access of ['read', 'write'] as const) {
      expect(() => new History(text, access)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }));
      expect(() => new History(database, access)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }));
      expect(() => new History(later, access)).toThrow(expect.objectContaining({ code: 'SCHEMA_TOO_NEW' }));
    }
    expect(() => new History(newFile(), 'read')).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }));
    expect(() => new History(join(newFile(), 'x'), 'write')).toThrow(
      expect.objectContaining({ code: 'OUTPUT_UNWRITABLE' }),
    );
  });
});
