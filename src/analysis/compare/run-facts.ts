import type { FactDifference } from '../../documents/comparison.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { isStoppedByFailures } from '../verdict/run-context.ts';
import type { ComparisonReason } from './compare-pairs.ts';

/** Options of a run that decide what is sent and when. The words are those of the run's `options`. */
const PLAN_OPTIONS = [
  'fromUs', 'toUs', 'window', 'filters', 'multiplier', 'scaling', 'stages', 'targetShare', 'seed', 'jitterMs',
  'perturb', 'shard', 'maxRequests', 'connections', 'warmupMs', 'cancels', 'pinOutputLength', 'requestUsage',
  'shiftTime', 'maxInFlight', 'removedHeaders', 'pathMappings',
] as const; // biome-ignore format: a list of words
/**
 * The same, of which older runs say nothing: what one side does not know is no difference. How long an answer is
 * waited for, and what is refused, decide what counts as failed.
 */
const LATER_OPTIONS = [
  'sessionOrder', 'timeoutMs', 'connectTimeoutMs', 'firstByteTimeoutMs', 'idleTimeoutMs', 'drainDeadlineMs',
  'maxRatePerSecond', 'maxInFlightBytes', 'host', 'addedHeaders',
] as const; // biome-ignore format: a list of words
/** Kept short: a list of windows can be long. */
const MAX_TEXT = 160;

/** Causes in a run's own judgement that are ours, so that its figures say nothing of the target. */
const OUR_CAUSES: ReadonlySet<string> = new Set([
  'interrupted',
  'nothing_planned',
  'achieved_below',
  'arrivals_off_plan',
  'in_flight_cap',
  'shards_missing',
  'shards_apart',
]);

/** Where the guard stopped a run, these are the target's doing, and what it did answer counts against it. */
const CAUSED_BY_FAILURES: ReadonlySet<string> = new Set(['interrupted', 'achieved_below']);

/** What two runs do not have in common of what they must. */
export function runFactDifferences(a: ReplayDocument, b: ReplayDocument): FactDifference[] {
  const facts: [string, unknown, unknown][] = [
    ['capture', nameOf(a.capture), nameOf(b.capture)],
    ...PLAN_OPTIONS.map((name): [string, unknown, unknown] => [name, a.options[name], b.options[name]]),
    ...LATER_OPTIONS.filter((name) => name in a.options && name in b.options).map(
      (name): [string, unknown, unknown] => [name, statedOf(a, name), statedOf(b, name)],
    ),
  ];
  // A run that was not checked is held to nothing; two that were, to the same.
  const [checkA, checkB] = [a.options['check'] ?? null, b.options['check'] ?? null];
  return differing(checkA === null || checkB === null ? facts : [...facts, ['check', checkA, checkB]]);
}

/** Of headers that are set on every request the names: a run keeps no values, because they may be credentials. */
function statedOf({ options }: ReplayDocument, name: string): unknown {
  const value = options[name];
  if (name !== 'addedHeaders' || !Array.isArray(value)) return value;
  return [...new Set(value.map((each) => String(each).toLowerCase()))].sort();
}

/** Where a capture lay, and how it was named, is another matter on each machine: its requests tell which one it is. */
function nameOf(capture: string): string {
  return capture.split(/[/\\]+/).findLast((part) => part !== '' && part !== '.') ?? capture;
}

/** What keeps a run, which is B, from being held against its recording. */
export function recordingFactDifferences(run: ReplayDocument): FactDifference[] {
  return differing([
    ['multiplier', 1, run.options['multiplier'] ?? run.multiplier],
    ['stages', null, run.options['stages'] ?? null],
    ['targetShare', 1, run.options['targetShare'] ?? 1],
    ['shard', null, run.options['shard'] ?? null],
  ]);
}

/** Causes on our own side that keep a run from being compared. */
export function runDoubts(
  side: 'A' | 'B',
  { reasons, notes, interrupted }: ReplayDocument,
): ComparisonReason[] {
  const isOurs = (code: string) =>
    OUR_CAUSES.has(code) && !(isStoppedByFailures(interrupted) && CAUSED_BY_FAILURES.has(code));
  return [...reasons, ...notes]
    .filter(({ code, severity }) => severity === 'doubt' && isOurs(code))
    .map(({ code, text, advice }) => ({
      code: `run_${side.toLowerCase()}_${code}`,
      text: `${side} is no valid run: ${text}`,
      advice,
    }));
}

export function differing(facts: readonly (readonly [string, unknown, unknown])[]): FactDifference[] {
  return facts.flatMap(([fact, a, b]) => {
    const [textA, textB] = [textOf(a), textOf(b)];
    return textA === textB ? [] : [{ fact, a: shortened(textA), b: shortened(textB) }];
  });
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null);
}

function shortened(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}
