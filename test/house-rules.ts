import { posix } from 'node:path';
import { METRIC_NAMES } from '../src/documents/metrics/metrics.ts';
import { type ScannedSource, scanSource } from './source-scan.ts';
import { RECORDING_SIDE } from './support/recording-side.ts';

/** A source file: path from the repository's root, with slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** The layers (floors) of `src`, from the top. A folder (room) imports only rooms of lower floors. */
export const FLOORS: readonly (readonly string[])[] = [
  ['cli'],
  ['index'],
  ['app'],
  ['proxy', 'replay', 'analysis', 'formats', 'monitors', 'storage', 'telemetry', 'trackers'],
  ['documents', 'inference', 'redaction', 'http1', 'http2'],
  ['core'],
];

/** The rooms that may import each package. A package that is not listed may not be imported. */
const PACKAGE_OWNERS: Readonly<Record<string, readonly string[]>> = {
  'better-sqlite3': ['storage'],
  msgpackr: ['storage', 'replay'],
  undici: ['replay', 'monitors', 'proxy', 'telemetry', 'trackers'],
  'http-proxy': ['proxy'],
  commander: ['cli'],
  pino: ['cli', 'app'],
  'csv-parse': ['formats'],
  'hyparquet-writer': ['formats'],
  pbf: ['formats', 'telemetry'],
  'prom-client': ['proxy'],
  'image-size': ['analysis'],
  tinyqueue: ['replay'],
  'fastest-levenshtein': ['core'],
  zod: ['core', 'cli', 'app', 'documents', 'formats', 'replay', 'proxy', 'storage', 'trackers'],
  yaml: ['app'],
};

/** Rooms that only compute, without input or output, and the only Node modules that they may import. */
const PURE_ROOMS = ['core', 'analysis', 'documents', 'inference', 'redaction', 'http1', 'http2'];
const PURE_MODULES = ['node:buffer', 'node:crypto', 'node:path', 'node:util', 'node:zlib'];

/** Programs that other tools run. They import modules of those tools. */
const PROGRAMS = 'src/formats/programs/';

const CLOCK_HOME = 'src/core/clock.ts';
const CLOCK_READS = /\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\.now\b|\bhrtime\b/g;
const EDGE_ONLY = /\bconsole\.|\bprocess\.(?:exit|exitCode|stdout|stderr|abort)\b/g;
/** Files whose exceptions must not reach the traffic of their process. */
const GUARDED = [...RECORDING_SIDE, 'src/app/recording/recording.ts'];
/** Callbacks and background work that are not started by a `Guard`. */
const UNGUARDED =
  /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask|nextTick)\(|\.(?:on|once|addListener)\(|\bvoid [\w(]/g;
/** Code that forwards, and the files of the recording that it may know. */
const FORWARDING = /^src\/proxy\/(?:tcp\/|http\/|net\/|data-plane\.ts)/;
const BORDER = ['src/proxy/tap/border.ts', 'src/proxy/tap/frames.ts'];
const DEFAULT_EXPORT = /\bexport\s+default\b|\bas\s+default\b/g;
/** Rooms that know metrics only by what documents/metrics and analysis/metrics say of them. */
const ASKING_ROOMS = ['index', 'cli', 'app', 'analysis', 'formats', 'trackers', 'telemetry'];
const OF_METRICS = ['src/documents/metrics/', 'src/analysis/metrics/'];
const METRIC: ReadonlySet<string> = new Set([...METRIC_NAMES, 'monitored']);
/** A comparison with a text. The result of a comparison of answers is no metric. */
const COMPARED = /(?:(?<!\bresult\s*)[=!]==|\bcase|\.(?:has|includes)\()\s*'|'(?=\s*[=!]==)/g;
/** Texts for people. What they say is a fact elsewhere. */
const PROSE_READ =
  /\b(?:text|title|expression|headline|means|advice)\s*\.(?:startsWith|endsWith|includes|match|matchAll|search|indexOf|lastIndexOf)\(|\.(?:test|exec)\(\s*(?:\w+\.)*(?:text|title|expression|headline|means|advice)\b/g;
/** Here texts are captured payloads, or documents that lose their addresses, or lines to fold. */
const READS_TEXTS = ['src/analysis/profile/', 'src/analysis/publication/', 'src/analysis/render/'];
const MAX_LINES = 700;
const MAX_FILES = 25;

/** Every breach of these rules in the files, one line each. */
export function breachesOf(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const scanned = scanSource(file.text);
    const breaches = lengthBreaches(file);
    if (!file.path.startsWith('src/') || file.path.startsWith(PROGRAMS)) return breaches;
    return [
      ...breaches,
      ...scanned.imports.flatMap(({ specifier, line }) =>
        importBreaches(file.path, specifier).map((reason) => `${file.path}:${line} ${reason}`),
      ),
      ...codeBreaches(file.path, scanned),
      ...factBreaches(file, scanned),
    ];
  });
}

/** Import cycles, including type imports: the files of each, in import order. */
export function circlesOf(files: readonly SourceFile[]): string[][] {
  const sources = files.filter(({ path }) => path.startsWith('src/') && path.endsWith('.ts'));
  const imports = new Map(sources.map((file) => [file.path, importedFiles(file)]));
  const circles: string[][] = [];
  const done = new Set<string>();
  const follow = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) circles.push(trail.slice(at));
    if (at >= 0 || done.has(path)) return;
    for (const next of imports.get(path) ?? []) follow(next, [...trail, path]);
    done.add(path);
  };
  for (const path of imports.keys()) follow(path, []);
  return circles;
}

/** Folders of `src` with too many files for a reader to get an overview. */
export function crowdedFoldersOf(files: readonly SourceFile[]): string[] {
  const counts = new Map<string, number>();
  for (const { path } of files) {
    if (path.startsWith('src/')) counts.set(posix.dirname(path), (counts.get(posix.dirname(path)) ?? 0) + 1);
  }
  return [...counts].filter(([, count]) => count > MAX_FILES).map(([folder, count]) => `${folder}: ${count}`);
}

function importedFiles({ path, text }: SourceFile): string[] {
  return scanSource(text)
    .imports.filter(({ specifier }) => specifier.startsWith('.'))
    .map(({ specifier }) => posix.join(posix.dirname(path), specifier));
}

/** Marks of unfinished work, and words that only their author understands. Every file is searched. */
export function wordBreachesOf(files: readonly SourceFile[], forbidden: RegExp): string[] {
  return files.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, index) => {
      const match = new RegExp(forbidden.source, forbidden.flags.replace('g', '')).exec(line);
      return match ? [`${path}:${index + 1} says ${JSON.stringify(match[0])}`] : [];
    }),
  );
}

function lengthBreaches({ path, text }: SourceFile): string[] {
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
  return lines > MAX_LINES ? [`${path} has ${lines} lines, over ${MAX_LINES}: a noun is hiding`] : [];
}

function codeBreaches(path: string, { code }: ScannedSource): string[] {
  const below = roomOf(path) !== 'cli';
  return [
    ...(path === CLOCK_HOME ? [] : found(path, code, CLOCK_READS, 'reads the clock; take a Clock')),
    ...(below ? found(path, code, EDGE_ONLY, 'prints or exits below cli') : []),
    ...(GUARDED.includes(path) ? found(path, code, UNGUARDED, 'may throw into traffic; use the Guard') : []),
    ...found(path, code, DEFAULT_EXPORT, 'has a default export'),
  ];
}

/** Facts that are read back out of names and texts. */
function factBreaches({ path, text }: SourceFile, { code }: ScannedSource): string[] {
  const isIn = (folders: readonly string[]) => folders.some((folder) => path.startsWith(folder));
  const room = roomOf(path);
  const breaches: string[] = [];
  if (room === 'analysis' && !isIn(READS_TEXTS))
    breaches.push(...found(path, code, PROSE_READ, 'reads a text for people'));
  if (!ASKING_ROOMS.includes(room) || isIn(OF_METRICS)) return breaches;
  for (const match of code.matchAll(COMPARED)) {
    const quote = match.index + match[0].length - 1;
    const opening = match[0].length === 1 ? code.lastIndexOf("'", quote - 1) : quote;
    const name = text.slice(opening + 1, code.indexOf("'", opening + 1));
    if (METRIC.has(name))
      breaches.push(`${path}:${lineAt(code, quote)} knows the metric ${name} by its name`);
  }
  return breaches;
}

function lineAt(code: string, index: number): number {
  return code.slice(0, index).split('\n').length;
}

function found(path: string, code: string, pattern: RegExp, reason: string): string[] {
  return [...code.matchAll(pattern)].map((match) => {
    return `${path}:${lineAt(code, match.index)} ${reason} (${match[0]})`;
  });
}

function importBreaches(path: string, specifier: string): string[] {
  if (specifier.startsWith('.')) return relativeImportBreaches(path, specifier);
  const room = roomOf(path);
  if (specifier.startsWith('node:')) {
    const impure = PURE_ROOMS.includes(room) && !PURE_MODULES.includes(specifier);
    return impure ? [`imports ${specifier}, but ${room} does no input or output`] : [];
  }
  const owners = PACKAGE_OWNERS[packageOf(specifier)];
  if (owners === undefined) return [`imports ${specifier}, which has no owner`];
  return owners.includes(room) ? [] : [`imports ${specifier}, which belongs to ${owners.join(' and ')}`];
}

function relativeImportBreaches(path: string, specifier: string): string[] {
  const target = posix.join(posix.dirname(path), specifier);
  const breaches = specifier.endsWith('.ts') ? [] : [`imports ${specifier} without its .ts`];
  if (!target.startsWith('src/')) return [...breaches, `imports ${target}, which is outside src`];
  if (FORWARDING.test(path) && target.startsWith('src/proxy/tap/') && !BORDER.includes(target))
    return [...breaches, `imports ${target}: forwarding knows only the border of the recording`];
  const from = roomOf(path);
  const to = roomOf(target);
  return mayImport(from, to) ? breaches : [...breaches, `imports ${target}: ${from} must not know ${to}`];
}

/** Whether a room may import another: only itself and rooms of lower floors. */
function mayImport(from: string, to: string): boolean {
  return from === to || floorOf(from) < floorOf(to);
}

/** The floor of a room. For an unknown room it is NaN, so it may neither import nor be imported. */
function floorOf(room: string): number {
  const floor = FLOORS.findIndex((rooms) => rooms.includes(room));
  return floor < 0 ? Number.NaN : floor;
}

/** `src/proxy/wire/link.ts` → `proxy`; files directly in `src` are the `index`. */
function roomOf(path: string): string {
  const [, room = '', ...rest] = path.split('/');
  return rest.length === 0 ? 'index' : room;
}

function packageOf(specifier: string): string {
  const [scopeOrName = '', name = ''] = specifier.split('/');
  return scopeOrName.startsWith('@') ? `${scopeOrName}/${name}` : scopeOrName;
}
