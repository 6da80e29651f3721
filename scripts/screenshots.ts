/**
 * Makes the pictures and outputs of the README, and the pictures of the docs, from runs of the demo:
 * `npm run screenshots`, or `npm run screenshots readme` (or `capacity`) for one part. Takes about seven minutes and needs
 * Chromium and a quiet machine.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { Children } from '../fixtures/demo/children.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const README = join(ROOT, 'README.md');
const IMAGES = join(ROOT, 'docs', 'images');
const REPRISE = join(ROOT, 'bin', 'reprise.js');
const DEMO = join(ROOT, 'fixtures', 'demo', 'main.ts');
const SCREEN = { width: 1_280, height: 800 };

const folder = mkdtempSync(join(tmpdir(), 'reprise-screenshots-'));
// Pages show the paths of their sources, so these are short relative paths.
process.chdir(folder);
const capture = 'demo/capture';
const children = new Children();

/** Runs a program to its end with any verdict. @throws Error for any other exit status */
async function run(name: string, args: readonly string[]): Promise<string> {
  const { ending, stdout } = await children.start(name, args, 'inherit').output();
  if (![0, 3, 4].includes(Number(ending))) throw new Error(`${name} ended with ${ending}`);
  return stdout;
}

/** Replays the demo's capture as the demo does, against a server that takes a fifth longer for a token. */
async function replaySlower(): Promise<string> {
  const service = ['--executors', '16', '--base-ms', '5', '--per-kib-us', '100', '--token-ms', '1.2'];
  const server = children.start(
    'the model server',
    [join(ROOT, 'fixtures', 'model-server', 'main.ts'), '--listen', '127.0.0.1:0', ...service],
    'inherit',
  );
  const target = await server.line('stdout', (line) => JSON.parse(line).listening ?? null);
  const as = ['--multiplier', '1.5', '--slo', 'latency: p(95)<1500', '--out', 'slower'];
  await run('reprise replay', [REPRISE, 'replay', capture, '--target', target, ...as]);
  await server.stop();
  return 'slower';
}

/** Takes a picture of a page. @returns the digest of the file */
async function picture(name: string, page: readonly string[]): Promise<string> {
  const file = `${name}.html`;
  await run(`reprise ${page[0]}`, [REPRISE, ...page, '--html', file]);
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const tab = await browser.newPage({ viewport: SCREEN, colorScheme: 'light' });
  await tab.goto(pathToFileURL(join(folder, file)).href);
  const bytes = await tab.screenshot({ path: join(IMAGES, `${name}.png`) });
  await browser.close();
  return createHash('sha256').update(bytes).digest('hex');
}

/** What the demo printed below a command, up to its next heading. */
function outputOf(demo: string, command: string): string {
  const [, output] =
    new RegExp(`^\\$ npx reprise ${command} .*\\n([\\s\\S]*?)(?=\\n== |\\n*$(?![\\s\\S]))`, 'm').exec(demo) ??
    [];
  if (output === undefined) throw new Error(`the demo printed nothing of ${command}`);
  // The README has the directories that a reader has.
  const shown = output.trimEnd().replaceAll(`${folder}/`, '');
  return shown.replaceAll('demo/run', 'runs/first').replaceAll(capture, 'captures/today');
}

/** The lines of `output` with the labels of an excerpt. Others between them are one `…`. */
function excerptLike(excerpt: string, output: string): string {
  const labels = new Set(excerpt.split('\n').map((line) => line.split('  ')[0]));
  const lines = output.split('\n').map((line) => (labels.has(line.split('  ')[0] ?? '') ? line : '…'));
  return lines
    .filter((line, at) => line !== '…' || lines[at - 1] !== '…')
    .join('\n')
    .replaceAll(/^…\n|\n…$/g, '');
}

/** Writes the outputs below the commands of the README. */
function writeReadme(inspected: string, replayed: string): void {
  const text = readFileSync(README, 'utf8')
    .replace(
      /(npx reprise inspect .*\n```\n\n```text\n)([\s\S]*?)(?=\n```)/,
      (_, before: string, old: string) => `${before}${excerptLike(old, inspected)}`,
    )
    .replace(
      /(npx reprise replay .*\n```\n\n```text\n)[\s\S]*?(?=\n```)/,
      (_, before: string) => `${before}${replayed}`,
    );
  writeFileSync(README, text);
}

async function readmePart(): Promise<void> {
  const demo = await run('the demo', [DEMO, '--out', 'demo']);
  const outputs = { inspect: outputOf(demo, 'inspect'), replay: outputOf(demo, 'replay') };
  if (!outputs.replay.startsWith('PASS')) throw new Error(`the demo did not pass:\n${outputs.replay}`);
  const pictures = {
    profile: await picture('profile', ['profile', capture]),
    report: await picture('report', ['report', 'demo/run']),
    compare: await picture('compare', ['compare', 'demo/run', await replaySlower()]),
  };
  writeReadme(outputs.inspect, outputs.replay);
  // A test holds the README to this run.
  writeFileSync(join(IMAGES, 'run.json'), `${JSON.stringify({ ...outputs, pictures }, null, 2)}\n`);
}

/** Of a server that reaches its limit. docs/guides/capacity.md has what the demo prints of it. */
async function capacityPart(): Promise<void> {
  console.log(await run('the demo', [DEMO, '--out', 'searched', '--breaking-point']));
  await picture('capacity', ['report', 'searched/run']);
}

const PARTS = { readme: readmePart, capacity: capacityPart };

try {
  mkdirSync(IMAGES, { recursive: true });
  for (const [name, part] of Object.entries(PARTS))
    if (process.argv.length === 2 || process.argv.includes(name)) await part();
} finally {
  await children.stopAll();
}
