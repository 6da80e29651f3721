import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Finished, runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

interface Stage {
  readonly name: string;
  readonly status: number;
  readonly counts?: object;
}

async function sum(...stages: readonly Stage[]): Promise<Finished> {
  const directory = temporaryDirectory();
  for (const { name, status, counts } of stages) {
    writeFileSync(join(directory, `${name}.stage`), `${status}\n`);
    if (counts) writeFileSync(join(directory, `${name}.json`), JSON.stringify(counts));
  }
  return await runProcess(process.execPath, [join(repositoryRoot, 'scripts', 'sum-counts.mjs'), directory]);
}

describe('the totals of a full check', () => {
  test('add up all suites, count a stage without tests as one check, and name every skip', async () => {
    const finished = await sum(
      { name: '01-install', status: 0 },
      {
        name: '02-test',
        status: 0,
        counts: { passed: 40, failed: 0, skipped: [{ name: 'a > b', reason: 'no data' }] },
      },
      { name: '03-faults', status: 0, counts: { passed: 2, failed: 0, skipped: [] } },
    );
    expect(finished).toMatchObject({
      status: 0,
      stdout: 'skipped: a > b: no data\n43 passed, 0 failed, 1 skipped\n',
      stderr: '',
    });
  });

  test('fail when a test failed', async () => {
    const finished = await sum({ name: '01-test', status: 1, counts: { passed: 1, failed: 2, skipped: [] } });
    expect(finished).toMatchObject({
      status: 1,
      stdout: 'failed: test (exit 1)\n1 passed, 2 failed, 0 skipped\n',
    });
  });

  test('fail when a stage died before it could count', async () => {
    const finished = await sum({ name: '01-install', status: 0 }, { name: '02-demo', status: 124 });
    expect(finished).toMatchObject({
      status: 1,
      stdout: 'failed: demo (exit 124)\n1 passed, 1 failed, 0 skipped\n',
    });
  });

  test('fail when a run failed though no test of it did', async () => {
    const finished = await sum({ name: '01-test', status: 1, counts: { passed: 5, failed: 0, skipped: [] } });
    expect(finished).toMatchObject({
      status: 1,
      stdout: 'failed: test (exit 1)\n5 passed, 1 failed, 0 skipped\n',
    });
  });

  test('fail when nothing ran at all', async () => {
    expect(await sum()).toMatchObject({ status: 1, stdout: '0 passed, 0 failed, 0 skipped\n' });
  });
});
