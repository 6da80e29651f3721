// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the sources under test are strings that hold templates
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { breachesOf, circlesOf, crowdedFoldersOf, type SourceFile, wordBreachesOf } from './house-rules.ts';
import { scanSource } from './source-scan.ts';
import { repositoryRoot } from './support/shared-data.ts';

const NOT_OURS =
  /^(?:artefacts|dist|\.git|runs|captures|demo-run|tools\/site\/pages|fixtures\/data)(?:\/|$)|(?:^|\/)(?:node_modules|cache)(?:\/|$)/;
const CODE = /\.(?:ts|js|mjs)$/;
const TEXT = /\.(?:ts|js|mjs|json|md|yml|yaml|sh)$|\/run$/;

/** Put together from halves, so that this file does not break the rule it states. */
const UNFINISHED = new RegExp(`\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`);
const OUTSIDE = new RegExp(
  [
    '/wo' + 'rk/',
    '/tmp/te' + 'am',
    '/ro' + 'ot/',
    '\\b(?:ANCH' + 'ORS|HOU' + 'SE|DES' + 'IGN)\\.md',
    '\\bissu' + 'e #?\\d',
  ].join('|'),
);

function filesOf(directory: string, wanted: RegExp): SourceFile[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = relative(repositoryRoot, join(directory, entry.name)).split(sep).join('/');
    if (NOT_OURS.test(path)) return [];
    if (entry.isDirectory()) return filesOf(join(directory, entry.name), wanted);
    return wanted.test(path) ? [{ path, text: readFileSync(join(directory, entry.name), 'utf8') }] : [];
  });
}

function breach(path: string, text: string): string[] {
  return breachesOf([{ path, text }]);
}

describe('the house', () => {
  test('keeps its rules in every file', () => {
    const files = filesOf(repositoryRoot, CODE);
    expect(files.length).toBeGreaterThan(20);
    expect(breachesOf(files)).toEqual([]);
  });

  test('has no import circle and no crowded folder', () => {
    const files = filesOf(repositoryRoot, CODE);
    expect(circlesOf(files)).toEqual([]);
    expect(crowdedFoldersOf(files)).toEqual([]);
  });

  test('holds no mark of unfinished work and no word that only its builders understand', () => {
    const files = filesOf(repositoryRoot, TEXT).filter(({ path }) => path !== 'package-lock.json');
    expect(wordBreachesOf(files, UNFINISHED)).toEqual([]);
    expect(wordBreachesOf(files, OUTSIDE)).toEqual([]);
  });
});

describe('the rules', () => {
  test.each([
    ['a room that imports its sibling', 'src/proxy/a.ts', "import { x } from '../storage/b.ts';"],
    [
      'a room that imports its sibling for a type',
      'src/replay/a.ts',
      "import type { X } from '../storage/b.ts';",
    ],
    ['a room that imports its sibling late', 'src/replay/a.ts', "const x = await import('../storage/b.ts');"],
    ['a room that hands its sibling on', 'src/analysis/a.ts', "export * from '../storage/b.ts';"],
    ['a room that imports cli', 'src/formats/a.ts', "import { terminal } from '../cli/terminal.ts';"],
    ['core that imports a room', 'src/core/a.ts', "import { x } from '../storage/b.ts';"],
    ['a room that imports app', 'src/replay/a.ts', "import { x } from '../app/b.ts';"],
    ['app that imports cli', 'src/app/a.ts', "import { x } from '../cli/b.ts';"],
    ['documents that import a room', 'src/documents/a.ts', "import { x } from '../analysis/b.ts';"],
    ['documents that import their sibling', 'src/documents/a.ts', "import { x } from '../inference/b.ts';"],
    ['a room on no floor', 'src/elsewhere/a.ts', "import { x } from '../core/b.ts';"],
    ['a room that imports the public index', 'src/storage/a.ts', "import { x } from '../index.ts';"],
    ['source that imports a test', 'src/cli/a.ts', "import { x } from '../../test/support/b.ts';"],
    ['an import without its extension', 'src/cli/a.ts', "import { x } from './b';"],
  ])('refuse %s', (_, path, text) => {
    expect(breach(path, text)).toHaveLength(1);
  });

  test.each([
    ['SQLite outside storage', 'src/replay/a.ts', "import Database from 'better-sqlite3';"],
    ['msgpackr in the recorder', 'src/proxy/a.ts', "import { pack } from 'msgpackr';"],
    ['undici in cli', 'src/cli/a.ts', "import { Pool } from 'undici';"],
    ['commander below cli', 'src/replay/a.ts', "import { Command } from 'commander';"],
    [
      'csv-parse outside formats, by a subpath',
      'src/storage/a.ts',
      "import { parse } from 'csv-parse/sync';",
    ],
    ['a package nobody owns', 'src/cli/a.ts', "import pad from '@left/pad/lib';"],
    ['a file read in core', 'src/core/a.ts', "import { readFileSync } from 'node:fs';"],
    ['a socket in analysis', 'src/analysis/a.ts', "import { connect } from 'node:net';"],
  ])('refuse %s', (_, path, text) => {
    expect(breach(path, text)).toHaveLength(1);
  });

  test.each([
    ['Date.now', 'src/replay/a.ts', 'const at = Date.now();'],
    ['a Date of the present', 'src/cli/a.ts', 'const at = new Date();'],
    ['performance.now', 'src/storage/a.ts', 'const at = performance.now();'],
    ['hrtime', 'src/cli/workers/a.ts', 'const at = process.hrtime.bigint();'],
    ['a clock read inside a template', 'src/proxy/a.ts', 'const at = `it is ${Date.now()} now`;'],
  ])('refuse %s outside the clock', (_, path, text) => {
    expect(breach(path, text)).toHaveLength(1);
  });

  test.each([
    ['a comparison with the name of a metric', 'src/analysis/a.ts', "if (metric === 'goodput') return 1;"],
    ['the same the other way round', 'src/app/a.ts', "if ('errors' !== metric) return 1;"],
    ['a case for a metric', 'src/formats/a.ts', "switch (metric) { case 'ttft': return 1; }"],
    ['a list with a metric', 'src/cli/a.ts', "if (WHOLE.includes('makespan')) return 1;"],
    [
      'logic on the text of a reason',
      'src/analysis/verdict/a.ts',
      'if (reason.text.startsWith(x)) return 1;',
    ],
    ['logic on an expression', 'src/analysis/report/a.ts', 'if (/^errors/.test(line.expression)) return 1;'],
  ])('refuse %s', (_, path, text) => {
    expect(breach(path, text)).toHaveLength(1);
  });

  test('let metrics name themselves, and answers be compared', () => {
    expect(breach('src/analysis/metrics/a.ts', "if (metric === 'goodput') return 1;")).toEqual([]);
    expect(breach('src/analysis/compare/a.ts', "if (check.result === 'mismatch') return 1;")).toEqual([]);
    expect(breach('src/replay/a.ts', "if (check.result === 'mismatch') return 1;")).toEqual([]);
  });

  test.each([
    ['console', 'src/proxy/a.ts', "console.error('no');"],
    ['process.exit', 'src/storage/a.ts', 'process.exit(1);'],
    ['process.stdout', 'src/replay/a.ts', "process.stdout.write('x');"],
    ['a default export', 'src/cli/a.ts', 'export default class {}'],
    ['701 lines', 'src/core/a.ts', 'const x = 1;\n'.repeat(701)],
    ['701 lines of a fixture', 'fixtures/a.ts', 'const x = 1;\n'.repeat(701)],
  ])('refuse %s', (_, path, text) => {
    expect(breach(path, text)).toHaveLength(1);
  });

  test.each([
    ['a timer', 'src/proxy/tap/frame-queue.ts', 'const t = setTimeout(() => this.flush(), 5);'],
    ['a timer of the recording', 'src/app/recording/recording.ts', 'setInterval(() => act(), 5);'],
    ['a listener', 'src/proxy/tap/recorder-client.ts', "pipe.on('data', (chunk) => this.take(chunk));"],
    ['background work', 'src/storage/capture/account-keeper.ts', 'void this.write();'],
    ['a forwarder that knows a tap', 'src/proxy/tcp/a.ts', "import { x } from '../tap/recorder-client.ts';"],
  ])('refuse %s past the border of the recording', (_, path, text) => {
    expect(breach(path, text)).toHaveLength(1);
  });

  test('find a circle of types, and a crowded folder', () => {
    const circle: SourceFile[] = [
      { path: 'src/core/a.ts', text: "import type { B } from './b.ts';" },
      { path: 'src/core/b.ts', text: "import { c } from './deep/c.ts';" },
      { path: 'src/core/deep/c.ts', text: "export { a } from '../a.ts';" },
    ];
    expect(circlesOf(circle)).toEqual([['src/core/a.ts', 'src/core/b.ts', 'src/core/deep/c.ts']]);
    const many = Array.from({ length: 26 }, (_, at) => ({ path: `src/core/f${at}.ts`, text: '' }));
    expect(crowdedFoldersOf(many)).toEqual(['src/core: 26']);
    expect(crowdedFoldersOf(many.slice(1))).toEqual([]);
  });

  test('name the file and the line', () => {
    expect(breach('src/proxy/a.ts', '\n\nconst at = Date.now();\n')).toEqual([
      'src/proxy/a.ts:3 reads the clock; take a Clock (Date.now)',
    ]);
    expect(wordBreachesOf([{ path: 'docs/a.md', text: 'fine\nto be done' }], /to be done/)).toEqual([
      'docs/a.md:2 says "to be done"',
    ]);
  });

  test('allow what the house is built of', () => {
    const allowed: SourceFile[] = [
      { path: 'src/core/clock.ts', text: 'export const now = () => Date.now();' },
      { path: 'src/cli/a.ts', text: "import { x } from '../storage/b.ts';\nprocess.exitCode = 2;" },
      {
        path: 'src/storage/deep/a.ts',
        text: "import Database from 'better-sqlite3';\nimport '../../core/b.ts';",
      },
      { path: 'src/index.ts', text: "export { x } from './storage/b.ts';" },
      { path: 'src/replay/a.ts', text: 'const day = new Date(0);\n'.repeat(300) },
    ];
    expect(breachesOf(allowed)).toEqual([]);
  });

  test('are about code, not about prose or literals', () => {
    const prose = [
      '// never call Date.now() here',
      '/* console.log("x") */',
      "const advice = 'do not call process.exit()';",
      'const pattern = /Date.now|"\'`/;',
      'const text = `console.log ${1 + 1} process.exit`;',
    ].join('\n');
    expect(breach('src/proxy/a.ts', prose)).toEqual([]);
  });

  test('see code that follows a literal which looks like a comment or a quote', () => {
    const text =
      "const a = 'it\\'s // not';\nconst b = /[/'\"`]/;\nconst c = `${{ d: `x` }.d}`;\nDate.now();";
    expect(scanSource(text).code).toContain('Date.now()');
    expect(breach('src/proxy/a.ts', text)).toEqual([
      'src/proxy/a.ts:4 reads the clock; take a Clock (Date.now)',
    ]);
  });
});
