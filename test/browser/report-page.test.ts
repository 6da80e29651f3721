import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reportPage } from '../../src/analysis/report/page.ts';
import { pageAssets } from '../../src/app/package.ts';
import type { ReportDocument } from '../../src/documents/report.ts';
import { replayedCapture } from '../integration/replayed-capture.ts';
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
import { HOSTILE_MODEL, mixedSends, reportOf, storedRun } from '../support/reported-runs.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SLO = ['latency: p(95)<40', 'ttft: p(95)<500', 'errors: rate<0.05'];

const PHASE = {
  requests: 10,
  failed: 0,
  errorShare: 0,
  p50Ms: 1,
  p95Ms: 2,
  p99Ms: 3,
  checked: 0,
  mismatched: 0,
};
const FAULT = {
  ...{
    name: 'database-cut',
    proxy: 'database',
    fault: 'down',
    stream: 'downstream',
    toxicity: 1,
    attributes: {},
  },
  fromS: 72,
  toS: 84,
  appliedS: 72,
  removedS: 84,
  problem: null,
  connections: 1,
  injected: 1,
  judgedBy: [],
  inFlight: 0,
  before: PHASE,
  during: PHASE,
  after: PHASE,
  recovery: { s: 1, limitS: null, by: [], ok: null },
};

/** Left, middle and right of an element, as shares of the width of what it lies in. */
async function placesOf(page: Page, around: string, what: string): Promise<number[]> {
  const outer = await page.locator(around).first().boundingBox();
  const inner = await page.locator(what).first().boundingBox();
  if (outer === null || inner === null) return [];
  return [0, 0.5, 1].map((share) => (inner.x + share * inner.width - outer.x) / outer.width);
}

/** How much lies behind the lines of the first chart at these shares of its plot: the least alpha of a column. */
function washOf(shares: readonly number[]): string {
  return `(() => {
    const canvas = document.querySelector('.interactive canvas');
    const over = document.querySelector('.interactive .u-over').getBoundingClientRect();
    const from = over.left - canvas.getBoundingClientRect().left;
    const { data, width } = canvas.getContext('2d').getImageData(0, 60, canvas.width, 40);
    return ${JSON.stringify(shares)}.map((share) => {
      const x = Math.round(from + share * over.width) + 3;
      return Math.min(...Array.from({ length: 40 }, (_, y) => data[(y * width + x) * 4 + 3]));
    });
  })()`;
}

describe.skipIf(!hasChromium)('the page of a report in a browser (needs Debian’s chromium)', () => {
  const folder = temporaryDirectory();
  const file = join(folder, 'report.html');
  const bare = join(folder, 'bare.html');
  const faulty = join(folder, 'faulty.html');
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
    await unfold(page);
    const drawn = await drawnSeries(page);
    expect(drawn.length).toBe(5);
    for (const { points, canvases } of drawn) {
      expect(points).toBeGreaterThan(30);
      expect(canvases).toBe(1);
    }
    const figures = await page.locator('figure').allTextContents();
    expect(figures.length).toBeGreaterThan(15);
    for (const text of figures) expect(text).toMatch(/Look for: .+\.Unit: .+\. Source: .+\./s);
    // Percentiles of three curves, without the p99.9 and p99.99 that have too few samples.
    expect(await page.locator('#latency .curve circle').count()).toBe(15);
    expect(await page.locator('.heat rect').count()).toBeGreaterThan(100);
  });

  test('says first the verdict and what to do, without JavaScript as well', async () => {
    const page = await browser.open(file, { javaScriptEnabled: false });
    expect(await page.locator('.verdict').textContent()).toMatch(/^FAIL The target did not meet /);
    const reasons = page.locator('.reasons').first();
    expect(await reasons.textContent()).toContain('To do:');
    expect((await reasons.boundingBox())?.y).toBeLessThan(1_000);
    expect(await page.locator('.still polyline').first().isVisible()).toBe(true);
    expect(await page.locator('.still .band').first().isVisible()).toBe(true);
    expect(await page.locator('.still line.limit').count()).toBe(1);
    expect((await page.locator('.key').first().boundingBox())?.height).toBeLessThan(30);
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
    expect(await page.locator('#latency .curve circle').count()).toBe(10);
    expect(await page.locator('.still .band').count()).toBe(0);
  });

  test('is readable in the light and in the dark, on a telephone and on paper', async () => {
    await expectReadable(browser, file, 'report');
    await expectPrintable(browser, file, 'report');
  });

  test('shows verdict, figures and chart on the first screen, and the rest by its contents', async () => {
    await expectFirstScreen(browser, file);
    await expectParts(browser, file, ['over-time', 'latency']);
  });

  test('shows when a dependency failed by plan, drawn by the script or standing', async () => {
    const report = reportOf(mixedSends(), { slo: SLO });
    const summary = {
      ...report.summary,
      faults: { control: '', faults: [FAULT] },
    } as ReportDocument['summary'];
    writeFileSync(faulty, reportPage({ ...report, summary }, pageAssets(), 'UTC'));
    const still = await browser.open(faulty, { javaScriptEnabled: false });
    const [left, , right] = await placesOf(still, '.still svg svg', '.still rect.mark');
    // From 72 to 84 of 117 s: the last step of 3 s with a request begins there.
    expect(left).toBeCloseTo(72 / 117, 2);
    expect(right).toBeCloseTo(84 / 117, 2);
    const page = await browser.open(faulty);
    expect(await page.locator('.legend').first().textContent()).toContain('database-cut');
    const [inside, outside] = await page.evaluate<[number, number]>(washOf([78 / 117, 40 / 117]));
    expect([inside > 50, outside]).toEqual([true, 0]);
    await page.screenshot({ path: picture('report-fault.png') });
  });

  test('tells all times in the zone that was asked for, and names it', async () => {
    const file = join(folder, 'kolkata.html');
    const done = await runReprise([
      'report',
      storedRun(mixedSends(600)),
      '--tz',
      'Asia/Kolkata',
      '--html',
      file,
    ]);
    expect(done, done.stderr).toMatchObject({ status: 0 });
    const page = await browser.open(file, { javaScriptEnabled: false });
    expect(await page.locator('header').textContent()).toContain('All times: Asia/Kolkata');
    expect(await page.locator('.axis span').first().textContent()).toBe('2026-11-07 02:50:00');
    expect(await page.locator('#about').textContent()).toContain('from 2026-11-07 02:50:00 to');
  });

  test('asks nobody for anything, and complains of nothing', () => {
    expect(browser.asked.filter((one) => !one.startsWith(pathToFileURL(folder).href))).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});
