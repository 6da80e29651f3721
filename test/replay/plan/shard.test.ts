import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { AnswerForecast } from '../../../src/replay/answers/expected-answer.ts';
import { RateCeiling, TargetFence } from '../../../src/replay/guard.ts';
import type { Shard } from '../../../src/replay/options/parsers.ts';
import { dryRun } from '../../../src/replay/plan/dry-run.ts';
import {
  AuditCounter,
  type PlannedRequest,
  plannedRequests,
  type ReplayAudit,
  ScalingTally,
} from '../../../src/replay/plan/plan.ts';
import type { Scaling, ScalingName } from '../../../src/replay/plan/scaling.ts';
import { parseStages } from '../../../src/replay/plan/stages.ts';
import { BodyChanges } from '../../../src/replay/request/body-changes.ts';
import { RequestBuilder } from '../../../src/replay/request/build.ts';
import { parseTarget } from '../../../src/replay/target.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { MemoryCapture, requestPayload } from '../../support/memory-capture.ts';
import { scalingAt } from '../../support/scalings.ts';

const SECOND_US = 1_000_000;
/** The window of the plans; the stretch after it is what superposing lays over it. */
const RANGE = { fromUs: 0, toUs: 60 * SECOND_US };
const builder = new RequestBuilder({
  target: { basePath: '' },
  host: 'target',
  addedHeaders: [],
  runId: 'r',
});

interface Told {
  readonly sends: readonly string[];
  readonly refused: readonly string[];
  readonly recorded: readonly number[];
  readonly audit: ReplayAudit;
  readonly counts: ReturnType<ScalingTally['counts']>;
  readonly whole: readonly string[];
}

interface Asked {
  readonly maxRequests?: number;
  readonly maxPerSecond?: number;
}

function planOf(
  rows: readonly ExchangeRow[],
  scaling: Scaling,
  shard: Shard | null,
  asked: Asked = {},
): Told {
  const sends: string[] = [];
  const refused: string[] = [];
  const recorded: number[] = [];
  const whole: string[] = [];
  const audit = new AuditCounter();
  const tally = new ScalingTally();
  const name = (row: ExchangeRow, offsetNs: number) => `${row.id}@${offsetNs}`;
  const planned = ({ row, intendedOffsetNs }: PlannedRequest) => name(row, intendedOffsetNs);
  const plan = plannedRequests(
    {
      source: new MemoryCapture([...rows], (row) => requestPayload(`/${row.id}`)),
      range: RANGE,
      scaling,
      tally,
      openSessions: null,
      shard,
      maxRequests: asked.maxRequests ?? null,
      builder,
      changes: new BodyChanges({ pinOutputLength: null, requestUsage: false }),
      answers: new AnswerForecast('replay'),
      fence: new TargetFence({
        target: parseTarget('http://staging'),
        productionHosts: [],
        allowedProductionHosts: [],
      }),
      ceiling: new RateCeiling(asked.maxPerSecond ?? 1e9),
      audit,
    },
    {
      recorded: (row) => recorded.push(row.id),
      planned: (request) => sends.push(planned(request)),
      refusedByCeiling: (request) => refused.push(planned(request)),
      whole: {
        addRecorded: () => {},
        addPlanned: (row, offsetNs) => whole.push(name(row, offsetNs)),
      },
    },
  );
  let index = 0;
  for (const request of plan) {
    expect(request.index).toBeGreaterThanOrEqual(index);
    index = request.index + 1;
  }
  return { sends, refused, recorded, audit: audit.report(), counts: tally.counts(0, null), whole };
}

const exchanges = fc.array(
  fc.record({
    offsetUs: fc.integer({ min: 0, max: 119 * SECOND_US }),
    session: fc.option(fc.integer({ min: 0, max: 12 }), { nil: null }),
    truncated: fc.boolean(),
  }),
  { minLength: 1, maxLength: 120 },
);

function rowsOf(drawn: readonly { offsetUs: number; session: number | null; truncated: boolean }[]) {
  return [...drawn]
    .sort((a, b) => a.offsetUs - b.offsetUs)
    .map(({ offsetUs, session, truncated }, id) =>
      exchangeRow({
        id,
        arrivalUs: offsetUs,
        session: session === null ? null : Buffer.from([session, 7, 1, 9, session, 3, 3, 8]),
        requestTruncated: truncated && id % 3 === 0,
      }),
    );
}

const WAYS: readonly (readonly [ScalingName, number, string | null])[] = [
  ['compress', 0.5, null],
  ['compress', 3.7, null],
  ['compress', 1, '20s@1x,20s@1x..3x'],
  ['thin', 0.4, null],
  ['amplify', 2.5, null],
  ['amplify', 1, '20s@1x,20s@1x..3x'],
  ['superpose', 1.7, null],
];

function scalingOf(
  [scaling, multiplier, stages]: (typeof WAYS)[number],
  rows: readonly ExchangeRow[],
): Scaling {
  const own = rows.filter(({ arrivalUs }) => arrivalUs < RANGE.toUs).length;
  const layers = [
    { shiftUs: 0, before: 0, exchanges: own },
    { shiftUs: 60 * SECOND_US, before: own, exchanges: Math.max(1, rows.length - own) },
  ];
  return scalingAt(
    multiplier,
    { scaling, stages: stages === null ? null : parseStages(stages), jitterMs: 2_000 },
    scaling === 'superpose' ? { layers } : {},
  );
}

describe.each(WAYS)('shards of a plan scaled by %s at %d (stages %s)', (...way) => {
  it('are together that plan exactly: sends, refusals, counts, and nothing twice', () => {
    fc.assert(
      fc.property(exchanges, fc.integer({ min: 1, max: 5 }), fc.boolean(), (drawn, count, bounded) => {
        const rows = rowsOf(drawn);
        const asked = bounded ? { maxRequests: 40, maxPerSecond: 2 } : {};
        const one = planOf(rows, scalingOf(way, rows), null, asked);
        const shards = Array.from({ length: count }, (_, index) =>
          planOf(rows, scalingOf(way, rows), { index, count }, asked),
        );
        const together = (part: (told: Told) => readonly (string | number)[]) => shards.flatMap(part).sort();
        expect(together(({ sends }) => sends)).toEqual([...one.sends].sort());
        expect(together(({ refused }) => refused)).toEqual([...one.refused].sort());
        expect(together(({ recorded }) => recorded)).toEqual([...one.recorded].sort());
        const sum = (part: (told: Told) => number) => shards.reduce((total, told) => total + part(told), 0);
        expect(sum(({ audit }) => audit.skipped.truncated_request)).toBe(one.audit.skipped.truncated_request);
        expect(sum(({ counts }) => counts.copies)).toBe(one.counts.copies);
        expect(sum(({ counts }) => counts.thinned)).toBe(one.counts.thinned);
        expect(sum(({ counts }) => counts.layered)).toBe(one.counts.layered);
        for (const { whole } of shards)
          expect([...whole].sort()).toEqual([...one.sends, ...one.refused].sort());
      }),
      { numRuns: 40 },
    );
  });
});

describe('a stripe', () => {
  const sessions = Array.from({ length: 400 }, (_, id) =>
    exchangeRow({
      id,
      arrivalUs: id * 1_000,
      session: Buffer.from([(id % 40) * 6, id % 40, 2, 3, 4, 5, 6, 7]),
    }),
  );

  it('holds sessions whole', () => {
    const shards = [0, 1, 2].map((index) => planOf(sessions, scalingAt(1), { index, count: 3 }));
    for (const { recorded } of shards) {
      const bySession = Map.groupBy(recorded, (id) => id % 40);
      for (const ids of bySession.values()) expect(ids).toHaveLength(10);
    }
  });

  it('has its even share of exchanges that stand alone', () => {
    const rows = Array.from({ length: 300 }, (_, id) => exchangeRow({ id, arrivalUs: id * 1_000 }));
    const shards = [0, 1, 2].map((index) => planOf(rows, scalingAt(1), { index, count: 3 }));
    expect(shards.map(({ sends }) => sends.length)).toEqual([100, 100, 100]);
  });

  it('is what a dry run of the shard plans', async () => {
    const shard = { index: 1, count: 3 };
    const planned: string[] = [];
    await dryRun(
      {
        ceiling: new RateCeiling(1e9),
        source: new MemoryCapture(sessions, (row) => requestPayload(`/${row.id}`)),
        range: RANGE,
        scaling: scalingAt(1),
        openSessions: null,
        shard,
        maxRequests: 250,
        expected: 100,
        arrivalsOnly: false,
        builder,
      },
      { addRecorded: () => {}, addPlanned: (row, offsetNs) => planned.push(`${row.id}@${offsetNs}`) },
    );
    expect(planned).toEqual(planOf(sessions, scalingAt(1), shard, { maxRequests: 250 }).sends);
    expect(planned.length).toBeGreaterThan(0);
  });
});
