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

interface Named {
  readonly name: string;
  readonly reason: string;
}

function counted(
  passed: number,
  { failures = [], skipped = [] }: { failures?: readonly Named[]; skipped?: readonly Named[] },
): object {
  return { passed, failed: failures.length, skipped, failures };
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
        counts: counted(40, { skipped: [{ name: 'a > b', reason: 'no data' }] }),
      },
      { name: '03-faults', status: 0, counts: counted(2, {}) },
    );
    expect(finished).toMatchObject({
      status: 0,
      stdout: 'skipped: a > b: no data\n43 passed, 0 failed, 1 skipped\n',
      stderr: '',
    });
  });

  test('fail when a test failed, and say at the end which and with what words', async () => {
    const failures = [
      { name: 'a > b', reason: 'expected 1 to be 2' },
      { name: 'c', reason: 'it did not end' },
    ];
    const finished = await sum({ name: '01-test', status: 1, counts: counted(1, { failures }) });
    expect(finished).toMatchObject({
      status: 1,
      stdout: [
        'failed: a > b: expected 1 to be 2',
        'failed: c: it did not end',
        'failed: test (exit 1)',
        '1 passed, 2 failed, 0 skipped\n',
      ].join('\n'),
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
    const finished = await sum({ name: '01-test', status: 1, counts: counted(5, {}) });
    expect(finished).toMatchObject({
      status: 1,
      stdout: 'failed: test (exit 1)\n5 passed, 1 failed, 0 skipped\n',
    });
  });

  test('fail when nothing ran at all', async () => {
    expect(await sum()).toMatchObject({ status: 1, stdout: '0 passed, 0 failed, 0 skipped\n' });
  });
});
