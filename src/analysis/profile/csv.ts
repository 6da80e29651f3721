import { csvLine } from '../../core/text.ts';
import type { ProfileDocument } from '../../documents/profile.ts';

type Cell = string | number | null;

/** Units of numbers, by section and name. The first match wins. */
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
/** Sections that are left out of the table. */
const SKIPPED: ReadonlySet<string> = new Set([
  'privacy',
  'notes',
  'schemaVersion',
  'kind',
  'hourOfWeekPerSecond',
]);

/** One number with its unit. */
type Line = readonly [section: string, item: Cell, measure: string, value: Cell, unit: string];

/**
 * The profile as a table: `section,item,measure,value,unit`, one number with its unit a line. Text that a spreadsheet
 * would read as a formula is escaped.
 */
export function profileCsv(document: ProfileDocument): string {
  const { series, hourOfWeek, hourOfWeekPerSecond, ...rest } = document;
  const sections = Object.entries(rest).filter(([section]) => !SKIPPED.has(section));
  const { stepS, at, ...columns } = series;
  const lines = [
    ...sections.flatMap(([section, value]) => linesOf(section, '', value)),
    ...hourOfWeek.flatMap((count, hour) => [
      lineOf('hourOfWeek', hour, 'requests', count),
      lineOf('hourOfWeek', hour, 'perSecond', hourOfWeekPerSecond[hour] ?? null),
    ]),
    ...at.flatMap((second, index) =>
      Object.entries(columns).map(([measure, values]) =>
        lineOf(`series of ${stepS} s`, new Date(second * 1e3).toISOString(), measure, values[index] ?? null),
      ),
    ),
  ];
  return [['section', 'item', 'measure', 'value', 'unit'], ...lines].map(csvLine).join('');
}

function linesOf(section: string, item: Cell, value: unknown): Line[] {
  if (!isNested(value)) return [lineOf(section, item, lastOf(section), value)];
  if (Array.isArray(value)) {
    return value.flatMap((each: unknown, index) =>
      linesOf(section, isNested(each) ? nameOf(each, index) : index, each),
    );
  }
  return Object.entries(value).flatMap(([name, inner]: [string, unknown]) => {
    if (isNested(inner)) return linesOf(`${section}.${name}`, item, inner);
    return NAMES.has(name) ? [] : [lineOf(section, item, name, inner)];
  });
}

function isNested(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function lineOf(section: string, item: Cell, measure: string, value: unknown): Line {
  const isCell = typeof value === 'number' || typeof value === 'string' || value === null;
  const cell = isCell ? value : String(value);
  return [section, item, measure, cell, unitOf(section, measure, cell)];
}

/** Members that identify the entries of a list. They become the item of their lines. */
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

function lastOf(section: string): string {
  return section.slice(section.lastIndexOf('.') + 1);
}

/** The unit of a cell. A number without a known unit is a count. */
function unitOf(section: string, name: string, value: Cell): string {
  if (typeof value === 'string') {
    if (value === 'true' || value === 'false') return 'yes or no';
    return INSTANT.test(value) ? 'instant' : 'text';
  }
  const path = name === lastOf(section) ? section : `${section}.${name}`;
  return UNITS.find(([pattern]) => pattern.test(path))?.[1] ?? 'count';
}
