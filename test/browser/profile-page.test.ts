import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  drawnSeries,
  expectFirstScreen,
  expectParts,
  expectPrintable,
  expectQuickAndSmall,
  expectReadable,
  hasChromium,
  PageBrowser,
  picture,
  unfold,
} from '../support/page-browser.ts';
import { runReprise } from '../support/process.ts';
import { ODD_DAY, profiledCapture, SECRET_PROMPT } from '../support/profiled-capture.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

describe.skipIf(!hasChromium)('the page of a profile in a browser (needs Debian’s chromium)', () => {
  const file = join(temporaryDirectory(), 'profile.html');
  let browser: PageBrowser;

  beforeAll(async () => {
    const done = await runReprise(['profile', profiledCapture(), '--html', file, '--tz', 'UTC']);
    expect(done, done.stderr).toMatchObject({ status: 0 });
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
    await unfold(page);
    const drawn = await drawnSeries(page);
    expect(drawn.length).toBe(4);
    for (const { points, canvases } of drawn) {
      expect(points).toBeGreaterThan(300);
      expect(canvases).toBe(1);
    }
    const figures = await page.locator('figure').allTextContents();
    expect(figures.length).toBeGreaterThan(12);
    for (const text of figures) expect(text).toMatch(/Look for: .+\.Unit: .+\. Source: .+\./s);
    expect(await page.locator('.heat rect').count()).toBe(168);
  });

  test('says first what matters, without JavaScript as well', async () => {
    const page = await browser.open(file, { javaScriptEnabled: false });
    const summary = (await page.locator('.findings').textContent()) ?? '';
    expect(summary).toContain(`Wednesday ${ODD_DAY} breaks the cycle`);
    expect(summary).toMatch(/busiest hour had [\d.]+ times/);
    expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
    await page.screenshot({ path: picture('profile-without-script.png') });
  });

  test('holds recorded names as text, and no payload', async () => {
    const page = await browser.open(file);
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.content()).not.toContain(SECRET_PROMPT);
    expect(await page.locator('body').textContent()).toContain('alice</script><img src=x onerror=alert(1)>');
  });

  test('is readable in the light and in the dark, on a telephone and on paper', async () => {
    await expectReadable(browser, file, 'profile');
    await expectPrintable(browser, file, 'profile');
  });

  test('shows verdict, figures and chart on the first screen, and the rest by its contents', async () => {
    await expectFirstScreen(browser, file);
    await expectParts(browser, file);
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(browser.asked.filter((one) => one !== pathToFileURL(file).href)).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});

describe.skipIf(!hasChromium)(
  'the page of the hardest windows in a browser (needs Debian’s chromium)',
  () => {
    const file = join(temporaryDirectory(), 'windows.html');
    let browser: PageBrowser;

    beforeAll(async () => {
      const done = await runReprise(['windows', profiledCapture(), '--html', file, '--length', '1h']);
      expect(done, done.stderr).toMatchObject({ status: 0 });
      browser = await PageBrowser.start();
    });

    afterAll(async () => {
      await browser?.close();
    });

    test('is one small file that is readable in the light and in the dark, with recorded names as text', async () => {
      await expectQuickAndSmall(browser, file);
      await expectReadable(browser, file, 'windows');
      const page = await browser.open(file);
      expect(await page.locator('.heat rect.framed').count()).toBeGreaterThanOrEqual(1);
      expect(await page.locator('img').count()).toBe(0);
      expect(browser.asked.filter((one) => one !== pathToFileURL(file).href)).toEqual([]);
      expect(browser.complaints).toEqual([]);
    });
  },
);
