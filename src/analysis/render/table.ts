import { linesOf, shellWord, shownText, type Tone } from '../../core/text.ts';
import { formatBytes, formatMs, formatShare } from '../../core/units.ts';
import type { ComparedMetric } from '../../documents/comparison.ts';
import type { ExceptionDocument, Labels, TestedDocument } from '../../documents/parts.ts';
import { differencesText, serverDifferences } from '../../documents/server-details.ts';

interface Column {
  readonly title: string;
  readonly kind: 'name' | 'number';
}

/** A table with its texts. Its cells may contain recorded text. */
export interface Table {
  readonly title: string;
  /** The unit of its numbers. */
  readonly unit: string;
  /** The source of its numbers. */
  readonly source: string;
  /** Advice on what to look for. */
  readonly lookFor: string;
  /** Sentences about these very rows, which every form shows below them. */
  readonly notes?: readonly string[];
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
  /** Which cells are good or bad, for formats that can show it. */
  readonly toneOf?: (cell: string, column: number) => Exclude<Tone, 'plain'> | null;
}

export interface Section<Key extends string = string> {
  readonly key: Key;
  readonly title: string;
  readonly tables: readonly Table[];
}

/** A reason of a verdict, or a further note for the reader. */
export interface Finding {
  readonly code: string;
  readonly text: string;
  readonly advice: string;
  readonly title?: string;
  readonly means?: string;
  /** The commands in the advice, for formats that can show them as such. */
  readonly commands?: readonly string[];
  /** A `doubt` could change the verdict, even if it is only a note of a run that failed. */
  readonly severity?: 'fail' | 'doubt' | 'note';
}

/** A document in a readable form, rendered as text, Markdown or HTML. */
export interface View<Key extends string = string> {
  readonly title: string;
  /** Null if no verdict was requested; absent if the headline says it all. */
  readonly verdict?: string | null;
  readonly tone: Tone;
  /** The verdict as a sentence. */
  readonly headline: string;
  readonly reasons: readonly Finding[];
  readonly notes: readonly Finding[];
  /** What was measured, with which target, and when. The first line states the result in figures. */
  readonly lines: readonly string[];
  /** Name, build, target, load and date: a page has them above the verdict. */
  readonly facts?: readonly string[];
  /** What was tested: it stands at the top, below the first line. */
  readonly tested?: readonly string[];
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
 * Inserts the user's paths and program name into the commands of findings, so that they can be pasted.
 * @param paths the paths that replace `RUN`, `A` and `B`
 * @param program how the user calls this program
 */
export function calledHere<Each extends Pick<Finding, 'advice'>>(
  findings: readonly Each[],
  paths: Readonly<Record<string, string>>,
  program = 'reprise',
): (Each & Pick<Finding, 'commands'>)[] {
  return findings.map((each) => {
    const commands: string[] = [];
    const advice = each.advice.replaceAll(COMMAND, (all, name, of, options) => {
      const path = paths[of];
      const called = path === undefined ? all : `${program} ${name} ${shellWord(path)}${options}`;
      commands.push(called);
      return called;
    });
    return { ...each, advice, ...(commands.length > 0 && { commands }) };
  });
}

/** A command of our own in advice: a placeholder for a path, then flags with their values, and indices. */
const COMMAND =
  /\breprise (\w+) (RUN|A|B|CAPTURE)\b((?: (?:--[a-z][\w-]*(?: (?:[A-Z]\b|\w*\d\w*|(?:'[^']*'|\\')+|"[^"]*"))?|\d+))*)/g;

/** Findings with the same code have the same meaning and advice. Only the first of them keeps these texts. */
export function withoutRepeats(findings: readonly Finding[]): Finding[] {
  const said = new Set<string>();
  return findings.map((each) => {
    if (said.has(each.code)) return { ...each, means: '', advice: '' };
    said.add(each.code);
    return each;
  });
}

const DOUBT = 'DOUBT';

/** The notes, with a mark on those that would forbid a pass. A failed run has these beside its verdict. */
function markedNotes(notes: readonly Finding[]): Finding[] {
  const isDoubt = ({ severity }: Finding) => severity === 'doubt';
  const doubts = notes.filter(isDoubt).map((each) => ({
    ...each,
    title: `${DOUBT}, which would forbid a PASS: ${each.title ?? each.code}`,
  }));
  return [...doubts, ...notes.filter((each) => !isDoubt(each))];
}

/** The text for an unknown value. */
export const NONE = '–';

/** Three significant digits; whole numbers in full. */
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

/** `7 % slower`: the mean ratio over paired windows, by which B is judged. */
export function changeText({ a, b, ratio }: Pick<ComparedMetric, 'a' | 'b' | 'ratio'>): string {
  // If one side has no answer, the ratio is only a limit of our own.
  return ratio === null || a === 'Infinity' || b === 'Infinity' ? NONE : timesText(ratio);
}

/** `same` means that B is not worse. It becomes `not worse` if B may be better by a tenth or more. */
export function resultText({ verdict, ratio, interval90 }: Change): string {
  const isMaybeBetter = ratio !== null && interval90 !== null && interval90[0] < MAYBE_BETTER;
  return verdict === 'same' && isMaybeBetter ? 'not worse' : verdict;
}

const MAYBE_BETTER = 0.9;

/** From this ratio on, in both directions, a multiple is easier to read than a percentage. */
const MULTIPLE = 2;

/** A ratio as text: `7 % slower`, `18 % faster`, `3.04x as slow`, `as fast`. */
export function timesText(ratio: number): string {
  const isSlower = ratio >= 1;
  const times = isSlower ? ratio : 1 / ratio;
  if (times >= MULTIPLE) return `${Number(times.toFixed(2))}x as ${isSlower ? 'slow' : 'fast'}`;
  const text = percentText(ratio);
  return text === '0' ? 'as fast' : `${text} % ${isSlower ? 'slower' : 'faster'}`;
}

/** Ratios as signed percentages, such as the ends of an interval: `−3.2 to +7.1 %`, where `+` is slower. */
export function signedText(...ratios: readonly number[]): string {
  const signed = ratios.map((ratio) => {
    const text = percentText(ratio);
    return text === '0' ? text : `${ratio < 1 ? '−' : '+'}${text}`;
  });
  return `${signed.join(' to ')} %`;
}

/** The interval of a metric that every form shows. Documents contain a second one, for all metrics together. */
export const INTERVAL_SHOWN = '90 % interval';

export function intervalText(ends: readonly [number, number] | null | undefined): string {
  return ends == null ? NONE : signedText(...ends);
}

function percentText(ratio: number): string {
  const percent = Math.abs(ratio - 1) * 100;
  return String(Number(percent.toFixed(percent < 10 ? 1 : 0)));
}

/** `latency_p95` → `latency p95`. */
export function metricName(name: string): string {
  return name.replaceAll('_', ' ').replace(/^(ttft|itl|tpot)\b/, (short) => short.toUpperCase());
}

/** A figure of a profile in any unit. */
export function figureText(value: number | null): string {
  return value === null ? NONE : String(Number(value.toPrecision(4)));
}

/** A latency of one side of a comparison. */
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

/** The maximum width of a column, and the maximum length of a cell's text. The other formats show complete cells. */
const CELL = 60;
const LONGEST = 360;

/**
 * A view as lines of plain text: first the verdict, its reasons and advice. The lines contain recorded text.
 * @param words whether tables have their unit and advice
 */
export function viewText(view: View, words: 'with words' | 'brief' = 'with words'): string[] {
  const { verdict, headline, reasons, notes, sections } = view;
  return [
    `${verdict === undefined ? '' : verdict === null ? 'No verdict: ' : `Verdict: ${verdict}. `}${headline}`,
    ...withoutRepeats(reasons).flatMap(findingLines),
    '',
    ...linesOfView(view).map((line) => `  ${line}`),
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

/** A table with its title and texts. */
export function tableText(table: Table, words: 'with words' | 'brief' = 'with words'): string[] {
  const { title, columns, rows, unit, lookFor, notes = [] } = table;
  return [
    words === 'brief' ? title : `${title} (${unit})`,
    ...tableLines(columns, rows, (cell) => wrapped(cell.slice(0, LONGEST))).map((line) => `  ${line}`),
    ...notes.map((note) => `  ${shownText(note)}`),
    ...(words === 'brief' ? [] : [`  Look for: ${lookFor}`]),
  ];
}

/**
 * Aligned lines: the titles, then the rows. Names are aligned left, numbers right.
 * @param split splits a cell into lines
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

/** Writes out invisible characters, so that they do not shift the columns. */
function inOneLine(cell: string): string {
  return shownText(cell).replaceAll('	', ' ');
}

/** Breaks a long cell into several lines, at spaces if possible. */
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

/** Characters that may begin Markdown, HTML or a link. */
const MEANINGFUL = /[\\`*_[\]<>#|~!]/g;
const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '@': '&#64;', $: '&#36;' };

/** A view in Markdown, for a merge request or a wiki. Recorded text is escaped. */
export function viewMarkdown(view: View): string {
  const { title, verdict, headline, reasons, notes, sections } = view;
  const parts = [
    `# ${inert(title)}`,
    verdict === undefined ? `**${inert(headline)}**` : `**${verdict ?? 'no verdict'}** – ${inert(headline)}`,
    withoutRepeats(reasons).map(findingItem).join('\n'),
    linesOfView(view)
      .map((line) => `- ${inert(line)}`)
      .join('\n'),
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

function tableMarkdown({ title, unit, source, lookFor, columns, rows, notes = [] }: Table): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    `### ${inert(title)}`,
    `Unit: ${inert(unit)}. Source: ${inert(source)}.`,
    [
      line(columns.map((column) => inert(column.title))),
      line(columns.map(({ kind }) => (kind === 'number' ? '---:' : '---'))),
      ...rows.map((row) => line(columns.map((_, at) => inert(row[at] ?? '')))),
    ].join('\n'),
    ...notes.map((note) => inert(note)),
    `*Look for: ${inert(lookFor)}.*`,
  ];
}

function linesOfView({ lines, tested = [] }: View): string[] {
  return [...lines.slice(0, 1), ...tested, ...lines.slice(1)];
}

/** What was tested, for the top of a page; nothing for a document of an earlier version. */
export function testedLines(document: TestedDocument): string[] {
  const { labels = {}, recordedServer = {}, exceptions = [] } = document;
  const differences = serverDifferences(recordedServer, document);
  return linesOf(
    Object.keys(labels).length > 0 && `tested: ${labelsText(labels)}`,
    differences.length > 0 &&
      `the server differs from the recorded one: ${differencesText(differences, 'recorded', 'here')}`,
    exceptions.map(exceptionText),
  );
}

/** What identifies the requests of a capture, for the end of a page; nothing for a document of an earlier version. */
export function digestLines({ captureDigest }: Pick<TestedDocument, 'captureDigest'>): string[] {
  return linesOf(captureDigest !== undefined && `digest of the capture: ${captureDigest}`);
}

/** `accepted until 2027-01-01T00:00:00Z: run r1, because …` */
export function exceptionText({ run, reason, until }: ExceptionDocument): string {
  return `accepted until ${until}: run ${run}, because ${reason}`;
}

/** `build v1.4.2, commit 0c1f3a`; a dash for none. */
export function labelsText(labels: Labels): string {
  const named = Object.entries(labels).map(([name, value]) => `${name} ${value}`);
  return named.join(', ') || NONE;
}

/** Escapes text for a cell, an item or a heading of Markdown, so that it is only displayed. */
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
