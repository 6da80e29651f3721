import { expect, test } from 'vitest';
import {
  type AutoscalingInput,
  autoscalingOf,
  LoadSeconds,
} from '../../../src/analysis/autoscaling/autoscaling.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { send } from '../../support/sends.ts';

const S = 1e9;

/** Requests evenly over seconds, each answered after this time. */
function sends(fromS: number, toS: number, perSecond: number, latencyMs: (second: number) => number): Send[] {
  return Array.from({ length: (toS - fromS) * perSecond }, (_, index) => {
    const atNs = fromS * S + (index * S) / perSecond;
    return send({
      index,
      intendedOffsetNs: atNs,
      actualOffsetNs: atNs,
      lastByteOffsetNs: atNs + latencyMs(Math.floor(atNs / S)) * 1e6,
    });
  });
}

const series = (text: string, values: readonly (number | null)[]) => ({
  text,
  samples: values.map((value, second) => ({ offsetNs: second * S, value, base: null })),
});

/** A minute: 20/s, from second 20 on 60/s, from second 45 on 20/s; a replica more is ready 7 s after the step. */
function input(parts: Partial<AutoscalingInput> = {}): AutoscalingInput {
  const load = new LoadSeconds(parseObjectives(['latency: p(95)<100']));
  load.add(sends(0, 20, 20, () => 10));
  load.add(sends(20, 45, 60, (second) => (second < 29 ? 500 : 10)));
  load.add(sends(45, 60, 20, () => 10));
  const at = (second: number, up: number, down: number) => (second >= up && second < down ? 2 : 1);
  const seconds = Array.from({ length: 60 }, (_, second) => second);
  return {
    load,
    desired: series(
      'desired',
      seconds.map((second) => at(second, 23, 50)),
    ),
    ready: series(
      'ready',
      seconds.map((second) => at(second, 27, 54)),
    ),
    intervalS: 1,
    firstRequestsNs: [0.1 * S, 28.25 * S],
    stageEndsNs: [],
    fromNs: 0,
    toNs: 60 * S,
    ratePerReplica: 40,
    ...parts,
  };
}

test('the raw times after each step, found in the load itself', () => {
  const found = autoscalingOf(input());
  expect(found?.steps).toEqual([
    {
      atS: 20,
      direction: 'up',
      offeredBefore: 20,
      offeredAfter: 60,
      desiredS: 3,
      readyFirstS: 7,
      readyS: 7,
      newAddressS: 8.25,
      objective: 'met_again',
      objectiveMetS: 9,
      violatedS: 9,
    },
    {
      atS: 45,
      direction: 'down',
      offeredBefore: 60,
      offeredAfter: 20,
      desiredS: 5,
      readyFirstS: 9,
      readyS: 9,
      newAddressS: null,
      objective: 'kept',
      objectiveMetS: null,
      violatedS: 0,
    },
  ]);
  expect(found).toMatchObject({ violatedS: 9, readyReplicas: { first: 1, min: 1, max: 2, last: 1 } });
  // 7 s of 60 too few, 9 s too many.
  expect(found?.elasticity?.replicaSeconds).toMatchObject({ supplied: 87, needed: 84, overPerfect: 9 });
});

test('replicas before the judged part, and while the last answers come in, are no part of it', () => {
  const ready = series('ready', [9, 1, 1, 1, 5]);
  const part = { fromNs: 1.5 * S, toNs: 3.5 * S, ratePerReplica: null };
  expect(autoscalingOf(input({ ready, ...part }))?.readyReplicas).toEqual({
    first: 1,
    last: 1,
    min: 1,
    max: 1,
  });
  const unseen = autoscalingOf(input({ ready: series('ready', [null, null, null, null, 5]), ...part }));
  expect(unseen).toBeNull();
});

test('a week of looks is read out', () => {
  const looks = Array.from({ length: 150_000 }, (_, at) => ({
    offsetNs: at,
    value: 1 + (at % 3),
    base: null,
  }));
  expect(autoscalingOf(input({ ready: { text: 'ready', samples: looks } }))?.readyReplicas).toEqual({
    first: 1,
    min: 1,
    max: 3,
    last: 3,
  });
});

test('stages say where the load changes, to the nanosecond', () => {
  const found = autoscalingOf(input({ stageEndsNs: [20.4 * S, 45 * S, 60 * S] }));
  expect(found?.steps.map(({ atS }) => atS)).toEqual([20.4, 45]);
});

test('an autoscaler that did nothing has no times, and the objective is not met', () => {
  const load = new LoadSeconds(parseObjectives(['latency: p(95)<100']));
  load.add(sends(0, 20, 20, () => 10));
  load.add(sends(20, 60, 60, () => 500));
  const still = series('ready', new Array(60).fill(1));
  const found = autoscalingOf(input({ load, ready: still, desired: null, ratePerReplica: null }));
  expect(found?.steps).toMatchObject([
    {
      desiredS: null,
      readyFirstS: null,
      readyS: null,
      objective: 'not_met',
      objectiveMetS: null,
      violatedS: 40,
    },
  ]);
  expect(found?.elasticity).toBeNull();
});

test('a load that only varies by chance has no step, and without replicas there is no read-out', () => {
  const load = new LoadSeconds([]);
  load.add(sends(0, 60, 20, () => 10));
  expect(autoscalingOf(input({ load }))).toMatchObject({ steps: [], violatedS: null });
  expect(autoscalingOf(input({ ready: series('ready', [null, null]) }))).toBeNull();
});

test('load counts when it was due: a request that was never answered, or never left, was offered all the same', () => {
  const load = new LoadSeconds(parseObjectives(['latency: p(50)<100']));
  load.add([
    send({ index: 0, intendedOffsetNs: 0, refused: true, actualOffsetNs: null }),
    send({ index: 1, intendedOffsetNs: 0.5 * S, lastByteOffsetNs: 30 * S }),
  ]);
  expect([load.offeredAt(0), load.offeredAt(30)]).toEqual([2, 0]);
  expect(load.violated()).toEqual([0]);
});
