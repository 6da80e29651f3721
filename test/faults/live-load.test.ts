import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RunStatistics } from '../../src/analysis/run/run-statistics.ts';
import { summariseReplay } from '../../src/analysis/verdict/summary.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import type { PreparedRequest } from '../../src/replay/engine/messages.ts';
import { MS, START_NS, Stage } from '../replay/engine/sender-stage.ts';
import { exchangeRow } from '../support/exchange-row.ts';
import { prepared } from '../support/prepared.ts';
import { HEALTHY } from '../support/run-contexts.ts';
import { run, send } from '../support/sends.ts';

const ID = { in: 'json', pointer: '/id' } as const;
const HEAD = { contentType: 'application/json', contentEncoding: null, hasLength: true };
const RECORDED_MS = 50;

/** Recorded sessions whose turns need the id of the turn before. Most begin in a peak, the others until the end. */
interface Traffic {
  readonly seed: number;
  readonly sessions: number;
  readonly turns: number;
  readonly thinkMs: number;
  readonly peakShare: number;
}
const traffic = fc.record<Traffic>({
  seed: fc.nat(),
  sessions: fc.integer({ min: 100, max: 250 }),
  turns: fc.integer({ min: 2, max: 12 }),
  thinkMs: fc.integer({ min: 0, max: 400 }),
  peakShare: fc.constantFrom(0, 0.5, 0.9),
});

/** How long the target takes: a share of requests is slow. */
interface Target {
  readonly ms: number;
  readonly slowMs: number;
  readonly slowShare: number;
}
const target = fc.record<Target>({
  ms: fc.integer({ min: 1, max: RECORDED_MS }),
  slowMs: fc.integer({ min: 1, max: 4_000 }),
  slowShare: fc.constantFrom(0, 0.05, 0.5, 1),
});

/** The plan of twice the traffic: two copies of each session. */
function planOf({ seed, sessions, turns, thinkMs, peakShare }: Traffic): PreparedRequest[] {
  const seeded = new SeededRandom(seed);
  const random = () => seeded.nextUint32() / 2 ** 32;
  const body = Buffer.from('{"previous":"recorded"}');
  const sends: { atNs: number; session: number; turn: number }[] = [];
  for (let session = 0; session < 2 * sessions; session += 1) {
    const beginsMs = random() < peakShare ? random() * 5_000 : random() * 60_000;
    for (let turn = 0, ms = beginsMs; turn < turns; turn += 1) {
      sends.push({ atNs: Math.round(ms * MS), session, turn });
      ms += RECORDED_MS + thinkMs * (0.5 + random());
    }
  }
  const indexes = new Map<string, number>();
  return sends
    .sort((a, b) => a.atNs - b.atNs)
    .map(({ atNs, session, turn }, index) => {
      indexes.set(`${session} ${turn}`, index);
      const from = indexes.get(`${session} ${turn - 1}`);
      const isLast = turn === turns - 1;
      const takes =
        from === undefined ? [] : [{ from, at: 0, to: { in: 'json', pointer: '/previous' } as const }];
      const live = { session, issues: isLast ? [] : [ID], users: isLast ? 0 : 1, takes, echoes: [] };
      return prepared(index, atNs, { body, live });
    });
}

/** Periods in which a turn of the generator's loop takes long. */
type Busy = readonly { readonly fromMs: number; readonly forMs: number; readonly turnMs: number }[];

interface Played {
  /** When each request arrived at the target, offsets by index. */
  readonly arrivedNs: Map<number, number>;
  readonly dueNs: Map<number, number>;
  readonly document: ReplayDocument;
}

function play(plan: readonly PreparedRequest[], { ms, slowMs, slowShare }: Target, busy: Busy = []): Played {
  const tookMs = (index: number) => ((index * 0.618_034) % 1 < slowShare ? slowMs : ms);
  const stage: Stage = new Stage(
    (index) => ({ afterNs: tookMs(index) * MS, chunks: [JSON.stringify({ id: `r_${index}` })], head: HEAD }),
    { live: { onDivergence: 'recorded', affinity: [] } },
    {},
    {
      afterTurn: (callback) => {
        const nowNs = stage.clock.nowNs();
        const period = busy.find(({ fromMs, forMs }) => {
          const sinceMs = (nowNs - START_NS) / MS - fromMs;
          return sinceMs >= 0 && sinceMs < forMs;
        });
        stage.clock.sleepUntil(nowNs + (period?.turnMs ?? 0.002) * MS, callback);
      },
    },
  );
  stage.hand(plan);
  stage.sender.finish();
  for (let untilMs = 10_000; stage.health === null && untilMs < 900_000; untilMs += 10_000)
    stage.playTo(untilMs * MS, MS / 4);
  const statistics = new RunStatistics(0, 'values');
  for (let at = 0; at < plan.length / 2; at += 1)
    statistics.addRecorded(exchangeRow({ arrivalUs: 1_794_000_000_000_000 + at * 1_000 }));
  for (const { intendedOffsetNs } of plan) statistics.addPlanned(exchangeRow(), intendedOffsetNs);
  statistics.addSends(
    stage.results.map(({ streamed, ...result }) => send({ ...result, streamed: streamed === true })),
  );
  const document = summariseReplay({
    run: run(),
    figures: statistics.figures(),
    objectives: parseObjectives(['errors: rate<0.5']),
    multiplier: 2,
    pace: 1,
    scaling: 'amplify',
    skipped: {},
    unreplayable: 0,
    coverage: { share: 1, unexplained: 0 },
    health: HEALTHY,
    interrupted: null,
  });
  return {
    arrivedNs: new Map(stage.transport.sent.map(({ index, atNs }) => [index, atNs - START_NS])),
    dueNs: new Map(stage.results.map(({ index, intendedOffsetNs }) => [index, intendedOffsetNs])),
    document,
  };
}

/** The most arrivals that any period of the plan lacks, and the most that are planned in ten seconds. */
function lacking(plan: readonly PreparedRequest[], arrivedNs: Iterable<number>) {
  const stepNs = 1_000 * MS;
  const steps = Math.floor((plan.at(-1)?.intendedOffsetNs ?? 0) / stepNs) + 1;
  const counted = (instants: Iterable<number>): number[] => {
    const counts = new Array<number>(steps).fill(0);
    for (const ns of instants) if (ns < steps * stepNs) counts[Math.floor(ns / stepNs)]! += 1;
    return counts;
  };
  const planned = counted(plan.map(({ intendedOffsetNs }) => intendedOffsetNs));
  const arrived = counted(arrivedNs);
  let [most, inTen] = [0, 0];
  for (let from = 0; from < steps; from += 1) {
    let [lacks, count] = [0, 0];
    for (let to = from; to < steps; to += 1) {
      lacks += planned[to]! - arrived[to]!;
      count += planned[to]!;
      most = Math.max(most, lacks);
      if (to - from < 10) inTen = Math.max(inTen, count);
    }
  }
  return { most, inTen };
}

describe('a replay at 2x with values of answers, on a clock of its own', () => {
  it('passes only if the target counted twice the recorded requests in every part of the plan', () => {
    const verdicts = new Set<string | null>();
    fc.assert(
      fc.property(traffic, target, (asked, speed) => {
        const plan = planOf(asked);
        const { arrivedNs, document } = play(plan, speed);
        expect(arrivedNs.size).toBe(plan.length);
        verdicts.add(document.verdict);
        if (document.verdict !== 'PASS') return;
        const { most, inTen } = lacking(plan, arrivedNs.values());
        // What one part lacks in its first half may come in its second.
        expect(most).toBeLessThanOrEqual(
          0.02 * plan.length + Math.min(plan.length, Math.max(500, inTen)) / 2,
        );
        const endNs = plan.at(-1)!.intendedOffsetNs + MS;
        const inTime = [...arrivedNs.values()].filter((ns) => ns <= endNs).length;
        expect(inTime / (plan.length / 2)).toBeGreaterThanOrEqual(1.96);
      }),
      { numRuns: 25 },
    );
    expect([...verdicts].sort()).toEqual(['INCONCLUSIVE', 'PASS']);
  });

  it('counts no lateness of a busy generator as waits for the target, and no waits as lateness', () => {
    const period = fc.record({
      fromMs: fc.integer({ min: 0, max: 60_000 }),
      forMs: fc.integer({ min: 100, max: 5_000 }),
      turnMs: fc.integer({ min: 5, max: 300 }),
    });
    fc.assert(
      fc.property(traffic, target, fc.array(period, { maxLength: 4 }), (asked, speed, busy) => {
        const plan = planOf(asked);
        const [free, hampered] = [play(plan, speed), play(plan, speed, busy)];
        for (const [index, dueNs] of free.dueNs)
          expect(Math.abs((hampered.dueNs.get(index) ?? 0) - dueNs)).toBeLessThan(2 * MS);
        expect(hampered.document.fidelity.dueInTime).toBe(free.document.fidelity.dueInTime);
      }),
      { numRuns: 12 },
    );
  });
});
