import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  drawnSeries,
  expectPrintable,
  expectQuickAndSmall,
  expectReadable,
  hasChromium,
  PageBrowser,
  picture,
} from '../support/page-browser.ts';
import { runReprise } from '../support/process.ts';
import { replayedCapture } from '../support/replayed-capture.ts';
import { HOSTILE_MODEL, mixedSends, storedRun } from '../support/reported-runs.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SLO = ['latency: p(95)<40', 'ttft: p(95)<500', 'errors: rate<0.05'];

describe.skipIf(!hasChromium)('the page of a report in a browser (needs Debian’s chromium)', () => {
  const folder = temporaryDirectory();
  const file = join(folder, 'report.html');
  const bare = join(folder, 'bare.html');
  let browser: PageBrowser;

  beforeAll(async () => {
    // With the recording beside it, and where the capture has moved.
    const { capture, sends } = replayedCapture(mixedSends(), 12);
    for (const [page, facts] of [
      [file, { slo: SLO, run: { capture } }],
      [bare, { slo: SLO }],
    ] as const) {
      const done = await runReprise(['report', storedRun(sends, facts), '--html', page]);
      expect(done, done.stderr).toMatchObject({ status: 0 });
    }
    browser = await PageBrowser.start();
  });

  afterAll(async () => {
    await browser?.close();
  });

  test('opens in under a second, in one file under 2 MB', async () => {
    await expectQuickAndSmall(browser, file);
  });

  test('draws every time series with data, and says unit, source and what to look for', async () => {
    const page = await browser.open(file);
    const drawn = await drawnSeries(page);
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
    await page.screenshot({ path: picture('report-light.png'), fullPage: true });
  });

  test('says first the verdict and what to do, without JavaScript as well', async () => {
    const page = await browser.open(file, { javaScriptEnabled: false });
    expect(await page.locator('.verdict').textContent()).toMatch(
      /FAIL The target did not keep 1 of 4 objectives/,
    );
    const reasons = page.locator('.reasons').first();
    expect(await reasons.textContent()).toContain('To do:');
    expect((await reasons.boundingBox())?.y).toBeLessThan(400);
    expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
    expect(await page.locator('.curve polyline').first().isVisible()).toBe(true);
    expect((await page.locator('.still .key').first().boundingBox())?.height).toBeLessThan(30);
    await page.screenshot({ path: picture('report-without-script.png') });
  });

  test('holds recorded names as text', async () => {
    const page = await browser.open(file);
    expect(await page.locator('img').count()).toBe(0);
    const text = await page.locator('body').textContent();
    expect(text).toContain('</script><img src=x onerror=alert(1)>');
    expect(text).toContain(HOSTILE_MODEL);
  });

  test('says so where the recording is not at hand', async () => {
    const page = await browser.open(bare);
    expect(await page.locator('header').textContent()).toContain('recorded latency is not available');
    expect(await page.locator('.curve circle').count()).toBe(14);
  });

  test('is readable in the dark, on a telephone and on paper', async () => {
    const page = await expectReadable(browser, file, 'report');
    await expectPrintable(page, 'report');
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(browser.asked.filter((one) => !one.startsWith(pathToFileURL(folder).href))).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});
