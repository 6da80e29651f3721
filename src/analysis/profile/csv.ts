import { csvLine } from '../../core/text.ts';
import type { ProfileDocument } from '../../documents/profile.ts';

type Cell = string | number | null;

/** Units of numbers by their section and their name, the first that fits. */
const UNITS: readonly (readonly [RegExp, string])[] = [
  [/(?:^|\.)(?:count|requests|known|days|watched|compared)$/, 'count'],
  [/(?:^|[.a-z])[sS]hares?(?:\.|$)|[Rr]atio$|coverage$|ties$/, 'share'],
  [/^idc\.|\.cv$|(?:toMean|ToMean)\w*$/, 'ratio'],
  [/Ms(?:\.|$)/, 'ms'],
  [/Bytes(?:\.|$)|\.bytes$/, 'B'],
  [/S(?:\.\w+)?$/, 's'],
  [/^(?:rate|peaks|cycle\.(?:daily|weekly))\b.*\.(?:mean|min|max|perSecond|peak\d\w*)$/, '1/s'],
  [/(?:\.|^)(?:hourMean|hourUsual|perSecond)$/, '1/s'],
  [/^tokens\./, 'tokens'],
];
const INSTANT = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;
/** What stands in lists that are drawn, not read. */
const SKIPPED: ReadonlySet<string> = new Set([
  'privacy',
  'notes',
  'schemaVersion',
  'kind',
  'hourOfWeekPerSecond',
]);

/**
 * The profile as a table: `section,item,measure,value,unit`, one number a line, each with its unit. Text
 * that a spreadsheet would take for a formula is made harmless.
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
    push('hourOfWeek', hour, 'requests', count, 'count');
    push('hourOfWeek', hour, 'perSecond', hourOfWeekPerSecond[hour] ?? null, '1/s');
  }
  const { stepS, at, ...columns } = series;
  for (const [index, second] of at.entries()) {
    const instant = new Date(second * 1e3).toISOString();
    for (const [measure, values] of Object.entries(columns)) {
      const unit = measure.endsWith('Ms') ? 'ms' : 'count';
      push(`series of ${stepS} s`, instant, measure, values[index] ?? null, unit);
    }
  }
  return lines.join('');
}

type Push = (section: string, item: Cell, measure: string, value: Cell, unit: string) => void;

function flatten(section: string, item: string, value: unknown, push: Push): void {
  if (value === null || typeof value !== 'object') {
    const name = lastOf(section);
    push(section, item, name, cellOf(value), unitOf(section, name, cellOf(value)));
  } else if (Array.isArray(value)) {
    for (const [index, each] of value.entries()) {
      if (each === null || typeof each !== 'object') {
        const name = lastOf(section);
        push(section, index, name, cellOf(each), unitOf(section, name, cellOf(each)));
      } else flatten(section, nameOf(each, index), each, push);
    }
  } else {
    for (const [name, inner] of Object.entries(value)) {
      if (NAMES.has(name) && (inner === null || typeof inner !== 'object')) continue;
      if (inner !== null && typeof inner === 'object') flatten(`${section}.${name}`, item, inner, push);
      else push(section, item, name, cellOf(inner), unitOf(section, name, cellOf(inner)));
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

/** Of any cell: a number without a unit of its own is a count. */
function unitOf(section: string, name: string, value: Cell): string {
  if (typeof value === 'string') {
    if (value === 'true' || value === 'false') return 'yes or no';
    return INSTANT.test(value) ? 'instant' : 'text';
  }
  const path = name === lastOf(section) ? section : `${section}.${name}`;
  return UNITS.find(([pattern]) => pattern.test(path))?.[1] ?? 'count';
}
