import { isTurnedAway } from '../../core/run.ts';
import { formatMs } from '../../core/units.ts';
import { isOfStreams, isTimed } from '../../documents/metrics/metrics.ts';
import { objectiveOf } from '../../documents/metrics/objectives.ts';
import type { MissingGoodput } from '../../documents/parts.ts';
import type { ObjectiveLine, ReplayDocument } from '../../documents/replay.ts';
import { limitedValue } from '../../documents/run-values.ts';
import { metricName, shareText } from '../render/table.ts';

/** What a reader must know about the observed values of objectives, below their table. */
export function objectiveNotes(document: ReplayDocument): string[] {
  const lacking = document.slo.flatMap((line) => {
    const text = objectiveLacks(line, document);
    return text === null ? [] : [`${line.expression} lacks ${text}.`];
  });
  const differing = differingTimes(document);
  if (differing.length === 0) return lacking;
  const values = differing.map(({ name, ms }) => `${metricName(name)} is ${formatMs(ms)}`);
  return [...lacking, `${unservedText(document)} Of completed requests alone, ${values.join(', ')}.`];
}

/** Which requests objectives count that the latency below them lacks; null if no value differs by it. */
export function unservedNote(document: ReplayDocument): string | null {
  return differingTimes(document).length === 0 ? null : unservedText(document);
}

function unservedText(document: ReplayDocument): string {
  const { failed, refused, unreached, cancelled, streams } = document;
  const isOfStreamsToo = differingTimes(document).some(isOfStreams);
  const infinite = [
    ...(failed > 0 ? ['failed'] : []),
    ...(refused + unreached > 0 ? ['unsent'] : []),
    ...(isOfStreamsToo && streams.turnedAway + streams.whole > 0 ? ['unstreamed'] : []),
  ];
  const counted = [
    ...(infinite.length === 0 ? [] : [`${infinite.join(' and ')} requests as infinitely slow`]),
    ...(cancelled === 0 ? [] : ['cancelled ones up to their end']),
  ];
  return `Objectives count ${counted.join(', ')}.`;
}

/** The times of completed requests that differ from the observed values of objectives on all requests. */
function differingTimes(document: ReplayDocument) {
  return document.slo.flatMap(({ expression, observed }) => {
    const objective = objectiveOf(expression);
    if (objective === null || !isTimed(objective.metric)) return [];
    const { name = '', ms = null } = limitedValue(objective, document) ?? {};
    return ms === null || observed === null || ms === observed ? [] : [{ ...objective, name, ms }];
  });
}

/** What the goodput within all limits lacks, or else the first objective on it; null for nothing. */
export function goodputLacks(document: ReplayDocument): string | null {
  const { slo, throughput } = document;
  const goodput = throughput?.goodput ?? null;
  if (goodput !== null) return missingText(goodput.missing, 1 - goodput.good / goodput.of, document);
  const ofAll = slo.find((line) => line.goodput != null && line.slice == null);
  return ofAll === undefined ? null : objectiveLacks(ofAll, document);
}

function objectiveLacks({ observed, goodput }: ObjectiveLine, document: ReplayDocument): string | null {
  return missingText(goodput?.missing, typeof observed === 'number' ? 1 - observed : 0, document);
}

/**
 * `38 %: 33 % status 404, 5 % too late`; null if nothing is missing, or a document of an earlier version lacks it.
 * @param share the share of requests that were not good
 */
function missingText(
  missing: MissingGoodput | undefined,
  share: number,
  answers: Pick<ReplayDocument, 'statuses'>,
): string | null {
  if (missing === undefined || share === 0) return null;
  const { late, failed, turnedAway, whole, unsent, cancelled = 0 } = missing;
  const all = late + failed + turnedAway + whole + unsent + cancelled;
  const reasons = [
    [late, 'too late'],
    [failed, 'failed'],
    [turnedAway, turnedAwayWords(answers)],
    [whole, 'not streamed'],
    [unsent, 'not sent'],
    [cancelled, 'cancelled too late'],
  ] as const;
  const parts = reasons
    .filter(([requests]) => requests > 0)
    .sort(([a], [b]) => b - a)
    .map(([requests, words]) => `${shareText((requests / all) * share)} ${words}`);
  return all === 0 ? null : `${shareText(share)}: ${parts.join(', ')}`;
}

/** `status 404` if there is no other, else their class. */
function turnedAwayWords({ statuses }: Pick<ReplayDocument, 'statuses'>): string {
  const turnedAway = Object.keys(statuses).filter((status) => isTurnedAway(Number(status)));
  if (turnedAway.length === 1) return `status ${turnedAway[0]}`;
  return turnedAway.every((status) => status.startsWith('4')) ? 'status 4xx' : 'status not 2xx';
}
