import {
  autoscalingOf,
  type LoadSeconds,
  type ReplicaSeries,
} from '../../analysis/autoscaling/autoscaling.ts';
import { labelsText } from '../../analysis/report/monitors.ts';
import type { AutoscalingDocument } from '../../documents/autoscaling.ts';
import type { ConnectionsDocument } from '../../documents/connections.ts';
import type { MonitorSample } from '../../documents/monitors.ts';
import type { StoredSeries } from '../../storage/runs/monitored.ts';

interface AutoscalingParts {
  readonly series: readonly StoredSeries[];
  readonly samplesOf: (series: number) => readonly MonitorSample[];
  readonly intervalsS: ReadonlyMap<string, number>;
  readonly load: LoadSeconds;
  readonly byAddress: ConnectionsDocument['byAddress'];
  readonly stageEndsNs: readonly number[];
  readonly fromNs: number;
  readonly toNs: number;
  readonly ratePerReplica: number | null;
}

/** The autoscaling of a finished run; null if no ready replicas were monitored. */
export function runAutoscaling(parts: AutoscalingParts): AutoscalingDocument | null {
  const ready = movingOf('replicas_ready', parts);
  if (ready === null) return null;
  const desired = movingOf('replicas_desired', parts);
  return autoscalingOf({
    ...parts,
    ready,
    desired,
    intervalS: Math.max(ready.intervalS, desired?.intervalS ?? 0),
    firstRequestsNs: parts.byAddress.flatMap(({ firstRequestS }) =>
      firstRequestS == null ? [] : [firstRequestS * 1e9],
    ),
  });
}

/** If there are several deployments, the one with the largest change. */
function movingOf(name: string, parts: AutoscalingParts): (ReplicaSeries & { intervalS: number }) | null {
  const all = parts.series
    .filter((series) => series.name === name)
    .map((series) => {
      const samples = parts.samplesOf(series.series);
      const known = samples.flatMap(({ value }) => (value === null ? [] : [value])).sort((a, b) => a - b);
      return {
        samples,
        text: `${series.name}${labelsText(series)} of ${series.source}`,
        intervalS: parts.intervalsS.get(series.source) ?? 1,
        moved: known.length === 0 ? -1 : (known.at(-1) ?? 0) - (known[0] ?? 0),
      };
    })
    .sort((a, b) => b.moved - a.moved);
  return all[0] ?? null;
}
