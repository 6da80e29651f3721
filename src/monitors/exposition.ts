/** One line of a scrape. */
export interface ExposedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** When it was taken, epoch milliseconds; null where the line does not say, which means now. */
  readonly timestampMs: number | null;
}

export interface Exposition {
  readonly samples: readonly ExposedSample[];
  /** Names that nobody wanted, less the parts of histograms. */
  readonly unknown: number;
  /** Lines that are none of the format. */
  readonly malformed: number;
}

const NAME = /^[a-zA-Z_:][\w:]*/;
const HISTOGRAM_PART = /_(?:bucket|sum|count|created|total)$/;

/**
 * Reads a scrape in the text format of Prometheus 0.0.4 or in OpenMetrics 1.0. A histogram's buckets are read like any
 * other line, by the name of the line.
 * @param wanted which names are read; of the others only the names are counted
 * @param isOpenMetrics timestamps are seconds there, not milliseconds
 */
export function parseExposition(
  text: string,
  wanted: (name: string) => boolean = () => true,
  isOpenMetrics = false,
): Exposition {
  const samples: ExposedSample[] = [];
  const unknown = new Set<string>();
  let malformed = 0;
  for (let from = 0; from < text.length; ) {
    const end = text.indexOf('\n', from);
    const line = text.slice(from, end < 0 ? undefined : end).trim();
    from = end < 0 ? text.length : end + 1;
    if (line === '' || line.startsWith('#')) continue;
    const name = NAME.exec(line)?.[0];
    if (name !== undefined && !wanted(name)) {
      unknown.add(name.replace(HISTOGRAM_PART, ''));
      // What is no sample at all is no name either: `<html>` and JSON begin with none.
      if (!/[\s{]/.test(line[name.length] ?? '')) malformed += 1;
      continue;
    }
    const sample = name === undefined ? null : parseSample(name, line.slice(name.length), isOpenMetrics);
    if (sample === null) malformed += 1;
    else samples.push(sample);
  }
  return { samples, unknown: unknown.size, malformed };
}

const LABEL = /\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|(?=\}))/y;

/** @param rest of the line, behind the name */
function parseSample(name: string, rest: string, isOpenMetrics: boolean): ExposedSample | null {
  const labels: Record<string, string> = {};
  let at = 0;
  if (rest.trimStart().startsWith('{')) {
    at = rest.indexOf('{') + 1;
    for (;;) {
      LABEL.lastIndex = at;
      const found = LABEL.exec(rest);
      if (found === null) break;
      labels[found[1] as string] = unescaped(found[2] as string);
      at = LABEL.lastIndex;
    }
    const close = /^\s*\}/.exec(rest.slice(at));
    if (close === null) return null;
    at += close[0].length;
  }
  // Behind ` # ` stands an exemplar, which is of one request.
  const [value, timestamp] = (rest.slice(at).split(' # ')[0] ?? '').trim().split(/\s+/);
  const number = numberOf(value);
  if (number === null) return null;
  const stamp = timestamp === undefined ? null : numberOf(timestamp);
  return {
    name,
    labels,
    value: number,
    timestampMs: stamp === null ? null : stamp * (isOpenMetrics ? 1e3 : 1),
  };
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character));
}

/** Null for what is no number. `NaN` is one: the server has no value. */
function numberOf(text: string | undefined): number | null {
  if (text === undefined || text === '') return null;
  if (/^[+-]?Inf$/i.test(text))
    return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (/^NaN$/i.test(text)) return Number.NaN;
  const number = Number(text);
  return Number.isNaN(number) ? null : number;
}
