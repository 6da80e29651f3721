import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Send } from '../../src/core/run.ts';
import { calmSends, comparedRun } from '../support/compared-runs.ts';
import {
  drawnSeries,
  expectFirstScreen,
  expectParts,
  expectPrintable,
  expectReadable,
  hasChromium,
  PageBrowser,
  unfold,
} from '../support/page-browser.ts';
import { runReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const HOSTILE = 'http://x/</script><img src=x onerror=alert(1)>';

describe.skipIf(!hasChromium)('the page of a comparison in a browser (needs Debian’s chromium)', () => {
  const file = join(temporaryDirectory(), 'compare.html');
  let browser: PageBrowser;

  beforeAll(async () => {
    const { a, b } = calmSends(3_000, 1.2);
    const routed = (sends: readonly Send[]) =>
      sends.map((each, at) => ({ ...each, route: at % 3 === 0 ? 'POST /rare' : 'POST /often' }));
    const [one, other] = ['known', 'new build'].map((name) => join(temporaryDirectory(), name));
    const runs = [
      comparedRun(routed(a), { directory: one! }),
      comparedRun(routed(b), { directory: other!, run: { target: HOSTILE } }),
    ];
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
    await unfold(page);
    expect((await drawnSeries(page)).map(({ points }) => points)).toEqual([20, 20]);
    expect(await page.locator('.wide circle').count()).toBe(2);
    const plot = await page.locator('.wide').boundingBox();
    const around = await page.locator('figure').first().boundingBox();
    expect(plot?.width).toBeGreaterThan(0.95 * (around?.width ?? Number.POSITIVE_INFINITY));
    for (const text of await page.locator('figure').allTextContents()) {
      expect(text).toMatch(/Look for: .+\.Unit: .+\. Source: .+\./s);
    }
  });

  test('says the verdict and its reasons without JavaScript', async () => {
    const page = await browser.open(file, { javaScriptEnabled: false });
    expect(await page.locator('.verdict').textContent()).toBe('WORSE B (new build) is worse than A (known).');
    expect(await page.locator('.lead').textContent()).toMatch(
      /^B compared with A: latency p50 [\d.]+ % slower; /,
    );
    // The chart and the tile tell one ratio, and both sides are named above them.
    const tile = page.locator('.tiles li', { hasText: 'latency p50' }).last();
    const ratio = (await tile.locator('b').textContent())?.replace('\u00a0', ' ');
    expect(await page.locator('.wide text.ink').first().textContent()).toContain(`latency p50: ${ratio} `);
    expect(await page.locator('main > p').first().textContent()).toMatch(/^A: known against http.* UTC$/);
    expect(await page.locator('.findings code').first().textContent()).toBe('latency_p50_worse');
    expect(await page.locator('.findings .todo').first().textContent()).toContain("/new build' --slowest 20");
    await page.locator('summary', { hasText: 'By route' }).click();
    expect(await page.locator('#routes td', { hasText: 'POST /rare' }).first().isVisible()).toBe(true);
    await page.locator('summary', { hasText: 'Latency over the plan' }).click();
    expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
  });

  test('holds names as text', async () => {
    const page = await browser.open(file);
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.locator('main').textContent()).toContain(HOSTILE);
  });

  test('is readable in the light and in the dark, on a telephone and on paper', async () => {
    await expectReadable(browser, file, 'compare');
    await expectPrintable(browser, file, 'compare');
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
