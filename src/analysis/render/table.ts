import { shellWord, shownText, type Tone } from '../../core/text.ts';
import { formatBytes, formatMs, formatShare } from '../../core/units.ts';
import type { ComparedMetric } from '../../documents/comparison.ts';

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
  /** A `doubt` could change the answer, also where it stands among the notes of a run that failed. */
  readonly severity?: 'fail' | 'doubt' | 'note';
}

/** A document as people read it: rendered as text, Markdown or HTML. */
export interface View<Key extends string = string> {
  readonly title: string;
  /** Null where nothing was asked for. */
  readonly verdict: string | null;
  readonly tone: Tone;
  /** The verdict as a sentence. */
  readonly headline: string;
  readonly reasons: readonly Finding[];
  readonly notes: readonly Finding[];
  /** What was measured, against what, and when. The first says what came out, in figures. */
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

export function sectionOf<Key extends string>(
  key: Key,
  title: string,
  tables: readonly (Table | null)[],
): Section<Key> {
  return { key, title, tables: tables.filter((table) => table !== null) };
}

/**
 * Findings whose commands can be pasted: with what stands for a run in them as the user named it.
 * @param paths by `RUN`, `A` and `B`
 * @param program as it is called
 */
export function calledHere<Each extends Pick<Finding, 'advice'>>(
  findings: readonly Each[],
  paths: Readonly<Record<string, string>>,
  program = 'reprise',
): Each[] {
  const called = (advice: string) =>
    advice.replaceAll(/\breprise (show|report) (RUN|A|B)\b/g, (all, name, of) => {
      const path = paths[of];
      return path === undefined ? all : `${program} ${name} ${shellWord(path)}`;
    });
  return findings.map((each) => ({ ...each, advice: called(each.advice) }));
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

const DOUBT = 'DOUBT';

/** The notes with those marked that would forbid a pass: a run that failed has them beside its verdict. */
function markedNotes(notes: readonly Finding[]): Finding[] {
  const isDoubt = ({ severity }: Finding) => severity === 'doubt';
  const doubts = notes.filter(isDoubt).map((each) => ({
    ...each,
    title: `${DOUBT}, which would forbid a PASS: ${each.title ?? each.code}`,
  }));
  return [...doubts, ...notes.filter((each) => !isDoubt(each))];
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

type Change = Pick<ComparedMetric, 'ratio' | 'interval90' | 'verdict'>;

/** `1.07x as slow`: the mean over paired windows, by which B is judged. The figures beside it are of the whole run. */
export function changeText({ a, b, ratio }: Pick<ComparedMetric, 'a' | 'b' | 'ratio'>): string {
  // Without an answer the ratio is a bound of ours.
  return ratio === null || a === 'Infinity' || b === 'Infinity' ? NONE : timesText(ratio);
}

/** `same` means that B is no worse. It says so where B may well be better by a tenth. */
export function resultText({ verdict, ratio, interval90 }: Change): string {
  const isMaybeBetter = ratio !== null && interval90 !== null && interval90[0] < MAYBE_BETTER;
  return verdict === 'same' && isMaybeBetter ? 'not worse' : verdict;
}

const MAYBE_BETTER = 0.9;

/** `1.07x as slow`, `1.2x as fast`, `as fast`. */
export function timesText(ratio: number): string {
  const [times, word] = ratio >= 1 ? [ratio, 'slow'] : [1 / ratio, 'fast'];
  const text = String(Number(times.toFixed(times < 1.1 ? 3 : 2)));
  return text === '1' ? 'as fast' : `${text}x as ${word}`;
}

/** `latency_p95` → `latency p95`. */
export function metricName(name: string): string {
  return name.replaceAll('_', ' ');
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

/** Widest a column gets, and the most that is shown of a cell; the other forms have all of it. */
const CELL = 60;
const LONGEST = 360;

/**
 * A view as lines of plain text: the verdict, its reasons and advice first. Print them with care.
 * @param words whether tables say their unit and what to look for
 */
export function viewText(view: View, words: 'with words' | 'brief' = 'with words'): string[] {
  const { verdict, headline, reasons, notes, lines, sections } = view;
  return [
    `${verdict === null ? 'No verdict:' : `Verdict: ${verdict}.`} ${headline}`,
    ...withoutRepeats(reasons).flatMap(findingLines),
    '',
    ...lines.map((line) => `  ${line}`),
    ...sections.flatMap(({ title, tables }) => [
      '',
      title.toUpperCase(),
      ...tables.flatMap((table) => ['', ...tableText(table, words)]),
    ]),
    ...(notes.length === 0 ? [] : ['', 'NOTES', ...withoutRepeats(markedNotes(notes)).flatMap(findingLines)]),
  ];
}

function findingLines({ code, text, title, means = '', advice }: Finding): string[] {
  return [
    `  ${title === undefined ? code : `${title} (${code})`}: ${text}`,
    ...(means === '' ? [] : [`      means: ${means}`]),
    ...(advice === '' ? [] : [`      to do: ${advice}`]),
  ];
}

/** A table with its title, and with its words. */
export function tableText(table: Table, words: 'with words' | 'brief' = 'with words'): string[] {
  const { title, columns, rows, unit, lookFor } = table;
  return [
    words === 'brief' ? title : `${title} (${unit})`,
    ...tableLines(columns, rows, (cell) => wrapped(cell.slice(0, LONGEST))).map((line) => `  ${line}`),
    ...(words === 'brief' ? [] : [`  Look for: ${lookFor}`]),
  ];
}

/**
 * Aligned lines: the titles, then the rows; names to the left, numbers to the right.
 * @param split the lines of a cell
 */
export function tableLines(
  columns: Table['columns'],
  rows: Table['rows'],
  split: (cell: string) => readonly string[] = (cell) => [inOneLine(cell)],
): string[] {
  const cells = [columns.map(({ title }) => title), ...rows].map((row) =>
    columns.map((_, at) => split(row[at] ?? '')),
  );
  const widths = columns.map((_, at) =>
    cells.reduce((most, row) => Math.max(most, ...row[at]!.map(({ length }) => length)), 0),
  );
  const lineOf = (row: readonly (readonly string[])[], index: number): string =>
    columns
      .map(({ kind }, at) => {
        const cell = row[at]?.[index] ?? '';
        return kind === 'number' ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!);
      })
      .join('  ')
      .trimEnd();
  return cells.flatMap((row) => {
    const height = Math.max(...row.map(({ length }) => length));
    return Array.from({ length: height }, (_, index) => lineOf(row, index));
  });
}

/** What cannot be seen is written out, so that it does not move the columns. */
function inOneLine(cell: string): string {
  return shownText(cell).replaceAll('	', ' ');
}

/** A long cell takes several lines of its column, broken at spaces where there are any. */
function wrapped(cell: string): string[] {
  const lines: string[] = [];
  let rest = inOneLine(cell);
  while (rest.length > CELL) {
    const space = rest.lastIndexOf(' ', CELL);
    const end = space > 0 ? space : CELL;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** What Markdown or HTML in it, a mention, a formula or a link could begin with. */
const MEANINGFUL = /[\\`*_[\]<>#|~!]/g;
const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '@': '&#64;', $: '&#36;' };

/** A view in Markdown, for a merge request or a wiki; recorded text in it stays text. */
export function viewMarkdown({ title, verdict, headline, reasons, notes, lines, sections }: View): string {
  const parts = [
    `# ${inert(title)}`,
    `**${verdict ?? 'no verdict'}** – ${inert(headline)}`,
    withoutRepeats(reasons).map(findingItem).join('\n'),
    lines.map((line) => `- ${inert(line)}`).join('\n'),
    ...sections.flatMap((section) => [
      `## ${inert(section.title)}`,
      ...section.tables.flatMap(tableMarkdown),
    ]),
    ...(notes.length === 0
      ? []
      : ['## Notes', withoutRepeats(markedNotes(notes)).map(findingItem).join('\n')]),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function findingItem({ code, text, title, means = '', advice }: Finding): string {
  const words = [
    `**${inert(title ?? code)}**${title === undefined ? '' : ` (${inert(code)})`}: ${inert(text)}.`,
    means === '' ? '' : inert(means),
    advice === '' ? '' : `To do: ${inert(advice)}`,
  ];
  return `- ${words.filter((each) => each !== '').join(' ')}`;
}

function tableMarkdown({ title, unit, source, lookFor, columns, rows }: Table): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    `### ${inert(title)}`,
    `Unit: ${inert(unit)}. Source: ${inert(source)}.`,
    [
      line(columns.map((column) => inert(column.title))),
      line(columns.map(({ kind }) => (kind === 'number' ? '---:' : '---'))),
      ...rows.map((row) => line(columns.map((_, at) => inert(row[at] ?? '')))),
    ].join('\n'),
    `*Look for: ${inert(lookFor)}.*`,
  ];
}

/** Text as it may stand in a cell, an item or a heading of Markdown: it is shown, and does nothing. */
export function inert(text: string): string {
  return shownText(text)
    .replace(/\t/g, ' ')
    .replace(MEANINGFUL, (character) => `\\${character}`)
    .replace(/[&@$]/g, (character) => ENTITIES[character] ?? character)
    .replace(/:(?=\/\/)/g, '&#58;')
    .replace(/\bwww\./gi, (match) => `${match.slice(0, -1)}&#46;`)
    .replace(/\b(mailto|xmpp):/gi, (_, scheme: string) => `${scheme}&#58;`)
    .replace(
      /^(\s*)([-+=]|\d+[.)])(?=\s|$|[-=])/,
      (_, space: string, mark: string) => `${space}${mark.slice(0, -1)}\\${mark.slice(-1)}`,
    );
}
