import { picked } from '../../core/picked.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import type { HistoryRun } from '../../documents/history.ts';
import { isOfWholeAnswers } from '../../documents/metrics/metrics.ts';
import {
  holds,
  IMPLIED_ERRORS,
  type Objective,
  objectiveOf,
  parseObjectives,
} from '../../documents/metrics/objectives.ts';
import type { AsRecordedDocument } from '../../documents/parts.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { runFigures } from '../../documents/run-values.ts';
import {
  STATEMENT_SCHEMA_VERSION,
  type StatementDocument,
  type StatementPart,
  type StatementPlan,
  type StatementRun,
  statementFactsOf,
} from '../../documents/statement.ts';
import { capacityOf } from '../headroom/days.ts';
import { headroom } from '../headroom/forecast.ts';
import { isOfTarget } from '../report/monitors.ts';
import { nistEvidenceOf } from '../report/nist.ts';
import { errorLines, stateOf } from '../report/requests.ts';
import { changedSince, statementFigures } from './figures.ts';
import { limitsOf, notClaimedOf } from './limits.ts';
import { sentenceOf } from './sentence.ts';

/** Where the search is kept, below the directory of a statement. */
export const SEARCH_DIRECTORY = 'search';

/** A part that was replayed to its end, with the directory of its run. */
export interface PlayedPart {
  readonly part: StatementPart;
  readonly directory: string;
  readonly document: ReplayDocument;
}

/** All that a statement rests on. */
export interface StatementEvidence {
  readonly plan: StatementPlan;
  readonly played: readonly PlayedPart[];
  /** Null before the search has ended. */
  readonly capacity: CapacityDocument | null;
  /** Why the smallest load that failed did; null if none failed. */
  readonly explanation: StatementDocument['explanation'];
  /** The last statement of this name; null without one. */
  readonly previous: HistoryRun | null;
  readonly digests: StatementDocument['digests'];
  readonly signedBy: StatementDocument['signedBy'];
  readonly endedAt: string;
  readonly directory: string;
}

/** Whether a part is not to be replayed, because a lower load has failed. */
export function isPointless(part: StatementPart, played: readonly PlayedPart[]): boolean {
  const hasFailed = (lower: StatementPart) =>
    played.some((each) => each.part === lower && each.document.verdict === 'FAIL');
  if (part === 'recorded') return false;
  return hasFailed('recorded') || (part === 'spike' && hasFailed('multiplied'));
}

/** The directory of the run at the smallest load that failed: of a part, else of the search. Null if none failed. */
export function failedRun(played: readonly PlayedPart[], capacity: CapacityDocument | null): string | null {
  const part = played.find(({ document }) => document.verdict === 'FAIL');
  if (part !== undefined) return part.directory;
  const fails = capacity?.breakingPoint.fails?.multiplier;
  const step = capacity?.steps.findLast(
    ({ multiplier, verdict }) => multiplier === fails && verdict === 'FAIL',
  );
  return step === undefined ? null : `${SEARCH_DIRECTORY}/${step.run}`;
}

/** Builds the document of a statement, ready for JSON. */
export function statementDocument(evidence: StatementEvidence): StatementDocument {
  const { plan, played, capacity, explanation, previous } = evidence;
  const facts = statementFactsOf(plan);
  const documents = new Map(played.map(({ part, document }) => [part, document]));
  const runs = plan.parts.map((each): StatementRun => {
    const found = played.find(({ part }) => part === each.part);
    if (found !== undefined) return { ...each, ...playedFacts(found, plan) };
    const none = { directory: null, run: null, verdict: null, multiplier: null };
    const skipped = isPointless(each.part, played) ? 'lower_load_failed' : 'not_reached';
    return { ...each, ...none, skipped, sent: 0, figures: [], resources: [], violated: [] };
  });
  const production = productionOf(documents.get('recorded'));
  const reached = headroom(plan.demand, capacity && capacityOf(capacity));
  const findings = { ...facts, runs, documents, capacity, production, explanation, headroom: reached };
  const limits = limitsOf(findings);
  const isProven = runs.length > 0 && runs.every((run) => run.verdict === 'PASS');
  const isOpen = !isProven || limits.some(({ decides }) => decides);
  const verdict = runs.some((run) => run.verdict === 'FAIL') ? 'FAIL' : isOpen ? 'INCONCLUSIVE' : 'PASS';
  const judged = documents.get('multiplied') ?? documents.get('recorded') ?? null;
  return {
    schemaVersion: STATEMENT_SCHEMA_VERSION,
    kind: 'statement',
    ...facts,
    ...picked(documents.get('recorded') ?? plan, 'serverDetails', 'recordedServer'),
    endedAt: evidence.endedAt,
    verdict,
    sentence: sentenceOf({ ...findings, verdict, limits }),
    confidence: judged?.bounds.confidence ?? null,
    limits,
    production,
    runs,
    breakingPoint:
      capacity &&
      picked(
        ...([capacity, 'endedBy', 'limitedBy', 'load', 'breakingPoint', 'gaveFirst', 'sizing'] as const),
        ...(['noise', 'calibration', 'budgetS', 'spentS'] as const),
      ),
    headroom: reached,
    changed: previous && changedSince(previous, statementFigures({ runs, breakingPoint: capacity })),
    notClaimed: notClaimedOf(findings),
    explanation,
    nist: judged && nistEvidenceOf(judged, capacity),
    ...picked(evidence, 'digests', 'signedBy', 'directory'),
  };
}

function playedFacts(
  { directory, document }: PlayedPart,
  { multiplier, parts }: StatementPlan,
): Omit<StatementRun, keyof StatementPlan['parts'][number]> {
  const isRaised = parts.some(({ part }) => part === 'multiplied' || part === 'spike');
  const stages = document.scalingPlan?.stages ?? null;
  return {
    directory,
    ...picked(document, 'run', 'verdict', 'valid', 'sent'),
    failures: errorLines(document).map((line) => picked(line, 'kind', 'requests')),
    multiplier: stages !== null && isRaised ? multiplier : document.multiplier,
    skipped: null,
    figures: runFigures(document),
    resources: (document.monitors?.series ?? [])
      .filter(isOfTarget)
      .map((series) => picked(series, 'name', 'kind', 'unit', 'source', 'mean', 'max')),
    violated: document.slo
      .filter((line) => stateOf(line, document) === 'violated')
      .map(({ expression }) => expression),
  };
}

/** What production answered to the requests of the run at 1x. */
function productionOf(run: ReplayDocument | undefined): StatementDocument['production'] {
  if (run?.asRecorded === undefined) return null;
  const { answers, latencyMs, failedShare } = run.asRecorded;
  const violated = run.slo.flatMap(({ expression }) => {
    const objective = objectiveOf(expression);
    const value = objective && recordedValue(objective, run.asRecorded!);
    return objective === null || value === null || holds(value, objective) ? [] : [expression];
  });
  return { answers, latencyMs, failedShare, violated };
}

const [ERRORS] = parseObjectives([IMPLIED_ERRORS]);

/** What production had of an objective; null if the recording of a run does not tell. */
function recordedValue(objective: Objective, { latencyMs, failedShare }: AsRecordedDocument): number | null {
  const { aggregation, metric, slice } = objective;
  if (slice !== null) return null;
  if (metric === ERRORS?.metric) return aggregation.kind === 'rate' ? failedShare : null;
  if (!isOfWholeAnswers(objective)) return null;
  if (aggregation.kind === 'max') return latencyMs.max;
  const known: Readonly<Record<string, number | null | undefined>> = latencyMs;
  return aggregation.kind === 'percentile' ? (known[`p${aggregation.percent}`] ?? null) : null;
}
