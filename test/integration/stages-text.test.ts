import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';

test('a run with stages names them in plan, verdict and report, not only their mean', async () => {
  const server = await serverOf();
  const capture = captureOf(requestsOf(200, 10_000));
  const stages = ['--stages', '300ms@1x,200ms@4x,300ms@1x', '--slo', 'latency: p(50)<60000'];
  const plan = await replayHere(capture, server.url, [...stages, '--dry-run']);
  expect(plan.stdout.split('\n')[0]).toContain('stages of 1x to 4x, 1.75x on average');
  const run = await replayHere(capture, server.url, [...stages, '--json']);
  expect(documentOf(run).scalingPlan?.stageMultipliers).toEqual([1, 4]);
  const report = await runCommand(['report', run.out]);
  const named = report.stdout.split('\n').filter((line) => line.includes('stages of 1x to 4x, 1.75x'));
  // The headline, and the line on what was replayed.
  expect(named.length).toBeGreaterThanOrEqual(2);
  const { nist } = JSON.parse((await runCommand(['report', run.out, '--json'])).stdout);
  const evidence = JSON.stringify(nist);
  expect(evidence.split('in stages 0.3s@1x; 0.2s@4x; 0.3s@1x').length - 1).toBe(2);
  expect(evidence).not.toContain('1.75');
  const steady = documentOf(await replayHere(capture, server.url, ['--json', '--duration', '300ms']));
  expect(steady.scalingPlan?.stageMultipliers).toBeUndefined();
});
