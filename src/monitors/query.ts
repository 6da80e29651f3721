import { refused } from '../core/units.ts';

/** A series that the user names: PromQL for a Prometheus, and where it is a plain selector for scrapes as well. */
export interface MonitorQuery {
  readonly name: string;
  readonly promql: string;
  /** Of the recorded window only, in place of the query of the same name. */
  readonly isRecorded: boolean;
  /** Null for what is more than one selector with equal labels. */
  readonly selector: Selector | null;
}

interface Selector {
  readonly metric: string;
  readonly labels: readonly (readonly [string, string])[];
  /** By its name: it ends in `_total`, as counters do. */
  readonly isCounter: boolean;
}

const SELECTOR = /^([a-zA-Z_:][\w:]*)\s*(?:\{((?:\s*[a-zA-Z_]\w*\s*=\s*"[^"\\]*"\s*,?)*)\s*\})?$/;

/** `NAME=PROMQL`, or `NAME@recorded=PROMQL`. @throws AppError OPTION_INVALID */
export function parseMonitorQuery(text: string, what: string): MonitorQuery {
  const [, name, recorded, promql = ''] = /^([a-z_]\w*)(@recorded)?\s*=\s*(.+)$/s.exec(text.trim()) ?? [];
  if (name === undefined) {
    throw refused(
      what,
      text,
      'is no NAME=PROMQL',
      "For example: --monitor-query 'queue_length=sum(my_queue_depth)'.",
    );
  }
  return {
    name,
    promql: promql.trim(),
    isRecorded: recorded !== undefined,
    selector: selectorOf(promql.trim()),
  };
}

function selectorOf(promql: string): Selector | null {
  const [, metric, inside = ''] = SELECTOR.exec(promql) ?? [];
  if (metric === undefined) return null;
  const labels = [...inside.matchAll(/([a-zA-Z_]\w*)\s*=\s*"([^"]*)"/g)].map(
    ([, label = '', value = '']) => [label, value] as const,
  );
  return { metric, labels, isCounter: metric.endsWith('_total') };
}
