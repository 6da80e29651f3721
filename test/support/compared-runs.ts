import { join } from 'node:path';
import { totalsOf } from '../../src/analysis/run/run-statistics.ts';
import { summariseReplay } from '../../src/analysis/verdict/summary.ts';
import type { Run, Send } from '../../src/core/run.ts';
import type { JudgementBounds } from '../../src/documents/replay.ts';
import { SqliteRunStore } from '../../src/storage/runs/store.ts';
import { queuePair } from './queue-simulator.ts';
import { contextOf } from './run-contexts.ts';
import { run, send } from './sends.ts';
import { temporaryDirectory } from './temp-dir.ts';

let runs = 0;

export interface ComparedRunFacts {
  readonly run?: Partial<Run>;
  /** Why it was interrupted. */
  readonly interrupted?: string;
  readonly directory?: string;
  readonly bounds?: Partial<JudgementBounds>;
}

/** Stores a sealed run of these sends, as a replay does. @returns its directory */
export function comparedRun(sends: readonly Send[], facts: ComparedRunFacts = {}): string {
  const directory = facts.directory ?? join(temporaryDirectory(), 'run');
  const store = new SqliteRunStore(directory);
  runs += 1;
  const own = run({ id: `01JDTEST${runs}`, ...facts.run });
  const context = contextOf(sends, { interrupted: facts.interrupted ?? null });
  const { figures, health, coverage, multiplier, interrupted } = context;
  const document = summariseReplay({
    figures,
    health,
    coverage,
    multiplier,
    interrupted,
    run: own,
    objectives: [],
    ...(facts.bounds === undefined ? {} : { bounds: facts.bounds }),
    scaling: 'compress',
    skipped: {},
    unreplayable: 0,
  });
  store.append(sends);
  store.seal(own, totalsOf(figures), document);
  return directory;
}

/** Sends 20 ms apart to a calm server, and the same sends to a server that is slower by a factor. */
export function calmSends(
  count: number,
  slowdown: number,
  parts: (index: number) => Partial<Send> = () => ({}),
) {
  const drawn = queuePair({ requests: count, executors: 4, load: 0.5, service: 'steady', slowdown, seed: 3 });
  const side = (latencies: Float64Array, isB: boolean): Send[] =>
    [...latencies].map((second, index) => {
      const intendedOffsetNs = index * 20e6;
      const base = send({
        index,
        intendedOffsetNs,
        firstByteOffsetNs: intendedOffsetNs + 1,
        lastByteOffsetNs: intendedOffsetNs + Math.round(second * 30e6),
      });
      return isB ? { ...base, ...parts(index) } : base;
    });
  return { a: side(drawn.a, false), b: side(drawn.b, true) };
}
