import type { ProfileDocument } from '../../documents/profile.ts';
import { csvLine } from '../csv-cells.ts';

type Cell = string | number | null;

/** Units by how a name ends. */
const UNITS: readonly (readonly [RegExp, string])[] = [
  [/Ms$/, 'ms'],
  [/Bytes$/, 'B'],
  [/S$/, 's'],
  [/^(?:mean|min|max|perSecond|peak\w+|hourMean|hourUsual)$/, '1/s'],
  [/[sS]hare|Ratio|ratio|coverage|ties/, 'share'],
];
/** What stands in lists that are drawn, not read. */
const SKIPPED: ReadonlySet<string> = new Set([
  'privacy',
  'notes',
  'schemaVersion',
  'kind',
  'hourOfWeekPerSecond',
]);

/**
 * The profile as a table: `section,item,measure,value,unit`, one number a line. Text that a spreadsheet would take
 * for a formula is made harmless.
 */
export function profileCsv(document: ProfileDocument): string {
  const lines: string[] = [csvLine(['section', 'item', 'measure', 'value', 'unit'])];
  const push = (section: string, item: Cell, measure: string, value: Cell, unit: string) =>
    lines.push(csvLine([section, item, measure, value, unit]));
  const { series, hourOfWeek, hourOfWeekPerSecond, ...rest } = document;
  for (const [section, value] of Object.entries(rest)) {
    if (!SKIPPED.has(section)) flatten(section, '', value, push);
  }
  for (const [hour, count] of hourOfWeek.entries()) {
    push('hourOfWeek', hour, 'requests', count, '');
    push('hourOfWeek', hour, 'perSecond', hourOfWeekPerSecond[hour] ?? null, '1/s');
  }
  const { stepS, at, ...columns } = series;
  for (const [index, second] of at.entries()) {
    const instant = new Date(second * 1e3).toISOString();
    for (const [measure, values] of Object.entries(columns)) {
      push(
        `series of ${stepS} s`,
        instant,
        measure,
        values[index] ?? null,
        measure.endsWith('Ms') ? 'ms' : '',
      );
    }
  }
  return `${lines.join('\r\n')}\r\n`;
}

type Push = (section: string, item: Cell, measure: string, value: Cell, unit: string) => void;

function flatten(section: string, item: string, value: unknown, push: Push): void {
  if (value === null || typeof value !== 'object') {
    push(section, item, lastOf(section), cellOf(value), unitOf(section, lastOf(section)));
  } else if (Array.isArray(value)) {
    for (const [index, each] of value.entries()) {
      if (each === null || typeof each !== 'object') push(section, index, lastOf(section), cellOf(each), '');
      else flatten(section, nameOf(each, index), each, push);
    }
  } else {
    for (const [name, inner] of Object.entries(value)) {
      if (NAMES.has(name) && (inner === null || typeof inner !== 'object')) continue;
      if (inner !== null && typeof inner === 'object') flatten(`${section}.${name}`, item, inner, push);
      else push(section, item, name, cellOf(inner), unitOf(section, name));
    }
  }
}

/** What tells the entries of a list apart; it is the item of their lines. */
const NAMES: ReadonlySet<string> = new Set([
  ...[
    'route',
    'model',
    'status',
    'method',
    'protocol',
    'weekday',
    'day',
    'hour',
    'windowS',
    'fromBytes',
    'upTo',
  ],
  ...['shape', 'id'],
]);

function nameOf(entry: object, index: number): string {
  const names = Object.entries(entry).filter(([name, value]) => NAMES.has(name) && typeof value !== 'object');
  return names.length === 0 ? String(index + 1) : names.map(([, value]) => String(value)).join(' ');
}

function cellOf(value: unknown): Cell {
  return typeof value === 'number' || typeof value === 'string' || value === null ? value : String(value);
}

function lastOf(section: string): string {
  return section.slice(section.lastIndexOf('.') + 1);
}

function unitOf(section: string, name: string): string {
  if (/Ms$|Bytes$/.test(lastOf(section)) && name !== 'count' && name !== 'share') {
    return section.endsWith('Ms') ? 'ms' : 'B';
  }
  if (name === 'count') return '';
  const isRate =
    /^(?:rate|peaks|cycle\.daily|cycle\.weekly)/.test(section) &&
    /^(?:mean|min|max|perSecond|peak\d)/.test(name);
  if (isRate) return '1/s';
  return UNITS.find(([pattern, unit]) => unit !== '1/s' && pattern.test(name))?.[1] ?? '';
}
