import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calmSends, comparedRun } from '../support/compared-runs.ts';
import { drawnSeries, expectReadable, hasChromium, PageBrowser, picture } from '../support/page-browser.ts';
import { runReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const HOSTILE = 'http://x/</script><img src=x onerror=alert(1)>';

describe.skipIf(!hasChromium)('the page of a comparison in a browser (needs Debian’s chromium)', () => {
  const file = join(temporaryDirectory(), 'compare.html');
  let browser: PageBrowser;

  beforeAll(async () => {
    const { a, b } = calmSends(3_000, 1.2);
    const runs = [comparedRun(a), comparedRun(b, { run: { target: HOSTILE } })];
    const done = await runReprise(['compare', ...runs, '--html', file]);
    expect(done, done.stderr).toMatchObject({ status: 3 });
    browser = await PageBrowser.start();
  });

  afterAll(async () => {
    await browser?.close();
  });

  test('draws both percentiles over the plan and the ratios, in a small file', async () => {
    expect(readFileSync(file).byteLength).toBeLessThan(500_000);
    const page = await browser.open(file);
    expect((await drawnSeries(page)).map(({ points }) => points)).toEqual([20, 20]);
    expect(await page.locator('circle').count()).toBe(2);
    for (const text of await page.locator('figure').allTextContents()) {
      expect(text).toMatch(/Unit: .+\. Source: .+\..*Look for: .+/s);
    }
    await page.screenshot({ path: picture('compare-light.png'), fullPage: true });
  });

  test('says the verdict and its reasons without JavaScript', async () => {
    const page = await browser.open(file, { javaScriptEnabled: false });
    expect(await page.locator('.verdict').textContent()).toBe('WORSE B is worse than A.');
    expect(await page.locator('.findings').first().textContent()).toContain('latency_p50 is');
    expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
  });

  test('holds names as text', async () => {
    const page = await browser.open(file);
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.locator('header').textContent()).toContain(HOSTILE);
  });

  test('is readable in the dark and on a telephone', async () => {
    await expectReadable(browser, file, 'compare');
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(browser.asked.filter((one) => one !== pathToFileURL(file).href)).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});
