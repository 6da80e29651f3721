import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RunStatistics, totalsOf } from '../../src/analysis/run/run-statistics.ts';
import { OpenShards } from '../../src/app/merge-shards.ts';
import { mismatch, SAME, type Send, unchecked } from '../../src/core/run.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { SqliteRunStore } from '../../src/storage/runs/store.ts';
import { failed, refused, send } from '../support/sends.ts';
import { recordedOf, SHARD_START_US, type ShardFacts, shardRun } from '../support/shard-runs.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const US = 1_000;
const MS = 1_000_000;

/** A whole run whose sends left in the order of the plan, and the shard that each belongs to. */
const wholeRuns = fc.array(
  fc.record({
    gapUs: fc.integer({ min: 0, max: 30_000 }),
    lagUs: fc.integer({ min: 0, max: 900 }),
    serviceUs: fc.integer({ min: 100, max: 400_000 }),
    route: fc.constantFrom('POST /a', 'POST /b'),
    bytes: fc.integer({ min: 0, max: 5_000 }),
    fate: fc.constantFrom('answered', 'answered', 'answered', 'refused', 'failed', 'rejected'),
    shard: fc.integer({ min: 0, max: 2 }),
  }),
  { minLength: 3, maxLength: 60 },
);

type Drawn = readonly { shard: number; send: Send }[];

function sendsOf(drawn: ReturnType<typeof wholeRuns.generate>['value']): Drawn {
  let intended = 0;
  let actual = 0;
  const inOrder = drawn.map((each) => {
    intended += each.gapUs * US;
    actual = Math.max(actual, intended + each.lagUs * US);
    return { each, intended, actual };
  });
  // Of ties the merged run has the shards in their order, and so has the whole one here.
  const sorted = inOrder.toSorted((a, b) => a.intended - b.intended || a.each.shard - b.each.shard);
  return sorted.map(({ each, intended: intendedOffsetNs }, index) => {
    const actualOffsetNs = inOrder[index]?.actual ?? 0;
    const facts = {
      intendedOffsetNs,
      route: each.route,
      requestBytes: each.bytes,
      startOffsetNs: actualOffsetNs + 5 * US,
      lastByteOffsetNs: actualOffsetNs + each.serviceUs * US,
    };
    if (each.fate === 'refused') {
      const { route, requestBytes } = facts;
      return { shard: each.shard, send: refused(index, { intendedOffsetNs, route, requestBytes }) };
    }
    if (each.fate === 'failed')
      return { shard: each.shard, send: failed(index, { ...facts, actualOffsetNs }) };
    const [status, check] = each.fate === 'rejected' ? [429, mismatch('status')] : [200, SAME];
    return { shard: each.shard, send: send({ index, ...facts, actualOffsetNs, status, check }) };
  });
}

function stripesOf(all: Drawn): Send[][] {
  return [0, 1, 2].map((shard) =>
    all.filter((each) => each.shard === shard).map((each, index) => ({ ...each.send, index })),
  );
}

function merged(directories: readonly string[]) {
  const shards = new OpenShards(directories);
  const directory = join(temporaryDirectory(), 'merged');
  const store = new SqliteRunStore(directory);
  const figures = shards.mergeInto(store);
  store.close();
  shards.close();
  const reader = new RunReader(directory);
  const rows = [...reader.sends()];
  reader.close();
  return { figures, rows, set: shards.set };
}

describe('shards read as one run', () => {
  it('have the figures of the run that one process would have sent', () => {
    fc.assert(
      fc.property(wholeRuns, (drawn) => {
        const all = sendsOf(drawn);
        const whole = all.map((each) => each.send);
        const statistics = new RunStatistics();
        for (const each of whole) {
          statistics.addRecorded(recordedOf(each));
          statistics.addPlanned(recordedOf(each), each.intendedOffsetNs);
        }
        statistics.addSends(whole);
        const one = statistics.figures();
        const directories = stripesOf(all).map((sends, index) => shardRun([index, 3], sends, whole));
        const { figures, rows } = merged(directories.toReversed());
        expect(rows).toEqual(whole);
        expect(totalsOf(figures)).toEqual(totalsOf(one));
        expect(figures.outcomes).toEqual(one.outcomes);
        expect(figures.statusMix).toEqual(one.statusMix);
        expect(figures.check).toEqual(one.check);
        expect(figures.outcomes.errorExamples).toEqual(one.outcomes.errorExamples);
        expect(figures.fidelity).toEqual(one.fidelity);
        expect(figures.makespanNs).toBe(one.makespanNs);
        for (const name of ['scheduled', 'service', 'lag', 'connect'] as const) {
          expect([...figures.latency[name].bins()]).toEqual([...one.latency[name].bins()]);
        }
        for (const name of ['scheduled', 'service'] as const) {
          const [shards, alone] = [figures, one].map(({ latency }) =>
            [50, 95, 99].map((percent) => latency.byWindow[name].interval(percent, latency[name])),
          );
          expect(shards).toEqual(alone);
        }
        expect({ ...figures.latency, scheduled: 0, service: 0, lag: 0, connect: 0 }).toEqual({
          ...one.latency,
          scheduled: 0,
          service: 0,
          lag: 0,
          connect: 0,
        });
      }),
      { numRuns: 12 },
    );
  });

  const plan = Array.from({ length: 12 }, (_, index) => send({ index }));
  const stripe = (shard: number) =>
    plan.filter(({ index }) => index % 3 === shard).map((each, index) => ({ ...each, index }));
  const shard = (index: number, facts: Parameters<typeof shardRun>[3] = {}) =>
    shardRun([index, 3], stripe(index), plan, facts);

  it('say of a shard that did not compare, beside one that did, that its answers were not', () => {
    const check = {
      level: 'values',
      rate: 0,
      tolerance: {},
      ignored: { asked: [], byProtocol: {} },
    } as const;
    const compared = stripe(0).map((each) => ({ ...each, check: unchecked('redacted') }));
    const { figures } = merged([shardRun([0, 3], compared, plan, { check }), shard(1), shard(2)]);
    expect(figures.check).toMatchObject({
      answers: 12,
      checked: 0,
      unchecked: { redacted: 4, not_asked: 8 },
    });
  });

  it('have sent what waited for recorded connections when it left, as one process would say it', () => {
    const waits = [0, 40, 700, 130, 0, 5];
    const whole = plan.map((each, at): Send => {
      const waitedNs = (waits[at % waits.length] ?? 0) * MS;
      const actualOffsetNs = each.intendedOffsetNs + waitedNs;
      return {
        ...each,
        actualOffsetNs,
        connectionWaitNs: waitedNs,
        startOffsetNs: actualOffsetNs + MS,
        lastByteOffsetNs: actualOffsetNs + 10 * MS,
      };
    });
    const statistics = new RunStatistics(0, 'connections');
    for (const each of whole) {
      statistics.addRecorded(recordedOf(each));
      statistics.addPlanned(recordedOf(each), each.intendedOffsetNs);
    }
    statistics.addSends(whole);
    const mergedOf = (facts: ShardFacts) =>
      merged(
        [0, 1, 2].map((at) => {
          const own = whole
            .filter(({ index }) => index % 3 === at)
            .map((each, index) => ({ ...each, index }));
          return shardRun([at, 3], own, whole, facts);
        }),
      );
    const { figures } = mergedOf({ waitsFor: 'connections' });
    const { fidelity, latency } = statistics.figures();
    expect(figures.fidelity).toEqual(fidelity);
    expect(fidelity).toMatchObject({ dueInTime: 10, unordered: 0, ksGaps: 0 });
    expect([figures.latency.lag.max, latency.lag.max]).toEqual([0, 0]);
    expect([...figures.latency.connectionWait.bins()]).toEqual([...latency.connectionWait.bins()]);
  });

  it('keep the difference of their starts as lateness', () => {
    const { figures, set } = merged([
      shard(0),
      shard(1, { run: { startedAtUs: SHARD_START_US + 30_000 } }),
      shard(2),
    ]);
    expect(set).toMatchObject({ startSpreadUs: 30_000, startedAtUs: SHARD_START_US, missing: [] });
    expect(figures.latency.lag.max).toBe(30 * MS);
    expect(figures.latency.service.max).toBe(10 * MS);
  });

  it('say which of them are missing', () => {
    expect(merged([shard(2)]).set.missing).toEqual([0, 1]);
  });

  it.each<[string, () => string[], string]>([
    [
      'of different plans',
      () => [shard(0), shard(1, { shard: { planDigest: 'b'.repeat(64) } })],
      'different plans',
    ],
    ['that are there twice', () => [shard(0), shard(1), shard(1)], 'both shard 1'],
    ['that were no shards', () => [shard(0, { alone: true })], 'not a shard'],
  ])('are refused where there are runs %s', (_, directories, reason) => {
    expect(() => new OpenShards(directories())).toThrow(reason);
  });

  it('are refused where one was never sealed', () => {
    const directory = join(temporaryDirectory(), 'open');
    const store = new SqliteRunStore(directory);
    store.append(stripe(1));
    store.close();
    expect(() => new OpenShards([shard(0), directory])).toThrow('never sealed');
  });
});
