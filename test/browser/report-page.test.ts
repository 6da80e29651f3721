import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runReprise } from '../support/process.ts';
import { replayedCapture } from '../support/replayed-capture.ts';
import { HOSTILE_MODEL, mixedSends, storedRun } from '../support/reported-runs.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CHROMIUM = '/usr/bin/chromium';
/** Screenshots, to be looked at. */
const PICTURES = join(repositoryRoot, 'artefacts', 'browser');
const MAX_BYTES = 2_000_000;
const OPEN_MS = 1_000;
/** A machine that is busy elsewhere for a moment must be able to show what the page can do. */
const ATTEMPTS = 3;
const SLO = ['latency: p(95)<40', 'ttft: p(95)<500', 'errors: rate<0.05'];

describe.skipIf(!existsSync(CHROMIUM))('the page of a report in a browser (needs Debian’s chromium)', () => {
  const folder = temporaryDirectory();
  const file = join(folder, 'report.html');
  const bare = join(folder, 'bare.html');
  const complaints: string[] = [];
  const asked: string[] = [];
  let browser: Browser;

  beforeAll(async () => {
    mkdirSync(PICTURES, { recursive: true });
    // With the recording beside it, and where the capture has moved.
    const { capture, sends } = replayedCapture(mixedSends(), 12);
    for (const [page, facts] of [
      [file, { slo: SLO, run: { capture } }],
      [bare, { slo: SLO }],
    ] as const) {
      const done = await runReprise(['report', storedRun(sends, facts), '--html', page]);
      expect(done, done.stderr).toMatchObject({ status: 0 });
    }
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  });

  afterAll(async () => {
    await browser?.close();
  });

  async function open(options: BrowserContextOptions = {}, path = file): Promise<Page> {
    const page = await (
      await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options })
    ).newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('dialog', (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
    page.on('request', (request) => asked.push(request.url()));
    await page.goto(pathToFileURL(path).href);
    return page;
  }

  test('opens in under a second, in one file under 2 MB', async () => {
    expect(readFileSync(file).byteLength).toBeLessThan(MAX_BYTES);
    const took: number[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const page = await open();
      took.push(await page.evaluate<number>('performance.getEntriesByType("navigation")[0].loadEventEnd'));
      await page.context().close();
    }
    expect(Math.min(...took)).toBeGreaterThan(0);
    expect(Math.min(...took)).toBeLessThan(OPEN_MS);
  });

  test('draws every time series with data, and says unit, source and what to look for', async () => {
    const page = await open();
    const drawn = await page.locator('.live').evaluateAll((places) =>
      places.map((place) => ({
        points: Number((place as unknown as { dataset: Record<string, string> }).dataset['drawn']),
        canvases: (
          place as unknown as { querySelectorAll(what: string): { length: number } }
        ).querySelectorAll('canvas').length,
      })),
    );
    expect(drawn.length).toBe(5);
    for (const { points, canvases } of drawn) {
      expect(points).toBeGreaterThan(100);
      expect(canvases).toBe(1);
    }
    const figures = await page.locator('figure').allTextContents();
    expect(figures.length).toBeGreaterThan(15);
    for (const text of figures) expect(text).toMatch(/Unit: .+\. Source: .+\..*Look for: .+/s);
    expect(await page.locator('.curve circle').count()).toBe(21);
    expect(await page.locator('.heat rect').count()).toBeGreaterThan(100);
    await page.screenshot({ path: join(PICTURES, 'report-light.png'), fullPage: true });
  });

  test('says first the verdict and what to do, without JavaScript as well', async () => {
    const page = await open({ javaScriptEnabled: false });
    expect(await page.locator('.verdict').textContent()).toMatch(
      /FAIL The target did not keep 1 of 3 objectives/,
    );
    const reasons = page.locator('.reasons').first();
    expect(await reasons.textContent()).toContain('To do:');
    expect((await reasons.boundingBox())?.y).toBeLessThan(400);
    expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
    expect(await page.locator('.curve polyline').first().isVisible()).toBe(true);
    expect((await page.locator('.still .key').first().boundingBox())?.height).toBeLessThan(30);
    await page.screenshot({ path: join(PICTURES, 'report-without-script.png') });
  });

  test('holds recorded names as text', async () => {
    const page = await open();
    expect(await page.locator('img').count()).toBe(0);
    const text = await page.locator('body').textContent();
    expect(text).toContain('</script><img src=x onerror=alert(1)>');
    expect(text).toContain(HOSTILE_MODEL);
  });

  test('says so where the recording is not at hand', async () => {
    const page = await open({}, bare);
    expect(await page.locator('header').textContent()).toContain('recorded latency is not available');
    expect(await page.locator('.curve circle').count()).toBe(14);
  });

  test('is readable in the dark, on a telephone and on paper', async () => {
    const page = await open({ colorScheme: 'dark' });
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(16, 22, 29)');
    await page.screenshot({ path: join(PICTURES, 'report-dark.png'), fullPage: true });
    await page.setViewportSize({ width: 380, height: 800 });
    expect(
      await page.evaluate('document.documentElement.scrollWidth - window.innerWidth'),
    ).toBeLessThanOrEqual(0);
    await page.screenshot({ path: join(PICTURES, 'report-380.png'), fullPage: true });
    await page.emulateMedia({ media: 'print', colorScheme: 'light' });
    expect(await page.locator('.live').first().isVisible()).toBe(false);
    expect(await page.locator('.still').first().isVisible()).toBe(true);
    const paper = await page.pdf({ path: join(PICTURES, 'report.pdf'), format: 'A4' });
    expect(paper.byteLength).toBeGreaterThan(10_000);
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(asked.filter((one) => !one.startsWith(pathToFileURL(folder).href))).toEqual([]);
    expect(complaints).toEqual([]);
  });
});
