import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { repositoryRoot } from '../../support/shared-data.ts';

// In a process of its own: in one that other tests share, what they leave behind is measured with it.
const MEASURE = `
  const root = process.argv[1];
  const { RunStatistics } = await import(root + '/src/analysis/run/run-statistics.ts');
  const { parseObjectives } = await import(root + '/src/documents/metrics/objectives.ts');
  const { SERVICE_TIMES, uniform } = await import(root + '/test/support/queue-simulator.ts');
  const { send } = await import(root + '/test/support/sends.ts');
  const SLICES = 40;
  const EACH = 500;
  const random = uniform(7);
  const objectives = parseObjectives(['latency{*model}: p(95)<500']);
  const runOf = (models) => {
    const run = new RunStatistics(0, null, { objectives, stageEndsNs: [] });
    for (let index = 0; index < SLICES * EACH; index++) {
      const { intendedOffsetNs } = send({ index });
      const tookNs = Math.round(5e7 + SERVICE_TIMES.skewed(random) * 1e8);
      run.addSends([
        send({ index, model: 'model-' + (index % models), lastByteOffsetNs: intendedOffsetNs + tookNs }),
      ]);
    }
    return run;
  };
  const heldBytes = () => {
    // A buffer goes with the collection after that of its owner.
    globalThis.gc();
    globalThis.gc();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const before = heldBytes();
  const one = runOf(1);
  const withOne = heldBytes();
  const many = runOf(SLICES);
  const withMany = heldBytes();
  console.log(JSON.stringify({
    sliceBytes: (withMany - withOne - (withOne - before)) / (SLICES - 1),
    sameSlices: many.figures().slices.size === one.figures().slices.size,
  }));
`;

test('a slice is no two megabytes', () => {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', '--input-type=module', '-e', MEASURE, repositoryRoot],
    { encoding: 'utf8' },
  );
  expect(stderr).toBe('');
  const { sliceBytes, sameSlices } = JSON.parse(stdout);
  expect(sameSlices).toBe(true);
  expect(sliceBytes).toBeGreaterThan(0);
  expect(sliceBytes).toBeLessThan(200_000);
});
