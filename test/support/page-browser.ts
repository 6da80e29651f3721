import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { repositoryRoot } from './shared-data.ts';

const CHROMIUM = '/usr/bin/chromium';
/** Screenshots, to be looked at. */
const PICTURES = join(repositoryRoot, 'artefacts', 'browser');
const MAX_BYTES = 2_000_000;
const OPEN_MS = 1_000;
/** A machine that is busy elsewhere for a moment must be able to show what the page can do. */
const ATTEMPTS = 3;

export const hasChromium = existsSync(CHROMIUM);

/** What is read of an element; the types of a page are none of this program's. */
interface Place {
  readonly dataset: Readonly<Record<string, string>>;
  querySelectorAll(what: string): { readonly length: number };
}

/** Opens pages from files in Debian's Chromium, and keeps whatever they complain of and ask for. */
export class PageBrowser {
  readonly complaints: string[] = [];
  /** Every address that was asked for, the pages' own among them. */
  readonly asked: string[] = [];
  readonly #browser: Browser;

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async start(): Promise<PageBrowser> {
    mkdirSync(PICTURES, { recursive: true });
    return new PageBrowser(await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] }));
  }

  async open(file: string, options: BrowserContextOptions = {}): Promise<Page> {
    const viewport = { width: 1100, height: 900 };
    const page = await (await this.#browser.newContext({ viewport, ...options })).newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('dialog', (dialog) => this.complaints.push(`a dialog: ${dialog.message()}`));
    page.on('request', (request) => this.asked.push(request.url()));
    await page.goto(pathToFileURL(file).href);
    return page;
  }

  async close(): Promise<void> {
    await this.#browser.close();
  }
}

/** Where a screenshot of that name goes. */
export function picture(name: string): string {
  return join(PICTURES, name);
}

/** What a report in one file is held to. */
export async function expectQuickAndSmall(browser: PageBrowser, file: string): Promise<void> {
  expect(readFileSync(file).byteLength).toBeLessThan(MAX_BYTES);
  const took: number[] = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const page = await browser.open(file);
    took.push(await page.evaluate<number>('performance.getEntriesByType("navigation")[0].loadEventEnd'));
    await page.context().close();
  }
  expect(Math.min(...took)).toBeGreaterThan(0);
  expect(Math.min(...took)).toBeLessThan(OPEN_MS);
}

/** Of each time series of a page: how many points it drew, on how many canvases. */
export async function drawnSeries(page: Page): Promise<{ points: number; canvases: number }[]> {
  return await page.locator('.live').evaluateAll((places) =>
    (places as unknown as Place[]).map((place) => ({
      points: Number(place.dataset['drawn']),
      canvases: place.querySelectorAll('canvas').length,
    })),
  );
}

/** A page in the dark, and then no wider than a telephone; both are pictured. */
export async function expectReadable(browser: PageBrowser, file: string, name: string): Promise<Page> {
  const page = await browser.open(file, { colorScheme: 'dark' });
  expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(16, 22, 29)');
  await page.screenshot({ path: picture(`${name}-dark.png`), fullPage: true });
  await page.setViewportSize({ width: 380, height: 800 });
  // Charts follow the width of the window a moment later.
  const overhang = async () =>
    await page.evaluate<number>('document.documentElement.scrollWidth - window.innerWidth');
  await expect.poll(overhang, { timeout: 5_000 }).toBeLessThanOrEqual(0);
  await page.screenshot({ path: picture(`${name}-380.png`), fullPage: true });
  return page;
}

/** On paper what moves is left out for what stands still. */
export async function expectPrintable(page: Page, name: string): Promise<void> {
  await page.emulateMedia({ media: 'print', colorScheme: 'light' });
  expect(await page.locator('.live').first().isVisible()).toBe(false);
  expect(await page.locator('.still').first().isVisible()).toBe(true);
  const paper = await page.pdf({ path: picture(`${name}.pdf`), format: 'A4' });
  expect(paper.byteLength).toBeGreaterThan(10_000);
}
