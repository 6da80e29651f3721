import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RUN_SUMMARY } from '../../src/storage/runs/schema.ts';
import { captureOf } from '../support/captures.ts';
import { drawnSeries, hasChromium, PageBrowser, picture } from '../support/page-browser.ts';
import { type RunningProcess, startProcess } from '../support/process.ts';
import { requestsOf } from '../support/replaying.ts';
import { RequestLogServer } from '../support/request-log-server.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** The page asks every second, and the run tells every second. */
const SOON = { timeout: 4_000 };
/** How long the run lasts: long enough for all that is looked at. */
const RUN_S = 25;
const GAP_US = 5_000;

describe.skipIf(!hasChromium)('the live page of a run in a browser (needs Debian’s chromium)', () => {
  let browser: PageBrowser;
  let server: RequestLogServer;
  let replay: RunningProcess;
  let page: Page;
  const out = join(temporaryDirectory(), 'run');
  let url = '';
  let pid = 0;

  beforeAll(async () => {
    server = await new RequestLogServer().listen();
    const capture = captureOf(requestsOf((RUN_S * 1e6) / GAP_US, GAP_US));
    const reprise = `${process.execPath} ${join(repositoryRoot, 'bin', 'reprise.js')}`;
    const asked = `replay ${capture} --target ${server.url} --out ${out} --slo 'latency: p(95)<20000' --slo 'makespan: <10m' --serve 127.0.0.1:0`;
    // `script` gives it a terminal.
    replay = startProcess('script', ['-qfec', `echo PID $$; exec ${reprise} ${asked}`, '/dev/null'], {
      env: { CI: undefined },
    });
    pid = Number((await replay.waitFor('stdout', /PID (\d+)/))[1]);
    [url = ''] = await replay.waitFor('stdout', /http:\/\/127\.0\.0\.1:\d+\//);
    browser = await PageBrowser.start();
    page = await browser.open(url);
  });

  afterAll(async () => {
    await replay?.kill('SIGKILL');
    await browser?.close();
    await server?.close();
  });

  const field = async (name: string) => (await page.locator(`[data-field="${name}"]`).textContent()) ?? '';
  const number = async (name: string) => Number.parseFloat((await field(name)).replaceAll(',', ''));
  const state = () => page.evaluate('document.querySelector("main").dataset.state');

  test('shows what is offered, sent, in flight and left, and follows it', async () => {
    await expect.poll(state, { timeout: 10_000 }).toBe('RUN');
    const offered = async () => Number(/offered (\d+)/.exec(await field('load-legend'))?.[1]);
    await expect.poll(offered, SOON).toBeGreaterThan(100);
    await expect.poll(() => number('sent'), SOON).toBeGreaterThan(100);
    // A percentile is shown once there are the requests it needs.
    await expect.poll(() => field('latency-legend'), { timeout: 8_000 }).toMatch(/p95 [\d.]+ m?s/);
    expect(await field('progress')).toMatch(/s left of .*s$/);
    expect(await page.locator('progress').getAttribute('value')).toMatch(/^0\.\d+$/);
    const before = await number('completed');
    await expect.poll(() => number('completed'), SOON).toBeGreaterThan(before);
    expect(await field('statuses')).toContain('200');
  });

  test('draws four charts that grow with the run, and keeps their canvas and what was zoomed into', async () => {
    const drawn = () => drawnSeries(page);
    await expect
      .poll(async () => (await drawn()).map(({ canvases }) => canvases), SOON)
      .toEqual([1, 1, 1, 1]);
    await page.evaluate("document.querySelector('#load canvas').id = 'marked'");
    const { points } = (await drawn())[0]!;
    await expect.poll(async () => (await drawn())[0]!.points, SOON).toBeGreaterThan(points + 1);
    expect(await page.locator('#load canvas#marked').count()).toBe(1);
    // The values under the pointer, in the unit of the axis.
    await page.locator('#load .u-over').hover();
    await expect
      .poll(() => page.locator('#load .u-legend').textContent(), SOON)
      .toMatch(/offered:?\s*[\d.]+\/s/);
  });

  test('shows every objective with its state so far, and names the limit in its chart', async () => {
    expect(await field('latency-legend')).toContain('latency: p(95)<20000 lies far above');
    const tiles = await page.locator('.tiles li').allTextContents();
    expect(await page.locator('.tiles .what').allTextContents()).toEqual([
      'latency: p(95)<20000',
      'makespan: <10m',
      'errors: rate<0.01',
      'rejected: rate<0.01',
    ]);
    expect(tiles[0]).toContain('met so far');
    expect(tiles[1]).toContain('not known yet');
    expect(await page.locator('.banner').getAttribute('class')).toBe('banner good');
    expect(browser.complaints).toEqual([]);
  });

  test('is readable in the dark, on a telephone and without a script', async () => {
    await page.screenshot({ path: picture('run-light.png'), fullPage: true });
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(16, 22, 29)');
    await page.screenshot({ path: picture('run-dark.png'), fullPage: true });
    await page.setViewportSize({ width: 380, height: 800 });
    const overhang = 'document.documentElement.scrollWidth - window.innerWidth';
    expect(await page.evaluate(overhang)).toBeLessThanOrEqual(0);
    await page.screenshot({ path: picture('run-380.png'), fullPage: true });
    const plain = await browser.open(url, { javaScriptEnabled: false });
    expect(await plain.locator('[data-field="load-legend"]').textContent()).toMatch(/offered [\d.]+\/s/);
    expect(await plain.locator('.still polyline').first().isVisible()).toBe(true);
    expect(await plain.locator('body').textContent()).toContain('JavaScript is off');
    await plain.close();
  });

  test('becomes the report at the same address, until Ctrl-C; the exit status is that of the run', async () => {
    const longest = { timeout: (RUN_S + 20) * 1e3 };
    await expect.poll(() => page.title(), longest).toContain('Load test report');
    expect(await page.locator('h1').count()).toBe(1);
    expect(page.url()).toBe(url);
    expect(browser.asked.filter((one) => !one.startsWith(url))).toEqual([]);
    expect(browser.complaints).toEqual([]);
    process.kill(pid, 'SIGINT');
    // A busy machine may make it inconclusive.
    const { verdict } = JSON.parse(readFileSync(join(out, RUN_SUMMARY), 'utf8'));
    expect((await replay.finished).status).toBe(
      { PASS: 0, FAIL: 3, INCONCLUSIVE: 4 }[verdict as 'PASS' | 'FAIL' | 'INCONCLUSIVE'],
    );
  });
});
