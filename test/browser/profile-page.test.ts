import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runReprise } from '../support/process.ts';
import { ODD_DAY, profiledCapture, SECRET_PROMPT } from '../support/profiled-capture.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CHROMIUM = '/usr/bin/chromium';
/** Screenshots, to be looked at. */
const PICTURES = join(repositoryRoot, 'artefacts', 'browser');
const MAX_BYTES = 2_000_000;
const OPEN_MS = 1_000;
/** A machine that is busy elsewhere for a moment must be able to show what the page can do. */
const ATTEMPTS = 3;

describe.skipIf(!existsSync(CHROMIUM))('the page of a profile in a browser (needs Debian’s chromium)', () => {
  const file = join(temporaryDirectory(), 'profile.html');
  const url = pathToFileURL(file).href;
  const complaints: string[] = [];
  const asked: string[] = [];
  let browser: Browser;

  beforeAll(async () => {
    mkdirSync(PICTURES, { recursive: true });
    const done = await runReprise(['profile', profiledCapture(), '--html', file, '--tz', 'UTC']);
    expect(done, done.stderr).toMatchObject({ status: 0 });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  });

  afterAll(async () => {
    await browser?.close();
  });

  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    const page = await (
      await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options })
    ).newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('dialog', (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
    page.on('request', (request) => asked.push(request.url()));
    await page.goto(url);
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
    expect(drawn.length).toBe(4);
    for (const { points, canvases } of drawn) {
      expect(points).toBeGreaterThan(300);
      expect(canvases).toBe(1);
    }
    const figures = await page.locator('figure').allTextContents();
    expect(figures.length).toBeGreaterThan(12);
    for (const text of figures) expect(text).toMatch(/Unit: .+\. Source: .+\..*Look for: .+/s);
    expect(await page.locator('.heat rect').count()).toBe(168);
    await page.screenshot({ path: join(PICTURES, 'profile-light.png'), fullPage: true });
  });

  test('says first what matters, without JavaScript as well', async () => {
    const page = await open({ javaScriptEnabled: false });
    const summary = (await page.locator('.findings').textContent()) ?? '';
    expect(summary).toContain(`Wednesday ${ODD_DAY} breaks the cycle`);
    expect(summary).toMatch(/[\d,]+ requests in 336.0 h/);
    expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
    await page.screenshot({ path: join(PICTURES, 'profile-without-script.png') });
  });

  test('holds recorded names as text, and no payload', async () => {
    const page = await open();
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.content()).not.toContain(SECRET_PROMPT);
    expect(await page.locator('body').textContent()).toContain('alice</script><img src=x onerror=alert(1)>');
  });

  test('is readable in the dark, on a telephone and on paper', async () => {
    const page = await open({ colorScheme: 'dark' });
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(16, 22, 29)');
    await page.screenshot({ path: join(PICTURES, 'profile-dark.png'), fullPage: true });
    await page.setViewportSize({ width: 380, height: 800 });
    expect(
      await page.evaluate('document.documentElement.scrollWidth - window.innerWidth'),
    ).toBeLessThanOrEqual(0);
    await page.screenshot({ path: join(PICTURES, 'profile-380.png'), fullPage: true });
    await page.emulateMedia({ media: 'print', colorScheme: 'light' });
    expect(await page.locator('.live').first().isVisible()).toBe(false);
    expect(await page.locator('.still').first().isVisible()).toBe(true);
    const paper = await page.pdf({ path: join(PICTURES, 'profile.pdf'), format: 'A4' });
    expect(paper.byteLength).toBeGreaterThan(10_000);
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(asked.filter((one) => one !== url)).toEqual([]);
    expect(complaints).toEqual([]);
  });
});
