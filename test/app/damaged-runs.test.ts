import {
  chmodSync,
  copyFileSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../src/app/compare.ts';
import { reportRun } from '../../src/app/report.ts';
import { byProgram } from '../../src/core/options.ts';
import type { Run } from '../../src/core/run.ts';
import { calmSends, comparedRun } from '../support/compared-runs.ts';

const COUNT = 900;
const DEFAULTS = resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}));

function runOf(facts: Partial<Run> = {}): string {
  const directory = comparedRun(calmSends(COUNT, 1).a, { run: facts });
  for (const file of ['run.sqlite', 'summary.json']) chmodSync(join(directory, file), 0o600);
  return directory;
}

function edit(directory: string, statement: string): void {
  const database = new Database(join(directory, 'run.sqlite'));
  database.exec(statement);
  database.close();
}

function report(directory: string) {
  return reportRun({ directory, capture: null });
}

describe('a run whose rows are not those of its summary', () => {
  test('is not compared when rows were taken out of it, and its report is not valid', async () => {
    const [whole, cut] = [runOf(), runOf()];
    edit(cut, 'DELETE FROM send_row WHERE send_index >= 850');
    const differences =
      'sent 850 in the rows, 900 in the summary; completed 850 in the rows, 900 in the summary';
    for (const pair of [
      [whole, cut],
      [cut, whole],
    ] as const) {
      await expect(compareNamed(...pair, DEFAULTS)).rejects.toMatchObject({
        code: 'INPUT_INVALID',
        message: `the rows of the run ${cut} do not match its summary: ${differences}`,
      });
    }
    expect(report(cut).reasons[0]).toMatchObject({ code: 'rows_differ', text: differences });
    expect((await compareNamed(whole, runOf(), DEFAULTS)).verdict).toBe('SAME');
  });

  test('is not compared when failures were edited away', async () => {
    const [whole, edited] = [runOf(), runOf()];
    edit(edited, 'UPDATE send_row SET status = 503 WHERE send_index = 7');
    await expect(compareNamed(whole, edited, DEFAULTS)).rejects.toThrow(
      'failed 1 in the rows, 0 in the summary',
    );
  });

  test('is not compared, nor valid, with the rows of another run, though their counts are alike', async () => {
    const [one, other] = [runOf({ id: 'first' }), runOf({ id: 'second' })];
    copyFileSync(join(one, 'run.sqlite'), join(other, 'run.sqlite'));
    await expect(compareNamed(one, other, DEFAULTS)).rejects.toThrow(
      'rows of run first, a summary of second',
    );
    expect(report(other)).toMatchObject({ valid: false, reasons: [{ code: 'rows_differ' }] });
  });
});

describe('a run whose files are damaged', () => {
  test.each([
    ['{"schemaVersion":1,"kind":"rep', /^summary\.json of .* is damaged: Unterminated string/],
    ['', /^summary\.json of .* is damaged: Unexpected end of JSON input$/],
    ['null', /^summary\.json of .* is damaged: it contains no JSON object$/],
    ['{"schemaVersion":1}', /^summary\.json of .* is not that of a run: kind/],
  ])('says that it is the summary, and what to do about that: %j', async (text, message) => {
    const [whole, damaged] = [runOf(), runOf()];
    writeFileSync(join(damaged, 'summary.json'), text);
    const expected = {
      code: 'INPUT_INVALID',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/^Restore it from a copy, or replay again\./),
    };
    await expect(compareNamed(whole, damaged, DEFAULTS)).rejects.toMatchObject(expected);
    expect(() => report(damaged)).toThrow(expect.objectContaining(expected));
    // What the hint says of moving it away is true.
    rmSync(join(damaged, 'summary.json'));
    expect(report(damaged).reasons[0]).toMatchObject({ code: 'not_sealed' });
  });

  test('is read in spite of a byte order mark before its summary', () => {
    const run = runOf();
    const path = join(run, 'summary.json');
    writeFileSync(path, `\uFEFF${readFileSync(path, 'utf8')}`);
    expect(report(run).run.sealed).toBe(true);
  });

  test('is named as damaged when its rows end early, and as a run when they are gone', async () => {
    const [whole, damaged] = [runOf(), runOf()];
    const path = join(damaged, 'run.sqlite');
    truncateSync(path, Math.floor(statSync(path).size / 2));
    const expected = { code: 'INPUT_INVALID', message: expect.stringMatching(/malformed/) };
    await expect(compareNamed(whole, damaged, DEFAULTS)).rejects.toMatchObject(expected);
    rmSync(path);
    await expect(compareNamed(whole, damaged, DEFAULTS)).rejects.toThrow(/is not a readable run/);
  });
});
