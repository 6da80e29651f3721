import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { mergeCommand } from '../../src/cli/merge.ts';
import { send } from '../support/sends.ts';
import { shardRun } from '../support/shard-runs.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SENDS = Array.from({ length: 4 }, (_, index) => send({ index }));

describe('a merge', () => {
  it('leaves nothing behind when the rows of a run turn out to be damaged', async () => {
    const directories = [0, 1].map((shard) =>
      shardRun(
        [shard, 2],
        SENDS.slice(shard * 2, shard * 2 + 2).map((each, index) => ({ ...each, index })),
        SENDS,
      ),
    );
    const database = new Database(join(directories[1] as string, 'run.sqlite'));
    database.exec('DROP VIEW send; DROP TABLE send_row');
    database.close();
    const out = join(temporaryDirectory(), 'merged');
    const merge = mergeCommand().parseAsync([...directories, '--out', out], { from: 'user' });
    await expect(merge).rejects.toThrow();
    expect(readdirSync(dirname(out))).toEqual([]);
  });
});
