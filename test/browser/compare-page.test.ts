import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calmSends, comparedRun } from '../support/compared-runs.ts';
import { runReprise } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CHROMIUM = '/usr/bin/chromium';
/** Screenshots, to be looked at. */
const PICTURES = join(repositoryRoot, 'artefacts', 'browser');
const HOSTILE = 'http://x/</script><img src=x onerror=alert(1)>';

describe.skipIf(!existsSync(CHROMIUM))(
  'the page of a comparison in a browser (needs Debian’s chromium)',
  () => {
    const file = join(temporaryDirectory(), 'compare.html');
    const url = pathToFileURL(file).href;
    const complaints: string[] = [];
    const asked: string[] = [];
    let browser: Browser;

    beforeAll(async () => {
      mkdirSync(PICTURES, { recursive: true });
      const { a, b } = calmSends(3_000, 1.2);
      const runs = [comparedRun(a), comparedRun(b, { run: { target: HOSTILE } })];
      const done = await runReprise(['compare', ...runs, '--html', file]);
      expect(done, done.stderr).toMatchObject({ status: 3 });
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

    test('draws both percentiles over the plan and the ratios, in a small file', async () => {
      expect(readFileSync(file).byteLength).toBeLessThan(500_000);
      const page = await open();
      const points = await page
        .locator('.live')
        .evaluateAll((places) =>
          places.map((place) =>
            Number((place as unknown as { dataset: Record<string, string> }).dataset['drawn']),
          ),
        );
      expect(points).toEqual([20, 20]);
      expect(await page.locator('circle').count()).toBe(2);
      for (const text of await page.locator('figure').allTextContents()) {
        expect(text).toMatch(/Unit: .+\. Source: .+\..*Look for: .+/s);
      }
      await page.screenshot({ path: join(PICTURES, 'compare-light.png'), fullPage: true });
    });

    test('says the verdict and its reasons without JavaScript', async () => {
      const page = await open({ javaScriptEnabled: false });
      expect(await page.locator('h1').textContent()).toBe('WORSEB is worse than A.');
      expect(await page.locator('.findings').first().textContent()).toContain('latency_p50 is');
      expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
    });

    test('holds names as text', async () => {
      const page = await open();
      expect(await page.locator('img').count()).toBe(0);
      expect(await page.locator('header').textContent()).toContain(HOSTILE);
    });

    test('is readable in the dark and on a telephone', async () => {
      const page = await open({ colorScheme: 'dark' });
      expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(16, 22, 29)');
      await page.screenshot({ path: join(PICTURES, 'compare-dark.png'), fullPage: true });
      await page.setViewportSize({ width: 380, height: 800 });
      expect(
        await page.evaluate('document.documentElement.scrollWidth - window.innerWidth'),
      ).toBeLessThanOrEqual(0);
      await page.screenshot({ path: join(PICTURES, 'compare-380.png'), fullPage: true });
    });

    test('asks nobody for anything, and complains of nothing', () => {
      expect(asked.filter((one) => one !== url)).toEqual([]);
      expect(complaints).toEqual([]);
    });
  },
);
