import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../src/app/compare.ts';
import { reportRun } from '../../src/app/report.ts';
import { mergeCommand } from '../../src/cli/commands/merge.ts';
import { terminal } from '../../src/cli/terminal.ts';
import { byProgram } from '../../src/core/options.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { TEST_EPOCH_US } from '../support/exchanges.ts';
import { startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = 0;
});

const COUNT = 600;

function summaryOf(directory: string): ReplayDocument {
  return JSON.parse(readFileSync(join(directory, 'summary.json'), 'utf8')) as ReplayDocument;
}

/** Both shards of a plan of a minute, each stopped when it has sent something. @returns their directories */
async function stoppedShards(): Promise<[string, string]> {
  const server = await serverOf();
  const senders = () =>
    new Set(
      server.requests.map(({ headers }) => headers.find(([name]) => /^x-reprise-run$/i.test(name))?.[1]),
    );
  const capture = captureOf(requestsOf(COUNT, 100_000));
  const runs = [0, 1].map((shard) => {
    const out = join(temporaryDirectory(), `shard-${shard}`);
    const args = ['replay', capture, '--target', server.url, '--shard', `${shard}/2`, '--out', out];
    return { out, process: startReprise(args) };
  });
  while (senders().size < 2) await sleep(20);
  const ended = await Promise.all(runs.map(({ process }) => process.kill('SIGINT')));
  expect(ended.map(({ status }) => status)).toEqual([130, 130]);
  return [runs[0]?.out ?? '', runs[1]?.out ?? ''];
}

test('a run that was stopped long before the end of its plan is merged, compared and reported as it was', async () => {
  const shards = await stoppedShards();
  const out = join(temporaryDirectory(), 'merged');
  vi.spyOn(terminal, 'json').mockImplementation(() => undefined);
  await mergeCommand().parseAsync([...shards, '--out', out, '--json'], { from: 'user' });
  const merged = summaryOf(out);
  // One plan, as much of it as had been read when they were stopped.
  const parts = shards.map(summaryOf);
  const sum = (of: (document: ReplayDocument) => number) => parts.reduce((all, each) => all + of(each), 0);
  expect(merged).toMatchObject({
    recorded: sum(({ recorded }) => recorded),
    selected: sum(({ selected }) => selected),
    planned: sum(({ planned }) => planned),
    planCounted: false,
    effectiveMultiplier: 1,
    interrupted: 'shard 0: SIGINT',
  });
  expect(merged.planned).toBe(merged.fidelity.planned.count);
  expect(merged.planned).toBe(merged.sent + merged.unreached);
  for (const directory of [...shards, out]) {
    expect(reportRun({ directory, capture: null }).reasons.map(({ code }) => code)).not.toContain(
      'rows_differ',
    );
    // Up to where it stopped.
    const compared = await compareNamed(
      directory,
      directory,
      resolveCompareOptions(byProgram(COMPARE_OPTIONS, { allowDifferences: true })),
    );
    const rows = summaryOf(directory).fidelity.planned.count;
    expect((compared.pairs ?? 0) + (compared.unpaired?.leftOut ?? 0)).toBe(rows);
  }
});

test('a run that is stopped while it calibrates gives no reason that is of its own instant', async () => {
  const server = await serverOf();
  const out = join(temporaryDirectory(), 'run');
  const capture = captureOf(requestsOf(COUNT, 100_000));
  const args = ['replay', capture, '--target', server.url, '--out', out];
  const from = new Date(TEST_EPOCH_US / 1e3 + 10_000).toISOString();
  const running = startReprise([
    ...args,
    '--window',
    `${from}..`,
    '--compare-at-1x',
    '5s',
    '--warmup',
    '2s',
    '--slo',
    'errors: rate<0.01',
  ]);
  while (server.requests.length === 0) await sleep(20);
  expect((await running.kill('SIGINT')).status).toBe(130);
  const document = summaryOf(out);
  expect(document).toMatchObject({ sent: 0, interrupted: 'SIGINT', warmup: { sent: 0 } });
  expect(document.health.busyShare).toBe(0);
  expect(document.notes.map(({ code }) => code)).not.toContain('sender_busy');
  expect(JSON.stringify(document.notes)).not.toContain('recorded statuses');
});

/** Whether a process has a signal before it that it did not take yet: a second one of the kind would be none. */
function isPending(pid: number | undefined, signal: NodeJS.Signals): boolean {
  const status = existsSync(`/proc/${pid}/status`) ? readFileSync(`/proc/${pid}/status`, 'utf8') : '';
  const [, pending = '0'] = /^ShdPnd:\s*([\da-f]+)$/m.exec(status) ?? [];
  return ((BigInt(`0x${pending}`) >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n;
}

test('a run ends at once at a second interrupt, and its directory says it was never sealed', async () => {
  const server = await serverOf(() => {});
  const out = join(temporaryDirectory(), 'run');
  const process = startReprise(['replay', captureOf(requestsOf(5)), '--target', server.url, '--out', out]);
  while (server.requests.length < 5) await sleep(20);
  process.child.kill('SIGINT');
  while (isPending(process.child.pid, 'SIGINT')) await sleep(5);
  // Sooner it would be the same Ctrl-C.
  await sleep(700);
  const result = await process.kill('SIGINT');
  expect(result.status).toBe(130);
  expect(existsSync(join(out, 'summary.json'))).toBe(false);
  const reader = new RunReader(out);
  expect(reader.sealed).toBe(false);
  reader.close();
});
