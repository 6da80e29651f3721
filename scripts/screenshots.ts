/**
 * Makes the pictures of the README and the docs from demo runs: `npm run screenshots`. Takes about six minutes and
 * needs Chromium.
 */
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { Children } from '../fixtures/demo/children.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const IMAGES = join(ROOT, 'docs', 'images');
const REPRISE = join(ROOT, 'bin', 'reprise.js');
const SCREEN = { width: 1_280, height: 800 };
const SECONDS = '60';

const folder = mkdtempSync(join(tmpdir(), 'reprise-screenshots-'));
// Pages show the paths of their sources, so these are short relative paths.
process.chdir(folder);
const capture = 'demo/capture';
const children = new Children();

/** Runs a program to its end with any verdict. @throws Error for any other exit status */
async function run(name: string, args: readonly string[]): Promise<void> {
  const { ending } = await children.start(name, args, 'inherit').output();
  if (![0, 3, 4].includes(Number(ending))) throw new Error(`${name} ended with ${ending}`);
}

/** Replays the recorded minute against a server with this time per token. */
async function replay(into: string, tokenMs: string, options: readonly string[]): Promise<string> {
  const service = ['--executors', '8', '--base-ms', '5', '--per-kib-us', '100', '--token-ms', tokenMs];
  const server = children.start(
    'the model server',
    [join(ROOT, 'fixtures', 'model-server', 'main.ts'), '--listen', '127.0.0.1:0', ...service],
    'inherit',
  );
  const target = await server.line('stdout', (line) => JSON.parse(line).listening ?? null);
  await run('reprise replay', [REPRISE, 'replay', capture, '--target', target, '--out', into, ...options]);
  await server.stop();
  return into;
}

async function picture(name: string, page: readonly string[]): Promise<void> {
  const file = `${name}.html`;
  await run(`reprise ${page[0]}`, [REPRISE, ...page, '--html', file]);
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const tab = await browser.newPage({ viewport: SCREEN, colorScheme: 'light' });
  await tab.goto(pathToFileURL(join(folder, file)).href);
  await tab.screenshot({ path: join(IMAGES, `${name}.png`) });
  await browser.close();
}

try {
  mkdirSync(IMAGES, { recursive: true });
  await run('the demo', [
    join(ROOT, 'fixtures', 'demo', 'main.ts'),
    ...['--out', 'demo', '--seconds', SECONDS],
  ]);
  await picture('profile', ['profile', capture]);
  await picture('capacity', [
    'capacity',
    capture,
    ...['--simulate', '--budget', '60m', '--slo', 'latency: p(95)<1500'],
  ]);
  const faster = await replay('faster', '1', []);
  const slower = await replay('slower', '1.2', []);
  await picture('compare', ['compare', faster, slower]);
  const doubled = await replay('doubled', '1', ['--multiplier', '2', '--slo', 'latency: p(95)<800']);
  await picture('report', ['report', doubled]);
} finally {
  await children.stopAll();
}
