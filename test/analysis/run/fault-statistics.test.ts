import { describe, expect, it } from 'vitest';
import { FaultStatistics } from '../../../src/analysis/run/fault-statistics.ts';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { withFaults } from '../../../src/app/replay/fault-player.ts';
import type { FaultWindow, Send } from '../../../src/core/run.ts';
import type { FaultDocument } from '../../../src/documents/faults.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

const S = 1e9;
const GAP = 0.02 * S;
/** On from 10 s to 20 s of a run of 60 s. */
const WINDOW: FaultWindow = {
  name: 'cut',
  fromNs: 10 * S,
  toNs: 20 * S,
  recoveredNs: 20 * S,
  isJudgedApart: false,
};

/** 3,000 requests in 60 s; those whose time `fails` names are answered 503. */
function run(fails: (second: number) => boolean, ms = 10): Send[] {
  return Array.from({ length: 3_000 }, (_, index) => {
    const intendedOffsetNs = index * GAP;
    const status = fails(intendedOffsetNs / S) ? 503 : 200;
    // No two are alike.
    const lastByteOffsetNs = intendedOffsetNs + ms * 1e6 + (index % 10) * 1e5;
    return send({ index, intendedOffsetNs, lastByteOffsetNs, status });
  });
}

function figuresOf(sends: readonly Send[], slo: readonly string[] = [], window = WINDOW) {
  const statistics = new FaultStatistics([window], 0, { objectives: parseObjectives(slo), isCompared: true });
  statistics.addSends(sends);
  return statistics.figures()[0]!;
}

describe('the requests of a planned fault', () => {
  it('are told apart by their planned instant', () => {
    const { before, during, after, inFlight } = figuresOf(run((at) => at >= 10 && at < 20));
    expect([before, during, after].map(({ requests, failed }) => [requests, failed])).toEqual([
      [500, 0],
      [500, 500],
      [2_000, 0],
    ]);
    expect(inFlight).toBe(0);
  });

  it('are also those in flight when it began, of the last second before it', () => {
    const sends = run(() => false, 15_000);
    const { before, during, inFlight } = figuresOf(sends);
    expect([before.requests, during.requests, inFlight]).toEqual([450, 550, 50]);
  });

  it('are compared with their recorded answers when that is known', () => {
    const sends = run(() => false);
    const statistics = new FaultStatistics([WINDOW], 0, { objectives: [], isCompared: true });
    statistics.addSends(sends);
    const differs = { result: 'mismatch', kind: 'status', pointer: null } as const;
    statistics.addChecks(
      sends.map((each) => ({ ...each, check: each.index < 600 ? differs : { result: 'same' } })),
    );
    const [figures] = statistics.figures();
    expect(figures?.before).toMatchObject({ checked: 500, mismatched: 500 });
    expect(figures?.during).toMatchObject({ checked: 500, mismatched: 100 });
  });
});

describe('the time to recover', () => {
  it('ends with the first request from which on the objectives hold', () => {
    expect(figuresOf(run((at) => at >= 10 && at < 23)).recoveryNs).toBe(3 * S);
    expect(figuresOf(run((at) => at >= 10 && at < 20)).recoveryNs).toBe(0);
  });

  it('does not end with a request that succeeds by chance', () => {
    const recovery = figuresOf(
      run((at) => at >= 10 && at < 24 && Math.round(at / 0.02) % 7 !== 0),
    ).recoveryNs;
    expect((recovery ?? 0) / S).toBeGreaterThan(3.9);
  });

  it('goes by each of more objectives than a number has bits', () => {
    const sends = run((at) => at >= 10 && at < 23);
    const loose = Array.from({ length: 31 }, (_, at) => `latency: p(50)<${1_000 + at}`);
    // Four of ten break the first; the last has the same place in a number of 32 bits.
    const slo = ['latency: p(10)<10.55', ...loose, 'latency: p(99)<5000'];
    expect(figuresOf(sends, slo).recoveryNs).toBe(3 * S);
  });

  it('goes by the limits of the times too', () => {
    const sends = run(() => false).map((each) => {
      const at = each.intendedOffsetNs / S;
      return at >= 10 && at < 26 ? { ...each, lastByteOffsetNs: each.intendedOffsetNs + 0.5 * S } : each;
    });
    const { recoveryNs, recoveredBy } = figuresOf(sends, ['latency: p(99)<200']);
    expect(recoveryNs).toBe(6 * S);
    expect(recoveredBy).toEqual(['latency: p(99)<200', 'errors: rate<0.01', 'rejected: rate<0.01']);
  });

  it('does not end before a relapse in the time that was stated for it', () => {
    const window = { ...WINDOW, recoveredNs: 55 * S };
    const again = run((at) => at >= 10 && at < 50 && !(at >= 20 && at < 26));
    expect(figuresOf(again, [], window).recoveryNs).toBe(30 * S);
    const never = run((at) => at >= 26);
    expect(figuresOf(never, [], window)).toMatchObject({ recoveryNs: null, isRecoverySeen: true });
  });

  it('does not end with answers that turn requests away, unless as many were recorded', () => {
    const away = run(() => false).map((each) =>
      each.intendedOffsetNs >= 20 * S && each.intendedOffsetNs < 24 * S ? { ...each, status: 429 } : each,
    );
    expect(figuresOf(away).recoveryNs).toBe(4 * S);
    const recorded = { status: 429, bytes: 0, streamed: false, tookNs: null, tellsError: null };
    const before = away.map((each) => ({ ...each, recorded }));
    expect(figuresOf(before).recoveryNs).toBe(0);
    // A third is turned away, as in the recording, and not the same third.
    const thirds = run(() => false).map((each) => ({
      ...each,
      status: each.index % 3 === 0 ? 429 : 200,
      recorded: { ...recorded, status: each.index % 3 === 1 ? 429 : 200 },
    }));
    expect(figuresOf(thirds).recoveryNs).toBe(0);
    const unrecorded = thirds.map((each) => ({ ...each, recorded: null }));
    expect(figuresOf(unrecorded).recoveryNs).toBeNull();
    expect(figuresOf(unrecorded, ['rejected: rate<0.4']).recoveryNs).toBe(0);
  });

  it('is unknown where the run ends before the objectives have held for long enough', () => {
    const late = { ...WINDOW, toNs: 59 * S, recoveredNs: 59 * S };
    const held = figuresOf(
      run(() => false),
      [],
      late,
    );
    expect(held).toMatchObject({ recoveryNs: null, isRecoverySeen: false });
  });

  it('is no failure where the run ends before the time that was stated for it', () => {
    const failing = run((at) => at >= 10);
    const stated = (toS: number, recoveredS: number) =>
      figuresOf(failing, [], { ...WINDOW, toNs: toS * S, recoveredNs: recoveredS * S });
    expect(stated(58, 68)).toMatchObject({ recoveryNs: null, isRecoverySeen: false });
    expect(stated(40, 50)).toMatchObject({ recoveryNs: null, isRecoverySeen: true });
  });

  it('is not seen under another fault', () => {
    const other = { ...WINDOW, name: 'other', fromNs: 15 * S, toNs: 40 * S, recoveredNs: 40 * S };
    const statistics = new FaultStatistics([WINDOW, other], 0, { objectives: [], isCompared: false });
    statistics.addSends(run((at) => at >= 10 && at < 20));
    const [first, second] = statistics.figures();
    expect(first).toMatchObject({ recoveryNs: null, isRecoverySeen: false, after: { requests: 0 } });
    expect(second).toMatchObject({ recoveryNs: 0, after: { requests: 1_000 } });
  });

  it('does not end in the last seconds before the next fault', () => {
    const next = { ...WINDOW, name: 'next', fromNs: 24 * S, toNs: 30 * S, recoveredNs: 30 * S };
    const statistics = new FaultStatistics([WINDOW, next], 0, { objectives: [], isCompared: false });
    statistics.addSends(run(() => false));
    expect(statistics.figures()[0]).toMatchObject({ recoveryNs: null, isRecoverySeen: false });
  });

  it('is unknown where the objectives never hold again, or too few requests follow', () => {
    expect(figuresOf(run((at) => at >= 10))).toMatchObject({ recoveryNs: null, isRecoverySeen: true });
    const late = { ...WINDOW, toNs: 59.8 * S, recoveredNs: 59.8 * S };
    expect(
      figuresOf(
        run(() => false),
        [],
        late,
      ),
    ).toMatchObject({ recoveryNs: null, isRecoverySeen: false });
  });
});

/** Judges a run with a fault, as a replay does. */
function judged(
  sends: readonly Send[],
  { slo = ['errors: rate<0.01'], during = [] as string[], window = {}, facts = {} as Partial<FaultDocument> },
) {
  const apart = { ...WINDOW, isJudgedApart: during.length > 0, ...window };
  const plan = { control: '', faults: [{ ...apart, stated: {} as never, during: duringOf(during) }] };
  const objectives = withFaults(parseObjectives(slo), plan);
  const statistics = new RunStatistics(0, null, { objectives, stageEndsNs: [], faults: [apart] });
  for (const each of sends) statistics.addPlanned(exchangeRow({ status: 200 }), each.intendedOffsetNs);
  statistics.addSends(sends);
  const recovery = { s: 0, limitS: null, by: [], ok: null };
  const fault = {
    name: 'cut',
    fault: 'latency',
    problem: null,
    injected: 5,
    recovery,
    ...facts,
  } as FaultDocument;
  const {
    verdict,
    reasons,
    results: lines,
  } = judge(contextOf(sends, { figures: statistics.figures(), faults: [fault] }), objectives);
  return {
    verdict,
    codes: reasons.map(({ code }) => code),
    lines: lines.map(({ objective, ok }) => [objective.expression, ok]),
  };
}

function duringOf(texts: readonly string[]) {
  return parseObjectives(texts.map((text) => text.replace(/^(\w+):/, '$1{fault=cut}:'))).filter(
    ({ slice }) => slice !== null,
  );
}

describe('the verdict of a run with a planned fault', () => {
  const outage = run((at) => at >= 10 && at < 20);

  it('is FAIL where nothing is stated for the fault: its failures count', () => {
    expect(judged(outage, {})).toMatchObject({ verdict: 'FAIL', codes: ['slo_violated'] });
  });

  it('takes the stated objectives in the window and those of the run outside', () => {
    const { verdict, lines } = judged(outage, { during: ['errors: rate<=1'] });
    expect(verdict).toBe('PASS');
    expect(lines).toEqual([
      ['errors{fault=none}: rate<0.01', true],
      ['errors{fault=cut}: rate<=1', true],
      ['rejected{fault=none}: rate<0.01', true],
      ['rejected{fault=cut}: rate<0.01', true],
    ]);
  });

  it('is FAIL where the window breaks what was stated for it, or the rest what was stated for the run', () => {
    expect(judged(outage, { during: ['errors: rate<0.5'] }).verdict).toBe('FAIL');
    const before = run((at) => at < 2 || (at >= 10 && at < 20));
    expect(judged(before, { during: ['errors: rate<=1'] }).verdict).toBe('FAIL');
    const behind = run((at) => at >= 10 && at < 22);
    expect(judged(behind, { during: ['errors: rate<=1'] }).verdict).toBe('FAIL');
  });

  it('holds failures outside of the window against a run without objectives of its own', () => {
    const behind = run((at) => at >= 10 && at < 22);
    expect(judged(behind, { slo: [], during: ['errors: rate<=1'] }).verdict).toBe('FAIL');
  });

  it('leaves the time to recover to its limit', () => {
    const behind = run((at) => at >= 10 && at < 22);
    const window = { recoveredNs: 23 * S };
    const recovery = { s: 2, limitS: 3, by: [], ok: true };
    const stated = { during: ['errors: rate<=1'], window };
    expect(judged(behind, { ...stated, facts: { recovery } }).verdict).toBe('PASS');
    const slow = { ...recovery, s: 5, ok: false };
    expect(judged(behind, { ...stated, facts: { recovery: slow } })).toMatchObject({
      verdict: 'FAIL',
      codes: ['recovery_too_slow'],
    });
    const unknown = { ...recovery, s: null, ok: null };
    expect(judged(behind, { ...stated, facts: { recovery: unknown } })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      codes: ['recovery_unknown'],
    });
  });

  it('proves nothing where the fault was not there, was not felt, or stayed', () => {
    const during = ['errors: rate<=1'];
    const absent = { problem: 'it could not be set' };
    expect(judged(outage, { during, facts: absent })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      codes: ['fault_not_as_planned'],
    });
    expect(judged(outage, { during, facts: { injected: 0 } })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      codes: ['fault_not_felt'],
    });
    const unmet = { fault: 'down', injected: 0 };
    expect(judged(outage, { during, facts: unmet }).codes).toEqual(['fault_not_felt']);
    expect(judged(outage, { facts: absent }).verdict).toBe('INCONCLUSIVE');
  });
});
