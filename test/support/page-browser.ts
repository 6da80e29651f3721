import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { repositoryRoot } from './shared-data.ts';

const CHROMIUM = '/usr/bin/chromium';
/** Directory of screenshots, for people to look at. */
const PICTURES = join(repositoryRoot, 'artefacts', 'browser');
const MAX_BYTES = 2_000_000;
const OPEN_MS = 1_000;
/** Attempts to measure the time to open a page, because a machine may be busy for a moment. */
const ATTEMPTS = 3;

export const hasChromium = existsSync(CHROMIUM);

/** The members of an element that are read here. This program does not have the types of a page. */
interface Place {
  readonly dataset: Readonly<Record<string, string>>;
  querySelectorAll(what: string): { readonly length: number };
}

/** Opens pages from files or servers in Debian's Chromium, and keeps their errors and requests. */
export class PageBrowser {
  readonly complaints: string[] = [];
  /** Every requested address, including those of the pages. */
  readonly asked: string[] = [];
  readonly #browser: Browser;

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async start(): Promise<PageBrowser> {
    mkdirSync(PICTURES, { recursive: true });
    return new PageBrowser(await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] }));
  }

  /** @param place a file, or an address */
  async open(place: string, options: BrowserContextOptions = {}): Promise<Page> {
    const viewport = { width: 1100, height: 900 };
    const page = await (await this.#browser.newContext({ viewport, ...options })).newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('dialog', (dialog) => this.complaints.push(`a dialog: ${dialog.message()}`));
    page.on('request', (request) => this.asked.push(request.url()));
    await page.goto(place.startsWith('http:') ? place : pathToFileURL(place).href);
    return page;
  }

  async close(): Promise<void> {
    await this.#browser.close();
  }
}

/** The path of a screenshot. */
export function picture(name: string): string {
  return join(PICTURES, name);
}

/** Checks the size of a report in one file, and the time to open it. */
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

/** For each time series of a page: the number of drawn points and of canvases. */
export async function drawnSeries(page: Page): Promise<{ points: number; canvases: number }[]> {
  return await page.locator('.interactive').evaluateAll((places) =>
    (places as unknown as Place[]).map((place) => ({
      points: Number(place.dataset['drawn']),
      canvases: place.querySelectorAll('canvas').length,
    })),
  );
}

/** Opens all collapsed parts, and waits until they are drawn. */
export async function unfold(page: Page): Promise<void> {
  await page.evaluate('for (const part of document.querySelectorAll("details")) part.open = true');
  await expect
    .poll(() =>
      page
        .locator('.interactive')
        .evaluateAll((places) => places.every((place) => 'drawn' in (place as unknown as Place).dataset)),
    )
    .toBe(true);
}

const PAPER = { light: 'rgb(255, 255, 255)', dark: 'rgb(16, 22, 29)' } as const;
const WIDTHS = [1_280, 380] as const;
const FIRST_SCREEN = 800;

/** Finds elements that extend over the right edge of the window, outside of scrollable parts. */
const CUT =
  '[...document.querySelectorAll("main *")].filter((each) => !each.closest(".scroll, .uplot") && (each.closest("svg") === null || each.matches("text")) && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 200))';

/** Finds tables with values that are visible only after scrolling. */
export const SCROLLED =
  '[...document.querySelectorAll(".scroll")].filter((each) => each.querySelector("table") !== null && each.scrollWidth > each.clientWidth + 1).map((each) => each.getAttribute("aria-label"))';

/**
 * Finds tables whose first column leaves when they are scrolled to their end, covers more than half of it, or is
 * transparent over the others; and tables that are no rows and columns.
 */
const UNREADABLE_TABLES = `[...document.querySelectorAll(".scroll")].filter((each) => {
  const cell = each.querySelector("tbody tr > :first-child");
  if (cell === null) return false;
  each.scrollLeft = each.scrollWidth;
  const [box, place] = [each.getBoundingClientRect(), cell.getBoundingClientRect()];
  each.scrollLeft = 0;
  const style = getComputedStyle(cell);
  const isTable = style.display === "table-cell" && getComputedStyle(cell.parentElement).display === "table-row";
  const isScrolled = each.scrollWidth > each.clientWidth + 1;
  const stays = Math.abs(place.left - box.left) <= 1 && place.width <= box.width / 2 && style.backgroundColor !== "rgba(0, 0, 0, 0)";
  return !isTable || (isScrolled && !stays);
}).map((each) => each.getAttribute("aria-label"))`;

/** Checks that all tables are tables, and can be read at this width. */
export async function expectTables(page: Page, width: number): Promise<void> {
  if (width > 480) expect(await page.evaluate(SCROLLED)).toEqual([]);
  expect(await page.evaluate(UNREADABLE_TABLES)).toEqual([]);
}

/**
 * Checks a page on a screen and on a telephone, in light and dark mode: nothing is cut off, with collapsed and open
 * parts. It takes a screenshot of both states.
 */
export async function expectReadable(browser: PageBrowser, file: string, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of WIDTHS) {
      const page = await browser.open(file, { colorScheme, viewport: { width, height: FIRST_SCREEN } });
      const background = await page.evaluate('getComputedStyle(document.body).backgroundColor');
      expect(background).toBe(PAPER[colorScheme]);
      await page.screenshot({
        path: picture(`${name}-${width}-${colorScheme}.png`),
        fullPage: width === 380,
      });
      await unfold(page);
      // Charts follow the width of the window a moment later.
      await expect.poll(() => page.evaluate(CUT), { timeout: 5_000 }).toEqual([]);
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0);
      await expectTables(page, width);
      await page.screenshot({
        path: picture(`${name}-${width}-${colorScheme}-unfolded.png`),
        fullPage: true,
      });
      await page.context().close();
    }
  }
}

/** Checks that the verdict, its figures and the chart are on the first screen, with and without JavaScript. */
export async function expectFirstScreen(browser: PageBrowser, file: string): Promise<void> {
  const viewport = { width: 1_280, height: FIRST_SCREEN };
  for (const javaScriptEnabled of [true, false]) {
    const page = await browser.open(file, { javaScriptEnabled, viewport });
    const bottom = async (what: string) => {
      const box = await page.locator(what).first().boundingBox();
      return (box?.y ?? Number.NaN) + (box?.height ?? 0);
    };
    for (const part of ['.banner', '.tiles', 'figure']) expect(await bottom(part)).toBeLessThan(FIRST_SCREEN);
    expect(await page.locator('details').first().getAttribute('open')).toBeNull();
    expect(await page.locator('details .scroll table').first().isVisible()).toBe(false);
    await page.context().close();
  }
}

/**
 * Checks that parts that are closed at first open by their heading and by a link to them, even without JavaScript.
 * @param open the ids of the parts that are open at first
 */
export async function expectParts(
  browser: PageBrowser,
  file: string,
  open: readonly string[] = [],
): Promise<void> {
  for (const javaScriptEnabled of [true, false]) {
    const page = await browser.open(file, { javaScriptEnabled });
    expect(
      await page
        .locator('details[open] > div')
        .evaluateAll((parts) => parts.map((part) => (part as unknown as { id: string }).id)),
    ).toEqual(open);
    const part = page.locator('details:not([open]) > div').first();
    const id = await part.getAttribute('id');
    await page.locator('details:not([open]) > summary').first().click();
    await expect.poll(() => page.locator(`#${id}`).isVisible()).toBe(true);
    await page.context().close();
    const linked = await browser.open(file, { javaScriptEnabled });
    expect(await linked.locator(`#${id}`).isVisible()).toBe(false);
    if (javaScriptEnabled) {
      await linked.evaluate(`location.hash = ${JSON.stringify(id)}`);
      await expect.poll(() => linked.locator(`#${id}`).isVisible()).toBe(true);
    }
    await linked.context().close();
  }
}

/** Checks that a printed page has static charts instead of interactive ones. */
export async function expectPrintable(browser: PageBrowser, file: string, name: string): Promise<void> {
  const page = await browser.open(file);
  await page.emulateMedia({ media: 'print', colorScheme: 'light' });
  expect(await page.locator('.interactive').first().isVisible()).toBe(false);
  expect(await page.locator('.still').first().isVisible()).toBe(true);
  const paper = await page.pdf({ path: picture(`${name}.pdf`), format: 'A4' });
  expect(paper.byteLength).toBeGreaterThan(10_000);
  // Parts that are collapsed on a screen are printed.
  expect(await page.locator('details .scroll table').first().isVisible()).toBe(true);
}
