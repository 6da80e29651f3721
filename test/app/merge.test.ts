import { chmodSync, copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../src/app/compare.ts';
import { mergeCommand } from '../../src/cli/commands/merge.ts';
import { failureOf } from '../../src/cli/exit.ts';
import { terminal } from '../../src/cli/terminal.ts';
import { byProgram } from '../../src/core/options.ts';
import { type Run, SAME, type Send } from '../../src/core/run.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { send } from '../support/sends.ts';
import { type ShardFacts, shardRun } from '../support/shard-runs.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = 0;
});

const SENDS = Array.from({ length: 4 }, (_, index) => send({ index }));

/** Two shards of a plan, each with every other send. */
function shards(sends: readonly Send[], facts: readonly ShardFacts[] = []): [string, string] {
  const of = (shard: number) => {
    const own = sends.filter((_, at) => at % 2 === shard).map((each, index) => ({ ...each, index }));
    const directory = shardRun([shard, 2], own, sends, facts[shard]);
    for (const file of ['run.sqlite', 'summary.json']) chmodSync(join(directory, file), 0o600);
    return directory;
  };
  return [of(0), of(1)];
}

/** Merges as the command does. @returns the document and the exit status, or what was thrown */
async function merge(directories: readonly string[], flags: readonly string[] = []) {
  const out = join(temporaryDirectory(), 'merged');
  let document: ReplayDocument | null = null;
  vi.spyOn(terminal, 'json').mockImplementation((each) => {
    document = each as ReplayDocument;
  });
  const args = [...directories, '--out', out, '--json', ...flags];
  const thrown = await mergeCommand()
    .parseAsync(args, { from: 'user' })
    .then(
      () => null,
      (error: unknown) => error,
    );
  const failure = thrown === null ? null : failureOf(thrown);
  const left = readdirSync(dirname(out));
  return { out, left, document: document as ReplayDocument | null, status: process.exitCode, failure };
}

function edit(directory: string, statement: string): void {
  const database = new Database(join(directory, 'run.sqlite'));
  database.exec(statement);
  database.close();
}

function editSummary(directory: string, change: (summary: Record<string, unknown>) => void): void {
  const path = join(directory, 'summary.json');
  const summary = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  change(summary);
  writeFileSync(path, JSON.stringify(summary));
}

describe('a merge of shards that are not as they were kept', () => {
  const few: [string, (damaged: string, other: string) => void, RegExp][] = [
    [
      'whose table is gone',
      (damaged) => edit(damaged, 'DROP VIEW send; DROP TABLE send_row'),
      /^the run DAMAGED is damaged: /,
    ],
    [
      'that lost its failed rows',
      (damaged) => edit(damaged, 'DELETE FROM send_row WHERE send_index = 1'),
      /^the rows of the run DAMAGED do not match its summary: sent 1 in the rows, 2 in the summary/,
    ],
    [
      'whose failures were edited away',
      (damaged) => edit(damaged, 'UPDATE send_row SET status = 503 WHERE send_index = 0'),
      /^the rows of the run DAMAGED do not match its summary: .* failed 1 in the rows, 0 in the summary$/,
    ],
    [
      'with the rows of the other one',
      (damaged, other) => copyFileSync(join(other, 'run.sqlite'), join(damaged, 'run.sqlite')),
      /^the rows of the run DAMAGED do not match its summary: rows of run run-0, a summary of run-1$/,
    ],
    [
      'with a summary of a later version',
      (damaged) =>
        editSummary(damaged, (summary) => {
          summary['schemaVersion'] = 99;
        }),
      /^summary\.json of DAMAGED has schema version 99$/,
    ],
    [
      'with a summary that lacks a field of the shard',
      (damaged) =>
        editSummary(damaged, (summary) => {
          delete (summary['shard'] as Record<string, unknown>)['whole'];
        }),
      /^summary\.json of DAMAGED is not that of a run: shard\.whole: /,
    ],
  ];

  it.each(few)('ends with 2, names the one %s, and leaves nothing behind', async (_, damage, message) => {
    const [other, damaged] = shards(SENDS);
    damage(damaged, other);
    const { failure, left } = await merge([other, damaged]);
    expect(failure?.message?.replaceAll(damaged, 'DAMAGED')).toMatch(message);
    expect({ status: failure?.status, left }).toEqual({ status: 2, left: [] });
  });

  it('ends with 2 where bytes in the middle of the rows were overwritten', async () => {
    const many = Array.from({ length: 800 }, (_, index) => send({ index }));
    const [other, damaged] = shards(many);
    const path = join(damaged, 'run.sqlite');
    const bytes = readFileSync(path);
    bytes.fill(0xff, bytes.length >> 2, 3 * (bytes.length >> 2));
    writeFileSync(path, bytes);
    const { failure, left } = await merge([other, damaged]);
    expect(failure).toMatchObject({ status: 2, message: expect.stringMatching(/^the run .* is damaged: /) });
    expect(failure?.message).toContain(damaged);
    expect(left).toEqual([]);
  });
});

describe('a merge of shards that were stopped', () => {
  it('ends with 5 where the guard stopped one, as a replay does', async () => {
    const stopped = await merge(shards(SENDS, [{}, { interrupted: 'RUN_ABORTED' }]));
    expect(stopped).toMatchObject({ status: 5, document: { interrupted: 'shard 1: RUN_ABORTED' } });
    const both = await merge(shards(SENDS, [{ interrupted: 'RUN_ABORTED' }, { interrupted: 'SIGINT' }]));
    // What somebody stopped is no doing of the target, though a shard before it was stopped by failures.
    expect(both).toMatchObject({ status: 5, document: { interrupted: 'shard 1: SIGINT' } });
    expect(await merge(shards(SENDS, [{ interrupted: 'SIGINT' }]))).toMatchObject({ status: 4 });
  });

  it('counts its plan as a lower bound where one shard was stopped', async () => {
    const whole = await merge(shards(SENDS));
    expect(whole.document).toMatchObject({ planned: 4, planCounted: true });
    const all = await merge(shards(SENDS, [{}, { interrupted: 'RUN_ABORTED' }]));
    expect(all).toMatchObject({ status: 5, document: { selected: 4, planned: 4, planCounted: false } });
    // Its rows are its own, and it is compared up to where it was stopped.
    expect(
      await compareNamed(
        all.out,
        all.out,
        resolveCompareOptions(byProgram(COMPARE_OPTIONS, { allowDifferences: true })),
      ),
    ).toMatchObject({ pairs: 4 });
  });
});

describe('a merge of shards of which each was asked for something else', () => {
  const withOptions = (options: Run['options'], facts: ShardFacts = {}): ShardFacts => ({
    ...facts,
    run: { options: { multiplier: 1.5, ...options } },
  });
  const checked = SENDS.map((each) => ({ ...each, check: SAME }));
  const check = (relative: number): ShardFacts => {
    const tolerance = { relative };
    const figures = { level: 'values', rate: 0, tolerance, ignored: { asked: [], byProtocol: {} } } as const;
    return withOptions({ check: { level: 'values', tolerance, ignore: [] } }, { check: figures });
  };

  it('is refused where they compared answers by different bounds', async () => {
    const { failure, left } = await merge(shards(checked, [check(1e-5), check(1)]));
    expect(failure).toMatchObject({
      status: 2,
      message: expect.stringMatching(/run-0 and .*run-1 compared answers by different bounds: /),
    });
    expect(left).toEqual([]);
    const alike = await merge(shards(checked, [check(1e-5), check(1e-5)]));
    expect(alike.document?.check?.tolerance).toEqual({ relative: 1e-5 });
    // One that was not asked to compare answers says so of each of them.
    const some = await merge(shards(checked, [withOptions({ check: null }), check(1)]));
    expect(some.document?.options['check']).toMatchObject({ tolerance: { relative: 1 } });
  });

  it('is judged by the strictest of their bounds', async () => {
    const bounded = (bounds: object): ShardFacts => ({ ...withOptions({}), bounds });
    const { document } = await merge(
      shards(SENDS, [bounded({ confidence: 0.99, lagNs: 5e6 }), bounded({ confidence: 0.9, lagNs: 1e6 })]),
    );
    expect(document?.bounds).toMatchObject({ confidence: 0.99, lagNs: 1e6 });
    const point = await merge(shards(SENDS, [bounded({ confidence: null }), bounded({ confidence: 0.9 })]));
    expect(point.document?.bounds.confidence).toBe(0.9);
  });

  it('states the time-outs of each, which no run of one time-out is compared with', async () => {
    const different = [withOptions({ timeoutMs: 300_000 }), withOptions({ timeoutMs: 10_000 })];
    const apart = await merge(shards(SENDS, different));
    const alike = await merge(shards(SENDS, [different[0] as ShardFacts, different[0] as ShardFacts]));
    expect(apart.document?.options['timeoutMs']).toEqual([300_000, 10_000]);
    expect(alike.document?.options['timeoutMs']).toBe(300_000);
    await expect(
      compareNamed(apart.out, alike.out, resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}))),
    ).rejects.toThrow('timeoutMs: [300000,10000] | 300000');
  });
});
