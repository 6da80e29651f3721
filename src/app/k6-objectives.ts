import { SLICE_KEYS, sliceValueOf } from '../analysis/verdict/slices.ts';
import { parseSlo, type Threshold } from '../analysis/verdict/slo.ts';
import type { ExportedObjective, ExportedObjectives, ExportedSend } from '../formats/export-writer.ts';

/** What our script measures in k6, by metric. */
const MEASURED = { latency: 'scheduled_latency', service: 'service_latency', errors: 'errors' } as const;

/**
 * Objectives in k6's terms, as far as it has them.
 * @returns null without objectives
 * @throws AppError OPTION_INVALID for what is no objective
 */
export function k6Objectives(texts: readonly string[], mode: 'exact' | 'rate'): ExportedObjectives | null {
  if (texts.length === 0) return null;
  const cannotCarry: string[] = [];
  const objectives = parseSlo(texts).flatMap((threshold): ExportedObjective[] => {
    const why = whyNot(threshold, mode);
    if (why !== null) cannotCarry.push(`the objective ${threshold.expression}: ${why}`);
    return why === null ? [objectiveOf(threshold)] : [];
  });
  return { objectives, cannotCarry, tagValueOf };
}

/** Null for an objective that k6 can hold. */
function whyNot({ metric, aggregation, slice }: Threshold, mode: 'exact' | 'rate'): string | null {
  if (metric === 'ttft' || metric === 'itl' || metric === 'tpot')
    return 'k6 does not see the tokens of a stream';
  if (!Object.hasOwn(MEASURED, metric)) return `k6 has no ${metric}`;
  if (metric === 'latency' && mode === 'rate')
    return 'without --mode exact no request has an instant of its own';
  if (aggregation.kind === 'count') return 'k6 holds a rate of errors, no count';
  for (const { key, value } of slice?.tags ?? []) {
    if (key === 'stage') return 'requests have no tag that says their stage';
    if (key === 'size' && value.includes('..')) return 'sizes are tagged small, medium and large only';
    if (/[,"']/.test(value)) return 'k6 cannot take commas and quotes in the value of a tag';
  }
  return slice?.each === 'stage' ? 'requests have no tag that says their stage' : null;
}

function objectiveOf({ metric, aggregation, operator, limit, slice }: Threshold): ExportedObjective {
  const kind = aggregation.kind === 'percentile' ? `p(${aggregation.percent})` : aggregation.kind;
  return {
    metric: MEASURED[metric as keyof typeof MEASURED],
    condition: `${kind}${operator}${limit}`,
    tags: (slice?.tags ?? []).map(({ key, value }) => [tagOf(key, value), value]),
    each: slice?.each ?? null,
  };
}

/** A path alone is a tag of its own: k6 compares whole values. */
function tagOf(key: string, value: string): string {
  return key === 'route' && value.startsWith('/') ? 'path' : key;
}

/** The value of a request's tag; null where it has none. */
function tagValueOf({ row, request }: ExportedSend, tag: string): string | null {
  if (tag === 'path') return row.route === null ? null : row.route.slice(row.route.indexOf(' ') + 1);
  const key = SLICE_KEYS.find((known) => known === tag);
  if (key === undefined) return null;
  return sliceValueOf(key, {
    model: row.model,
    route: row.route,
    client: row.client && Buffer.from(row.client).toString('hex'),
    requestBytes: request?.body?.length ?? 0,
    stage: 1,
  });
}
