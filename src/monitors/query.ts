import { refused } from '../core/units.ts';

/** A series that the user names: PromQL for a Prometheus. If it is a plain selector, it also applies to scrapes. */
export interface MonitorQuery {
  readonly name: string;
  readonly promql: string;
  /** For the recorded window only, where it replaces the query of the same name. */
  readonly isRecorded: boolean;
  /** Null if the query is more than one selector with `=` matchers. */
  readonly selector: Selector | null;
}

interface Selector {
  readonly metric: string;
  readonly labels: readonly (readonly [string, string])[];
  /** Whether its name ends in `_total`, like those of counters. */
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
      "For example: --monitor 'queue_length=sum(my_queue_depth)'.",
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
