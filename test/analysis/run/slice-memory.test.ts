import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { SERVICE_TIMES, uniform } from '../../support/queue-simulator.ts';
import { send } from '../../support/sends.ts';

const SLICES = 40;
const EACH = 500;

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

function heldBytes(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

test('a slice is no two megabytes', () => {
  const random = uniform(7);
  const objectives = parseObjectives(['latency{*model}: p(95)<500']);
  const runOf = (models: number) => {
    const run = new RunStatistics(0, null, { objectives, stageEndsNs: [] });
    for (let index = 0; index < SLICES * EACH; index++) {
      const { intendedOffsetNs } = send({ index });
      const tookNs = Math.round(5e7 + SERVICE_TIMES.skewed(random) * 1e8);
      const model = `model-${index % models}`;
      run.addSends([send({ index, model, lastByteOffsetNs: intendedOffsetNs + tookNs })]);
    }
    return run;
  };
  const sliceBytes = () => {
    const before = heldBytes();
    const one = runOf(1);
    const withOne = heldBytes();
    const many = runOf(SLICES);
    const withMany = heldBytes();
    expect(many.figures().slices.size).toBe(one.figures().slices.size);
    return (withMany - withOne - (withOne - before)) / (SLICES - 1);
  };
  // Other tests live in this process, and what they leave behind may be made meanwhile: the least counts.
  let least = sliceBytes();
  for (let round = 1; round < 3 && least >= 200_000; round++) least = Math.min(least, sliceBytes());
  expect(least).toBeLessThan(200_000);
});
