import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { capacityPage } from '../../src/analysis/capacity/page.ts';
import { pageAssets } from '../../src/app/package.ts';
import {
  drawnSeries,
  expectFirstScreen,
  expectParts,
  expectPrintable,
  expectReadable,
  hasChromium,
  PageBrowser,
} from '../support/page-browser.ts';
import { playedAt, searched } from '../support/searched.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

describe.skipIf(!hasChromium)('the page of a breaking point in a browser (needs Debian’s chromium)', () => {
  const folder = temporaryDirectory();
  const file = join(folder, 'capacity.html');
  const loads = [1, 2, 3, 4, 4.5, 5, 6, 8];
  let browser: PageBrowser;

  beforeAll(async () => {
    writeFileSync(file, capacityPage(searched(loads.map((load) => playedAt(load))), pageAssets()));
    browser = await PageBrowser.start();
  });

  afterAll(async () => {
    await browser?.close();
  });

  test('draws points over the load and the fitted curve, with what passes and what fails', async () => {
    const page = await browser.open(file);
    const [latency, passing] = await drawnSeries(page);
    expect(latency).toEqual({ points: loads.length, canvases: 1 });
    expect(passing?.points).toBeGreaterThan(50);
    expect(await page.locator('.verdict').textContent()).toMatch(
      /Safe up to 4\.5x of the busiest 30 s \(90\.0\/s\), breaks by 5x \(100\.0\/s\)/,
    );
    expect(await page.locator('body').textContent()).toContain('/captures/<monday>');
  });

  test('shows the same where no script runs', async () => {
    const page = await browser.open(file, { javaScriptEnabled: false });
    // Three percentiles and the share of windows at each load, and one line: the fitted curve.
    expect(await page.locator('.still polyline.point').count()).toBe(4 * loads.length);
    expect(await page.locator('.still polyline:not(.point)').count()).toBe(1);
    expect(await page.locator('.still line.mark').count()).toBeGreaterThanOrEqual(4);
  });

  test('is readable in the light and in the dark, on a telephone and on paper', async () => {
    await expectReadable(browser, file, 'capacity');
    await expectPrintable(browser, file, 'capacity');
  });

  test('shows verdict, figures and chart on the first screen, and the rest by its contents', async () => {
    await expectFirstScreen(browser, file);
    await expectParts(browser, file);
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(browser.asked.filter((one) => !one.startsWith(pathToFileURL(folder).href))).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});
