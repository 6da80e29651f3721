import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RUN_SUMMARY } from '../../src/storage/runs/schema.ts';
import { captureOf } from '../support/captures.ts';
import { hasChromium, PageBrowser, picture } from '../support/page-browser.ts';
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
    const asked = `replay ${capture} --target ${server.url} --out ${out} --slo 'latency: p(95)<20000' --serve 127.0.0.1:0`;
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
    await expect.poll(() => number('offered'), SOON).toBeGreaterThan(100);
    await expect.poll(() => number('sent'), SOON).toBeGreaterThan(100);
    // A percentile is shown once there are the requests it needs.
    await expect.poll(() => field('latency-p95'), { timeout: 8_000 }).toMatch(/m?s$/);
    expect(await field('left')).toMatch(/s$/);
    const before = await number('ended');
    await expect.poll(() => number('ended'), SOON).toBeGreaterThan(before);
    const points = async () =>
      ((await page.locator('[data-field="latency"] polyline').first().getAttribute('points')) ?? '').split(
        ' ',
      );
    await expect.poll(async () => (await points()).length, { timeout: 8_000 }).toBeGreaterThan(3);
  });

  test('draws the line of the objective, and where it stands', async () => {
    expect(await page.locator('[data-field="latency"] line').count()).toBe(1);
    expect(await field('latency')).toContain('latency: p(95)<20000');
    expect(await field('objective-0')).toContain('holds');
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
    expect(await plain.locator('[data-field="offered"]').textContent()).toMatch(/\/s$/);
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
