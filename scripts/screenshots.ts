/**
 * Makes the pictures and outputs of the README, and the pictures of the docs, from runs of the demo:
 * `npm run screenshots`, or `npm run screenshots readme` (or `capacity`) for one part. Takes about seven minutes and needs
 * Chromium and a quiet machine.
 */
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { Children } from '../fixtures/demo/children.ts';
import { escaped } from '../src/analysis/render/html.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const README = join(ROOT, 'README.md');
const IMAGES = join(ROOT, 'docs', 'images');
const REPRISE = join(ROOT, 'bin', 'reprise.js');
const DEMO = join(ROOT, 'fixtures', 'demo', 'main.ts');
const SCREEN = { width: 1_280, height: 800 };

const folder = mkdtempSync(join(tmpdir(), 'reprise-screenshots-'));
// Pages show the paths of their sources, so these are short relative paths.
process.chdir(folder);
mkdirSync('runs');
const capture = 'demo/capture';
const children = new Children();

/** Runs a program to its end with any verdict. @throws Error for any other exit status */
async function run(name: string, args: readonly string[]): Promise<string> {
  const { ending, stdout } = await children.start(name, args, 'inherit').output();
  if (![0, 3, 4].includes(Number(ending))) throw new Error(`${name} ended with ${ending}`);
  return stdout;
}

const SLO = ['--slo', 'latency: p(95)<1500'];

/** Starts the demo's model server. @returns its address, and how to stop it */
async function modelServer(tokenMs: string) {
  const service = ['--executors', '16', '--base-ms', '5', '--per-kib-us', '100', '--token-ms', tokenMs];
  const server = children.start(
    'the model server',
    [join(ROOT, 'fixtures', 'model-server', 'main.ts'), '--listen', '127.0.0.1:0', ...service],
    'inherit',
  );
  return { server, target: await server.line('stdout', (line) => JSON.parse(line).listening ?? null) };
}

/** A line of a terminal, with the seconds since the command began. */
interface Printed {
  readonly afterS: number;
  readonly line: string;
}

interface Watched {
  /** The digest of the picture. */
  readonly live: string;
  /** The result. */
  readonly replay: string;
  /** What the terminal showed. */
  readonly printed: readonly Printed[];
}

/** When the live page is photographed: after the first percentiles, and long before the end. */
const LIVE_MS = 12_000;

/** Replays the demo's capture at 1.5x, and takes a picture of its live page. @throws Error if it never passes */
async function replayWatched(attempts = 5): Promise<Watched> {
  const { server, target } = await modelServer('1');
  const began = performance.now();
  const printed: Printed[] = [];
  const now = () => (performance.now() - began) / 1e3;
  const load = ['--multiplier', '1.5', ...SLO, '--out', 'runs/first', '--serve', '127.0.0.1:0'];
  const child = children.start(
    'reprise replay',
    [REPRISE, 'replay', capture, '--target', target, ...load],
    'pipe',
  );
  const output = child.output();
  const page = await child.line(
    'stderr',
    (line) => /live page is at (\S+)/.exec(line)?.[1] ?? null,
    (line) => printed.push({ afterS: now(), line }),
  );
  await delay(LIVE_MS);
  const live = await pictureOf('live', page, folder);
  const { ending, stdout } = await output;
  await server.stop();
  const isLate = stdout.includes('the generator was late');
  if (ending !== 0 || !stdout.startsWith('PASS') || isLate) {
    if (attempts === 1) throw new Error(`the machine is too busy:\n${stdout}`);
    // Another program was busy meanwhile.
    rmSync('runs/first', { recursive: true });
    return await replayWatched(attempts - 1);
  }
  copyFileSync(join(folder, 'live.png'), join(IMAGES, 'live.png'));
  const shown = stdout.trimEnd().replaceAll(`${folder}/`, '');
  // Of what is printed while it runs, only the line that counts down.
  const progress = printed.filter(({ line }) => /^\S+ s left /.test(line));
  return {
    live,
    replay: shown,
    printed: [...progress, ...shown.split('\n').map((line) => ({ afterS: now(), line }))],
  };
}

/** Replays the demo's capture against a server that takes a fifth longer for a token. */
async function replaySlower(): Promise<string> {
  const { server, target } = await modelServer('1.2');
  const as = ['--multiplier', '1.5', ...SLO, '--out', 'runs/slower'];
  await run('reprise replay', [REPRISE, 'replay', capture, '--target', target, ...as]);
  await server.stop();
  return 'runs/slower';
}

const FONT = { size: 13, width: 7.83, line: 18 };
const MARGIN = 16;
/** The recording is faster than the run. */
const FASTER = 4;

/** A recording of a terminal: each line appears when it was printed. A viewer without animation shows all lines. */
function terminalSvg(command: readonly string[], printed: readonly Printed[]): string {
  const lines = [...command.map((line) => ({ afterS: 0, line })), ...printed];
  const width = Math.ceil(Math.max(...lines.map(({ line }) => line.length)) * FONT.width + 2 * MARGIN);
  const height = lines.length * FONT.line + 2 * MARGIN;
  const texts = lines.map(({ afterS, line }, at) => {
    const kind = at < command.length ? 'command' : line.startsWith('PASS') ? 'pass' : 'line';
    const delayed =
      at < command.length ? '' : ` style="animation-delay:${(1 + afterS / FASTER).toFixed(2)}s"`;
    return `<text class="${kind}"${delayed} x="${MARGIN}" y="${MARGIN + (at + 0.75) * FONT.line}">${escaped(line)}</text>`;
  });
  const verdict = printed.find(({ line }) => line.startsWith('PASS'))?.line ?? '';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title">
<title id="title">${escaped(`A terminal in which a replay ends. ${verdict}`)}</title>
<style>
text{font:${FONT.size}px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;white-space:pre;fill:#d8e0e8;animation:appear 10ms backwards}
.command{fill:#fff;font-weight:700;animation:none}
.pass{fill:#5bd08f;font-weight:700}
@keyframes appear{from{opacity:0}}
@media (prefers-reduced-motion:reduce){text{animation:none}}
</style>
<rect width="100%" height="100%" rx="8" fill="#10161d"/>
${texts.join('\n')}
</svg>
`;
}

/** Takes a picture of a page. @returns the digest of the file */
async function picture(name: string, page: readonly string[]): Promise<string> {
  const file = `${name}.html`;
  await run(`reprise ${page[0]}`, [REPRISE, ...page, '--html', file]);
  return await pictureOf(name, pathToFileURL(join(folder, file)).href);
}

async function pictureOf(name: string, address: string, into = IMAGES): Promise<string> {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const tab = await browser.newPage({ viewport: SCREEN, colorScheme: 'light' });
  await tab.goto(address);
  const bytes = await tab.screenshot({ path: join(into, `${name}.png`) });
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
  return shown.replaceAll(capture, 'captures/today');
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

/** The command as the README has it. */
const COMMAND = [
  '$ npx reprise replay captures/today --target http://staging:8000 \\',
  "    --multiplier 1.5 --slo 'latency: p(95)<1500' --out runs/first",
];

async function readmePart(): Promise<void> {
  const demo = await run('the demo', [DEMO, '--out', 'demo']);
  const { live, replay, printed } = await replayWatched();
  const outputs = { inspect: outputOf(demo, 'inspect'), replay };
  writeFileSync(join(IMAGES, 'terminal.svg'), terminalSvg(COMMAND, printed));
  const pictures = {
    profile: await picture('profile', ['profile', capture]),
    live,
    report: await picture('report', ['report', 'runs/first']),
  };
  await picture('compare', ['compare', 'runs/first', await replaySlower()]);
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
