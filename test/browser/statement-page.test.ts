import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { statementPage } from '../../src/analysis/statement/view.ts';
import { pageAssets } from '../../src/app/package.ts';
import { grownDemand, NO_DEMAND } from '../support/grown-demand.ts';
import { expectReadable, hasChromium, PageBrowser, picture, SCROLLED } from '../support/page-browser.ts';
import { stated } from '../support/stated.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A4 with the margins that browsers give it, in CSS pixels. */
const PAPER = { width: 718, height: 1_047 };

describe.skipIf(!hasChromium)('the page of a statement in a browser (needs Debian’s chromium)', () => {
  const folder = temporaryDirectory();
  const file = join(folder, 'statement.html');
  const demand = { ...NO_DEMAND, days: grownDemand('compound', 5).days };
  const document = stated(undefined, { plan: { demand } });
  let browser: PageBrowser;

  beforeAll(async () => {
    writeFileSync(file, statementPage(document, pageAssets()));
    browser = await PageBrowser.start();
  });

  afterAll(async () => {
    await browser?.close();
  });

  test('begins with the verdict and the sentence', async () => {
    const page = await browser.open(file);
    expect(await page.locator('.verdict').textContent()).toBe(`PASS ${document.sentence}`);
  });

  test('is printed on A4: the first sheet has the sentence, the runs and the breaking point', async () => {
    const page = await browser.open(file);
    await page.setViewportSize(PAPER);
    await page.emulateMedia({ media: 'print', colorScheme: 'light' });
    const paper = await page.pdf({ path: picture('statement.pdf'), format: 'A4' });
    // A browser writes its objects uncompressed.
    const sheets = paper.toString('latin1').match(/\/Type\s*\/Page\b/g)?.length ?? 0;
    expect(sheets).toBeGreaterThanOrEqual(1);
    expect(sheets).toBeLessThanOrEqual(6);
    expect(await page.locator('figure', { hasText: 'Demand and its forecast' }).count()).toBe(1);
    for (const title of ['Production and the runs', 'Multiples of']) {
      const box = await page.locator('figure', { hasText: title }).first().boundingBox();
      expect((box?.y ?? Number.NaN) + (box?.height ?? Number.NaN)).toBeLessThanOrEqual(PAPER.height);
    }
    // No column is cut off.
    expect(await page.evaluate(SCROLLED)).toEqual([]);
    expect(await page.locator('details').count()).toBe(0);
  });

  test('is readable in the light and in the dark, and on a telephone', async () => {
    await expectReadable(browser, file, 'statement');
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(browser.asked.filter((one) => !one.startsWith(pathToFileURL(folder).href))).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});
