import { formatBytes, formatMs, formatShare } from '../../core/units.ts';

interface Column {
  readonly title: string;
  readonly kind: 'name' | 'number';
}

/** A table and what it says of itself; its cells may hold recorded text. */
export interface Table {
  readonly title: string;
  /** What its numbers are measured in. */
  readonly unit: string;
  /** Where they come from. */
  readonly source: string;
  /** What a reader should look for. */
  readonly lookFor: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
  /** Which cells are good or bad news, where a form can show it. */
  readonly toneOf?: (cell: string) => 'good' | 'bad' | null;
}

export interface Section<Key extends string = string> {
  readonly key: Key;
  readonly title: string;
  readonly tables: readonly Table[];
}

/** Why a verdict is what it is, or what a reader should know besides. */
export interface Finding {
  readonly code: string;
  readonly text: string;
  readonly advice: string;
  readonly title?: string;
  readonly means?: string;
}

/** A document as people read it: rendered as text, Markdown or HTML. */
export interface View<Key extends string = string> {
  readonly title: string;
  /** Null where nothing was asked for. */
  readonly verdict: string | null;
  readonly tone: 'good' | 'bad' | 'warn';
  /** The verdict as a sentence. */
  readonly headline: string;
  readonly reasons: readonly Finding[];
  readonly notes: readonly Finding[];
  /** What was measured, against what, and when. */
  readonly lines: readonly string[];
  readonly sections: readonly Section<Key>[];
}

/** Columns of names, then columns of numbers. */
export function columnsOf(names: readonly string[], numbers: readonly string[]): Column[] {
  return [
    ...names.map((title) => ({ title, kind: 'name' as const })),
    ...numbers.map((title) => ({ title, kind: 'number' as const })),
  ];
}

/** A section of the tables that there are. */
export function sectionOf<Key extends string>(
  key: Key,
  title: string,
  tables: readonly (Table | null)[],
): Section<Key> {
  return { key, title, tables: tables.filter((table) => table !== null) };
}

/** Findings of one code ask for one thing: what it means and the advice are said with the first of them. */
export function withoutRepeats(findings: readonly Finding[]): Finding[] {
  const said = new Set<string>();
  return findings.map((each) => {
    if (said.has(each.code)) return { ...each, means: '', advice: '' };
    said.add(each.code);
    return each;
  });
}

/** Stands where nothing is known. */
export const NONE = '–';

/** Three digits that matter; whole numbers in full. */
export function numberText(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) >= 1_000
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(3)));
}

export function shareText(share: number | 'Infinity' | null | undefined): string {
  return typeof share === 'number' ? formatShare(share) : NONE;
}

/** A difference of shares, in percentage points. */
export function pointsText(difference: number | null | undefined): string {
  if (difference == null) return NONE;
  return `${difference > 0 ? '+' : ''}${Number((difference * 100).toFixed(2))} pp`;
}

export function ratioText(ratio: number | null | undefined): string {
  return ratio == null ? NONE : ratio.toFixed(3);
}

/** A figure of a profile, in whatever unit. */
export function figureText(value: number | null): string {
  return value === null ? NONE : String(Number(value.toPrecision(4)));
}

/** A latency of both sides of a comparison. */
export function latencyText(value: number | 'Infinity' | null): string {
  if (typeof value === 'number') return formatMs(value);
  return value === null ? NONE : 'no answer';
}

export function msText(value: number | 'Infinity' | null | undefined): string {
  if (value === 'Infinity') return 'most got no answer';
  return value == null ? NONE : formatMs(value);
}

export function bytesText(value: number | null | undefined): string {
  return value == null ? NONE : formatBytes(value);
}
