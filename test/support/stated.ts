import { type PlayedPart, statementDocument } from '../../src/analysis/statement/build-document.ts';
import type { CapacityDocument } from '../../src/documents/capacity.ts';
import type { RankedWindowsDocument } from '../../src/documents/ranked-windows.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import {
  STATEMENT_PARTS,
  type StatementDocument,
  type StatementPart,
  type StatementPlan,
} from '../../src/documents/statement.ts';
import { NO_DEMAND } from './grown-demand.ts';
import { summaryOf } from './reported-runs.ts';
import { playedAt, searched } from './searched.ts';
import { send } from './sends.ts';

const HOURS = 28 * 24;
const FROM_S = Date.parse('2026-11-02T00:00:00Z') / 1e3;
const at = (second: number) => new Date(second * 1e3).toISOString().replace('Z', '000Z');

/** Four weeks of which the Tuesday afternoon of the second is the hardest. */
export const RECORDED: RankedWindowsDocument = {
  schemaVersion: 1,
  kind: 'windows',
  capture: '/captures/november',
  captureDigest: '0123456789abcdef',
  from: at(FROM_S),
  to: at(FROM_S + HOURS * 3_600),
  timeZone: 'UTC',
  days: 28,
  isMonth: true,
  lengthS: 900,
  multiplier: 2,
  requests: 1_950_000,
  compared: 2_688,
  empty: 0,
  longestSilence: null,
  silentS: 0,
  unstored: 0,
  coverage: 1,
  coverageIsAtLeast: false,
  recordersMissing: null,
  server: { executors: 8, isOpen: false, requests: 10_000, multiplier: 2 },
  hardest: [{ dimension: 'wait', subject: null, from: '2026-11-10T14:15:00.000000Z', most: 0.4 }],
  windows: [
    {
      from: '2026-11-10T14:15:00.000000Z',
      to: '2026-11-10T14:30:00.000000Z',
      chosenFor: 'hardness',
      harderThan: 2_687 / 2_688,
      requests: 2_400,
      values: [0.4],
    },
  ],
  hours: {
    at: Array.from({ length: HOURS }, (_, hour) => FROM_S + hour * 3_600),
    requests: Array.from({ length: HOURS }, (_, hour) => 1_000 + (hour % 24) * 150),
  },
  otherNames: 0,
};

const SLO = 'latency: p(95)<200';

export const PLAN: StatementPlan = {
  schemaVersion: 1,
  kind: 'statement-plan',
  version: '0.1.0',
  name: null,
  capture: '/captures/november',
  target: 'http://127.0.0.1:8000',
  labels: { build: 'v1.4.2' },
  captureDigest: '0123456789abcdef',
  startedAt: '2026-12-01T09:00:00.000000Z',
  objectives: [SLO, 'errors: rate<0.01'],
  multiplier: 2,
  budgetS: null,
  recorded: RECORDED,
  window: {
    from: '2026-11-10T14:15:00.000000Z',
    to: '2026-11-10T14:30:00.000000Z',
    lengthS: 900,
    chosenBy: 'hardest',
    harderThan: 2_687 / 2_688,
  },
  filtered: [],
  sendable: true,
  settings: '',
  parts: STATEMENT_PARTS.filter((part) => part !== 'faults').map((part) => ({
    part,
    lengthS: 900,
    wholeS: 900,
    windowShare: 1,
  })),
  ranges: [{ fromUs: 0, toUs: 900e6 }],
  searchS: 600,
  demand: NO_DEMAND,
};

/** A run of a part with this verdict. */
export function playedPart(
  part: StatementPart,
  verdict: ReplayDocument['verdict'],
  facts: Partial<ReplayDocument> = {},
): PlayedPart {
  const isFail = verdict === 'FAIL';
  const sends = Array.from({ length: 200 }, (_, index) =>
    send({
      index,
      intendedOffsetNs: index * 1e7,
      lastByteOffsetNs: index * 1e7 + (isFail ? 400e6 : 100e6),
    }),
  );
  const document = { ...summaryOf(sends, { slo: [SLO] }), ...facts };
  return { part, directory: part, document: { ...document, verdict } };
}

/** Loads that the target of `searched` serves, and the first that it does not. */
export const BREAKING = searched([1, 2, 3, 4, 4.5, 5, 6, 8].map((load) => playedAt(load)));

/** The statement of these verdicts. */
export function stated(
  verdicts: Partial<Readonly<Record<StatementPart, ReplayDocument['verdict']>>> = {
    recorded: 'PASS',
    multiplied: 'PASS',
    spike: 'PASS',
  },
  {
    plan = {},
    capacity = BREAKING,
    run = {},
  }: {
    readonly plan?: Partial<StatementPlan>;
    readonly capacity?: CapacityDocument | null;
    /** Of every run. */
    readonly run?: Partial<ReplayDocument>;
  } = {},
): StatementDocument {
  return statementDocument({
    plan: { ...PLAN, ...plan },
    played: STATEMENT_PARTS.flatMap((part) => {
      const verdict = verdicts[part];
      return verdict === undefined ? [] : [playedPart(part, verdict, run)];
    }),
    capacity,
    explanation: null,
    previous: null,
    digests: [{ file: 'recorded/summary.json', sha256: 'a'.repeat(64) }],
    signedBy: null,
    endedAt: '2026-12-01T10:00:00.000000Z',
    directory: 'runs/november',
  });
}
