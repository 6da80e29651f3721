import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RecorderPage } from '../../src/app/live/pages.ts';
import { LiveServer } from '../../src/app/live/server.ts';
import type { RecorderStatus } from '../../src/core/accounting.ts';
import { parseServed } from '../../src/proxy/net/endpoint.ts';
import { NumberedOrigin, NumberedTraffic } from '../support/numbered-traffic.ts';
import { startReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { someStatus } from '../support/some-status.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CHROMIUM = '/usr/bin/chromium';
const SECRET = 'xxxxxxxxxxxxxxxxxxxx';
/** Screenshots, to be looked at. */
const PICTURES = join(repositoryRoot, 'artefacts', 'browser');

/** The page asks every second, and the recorder tells every second. */
const SOON = { timeout: 2_500 };

describe.skipIf(!existsSync(CHROMIUM))('the live page in a browser (needs Debian’s chromium)', () => {
  let browser: Browser;
  let page: Page;
  let url = '';
  const complaints: string[] = [];
  const asked: string[] = [];
  const cleanUps: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    mkdirSync(PICTURES, { recursive: true });
    const origin = await new NumberedOrigin().listen();
    const directory = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(origin.port, directory, ['--bodies', 'all']);
    const traffic = new NumberedTraffic(recording.port, { thinkMs: 20 });
    const served = startReprise(['status', '--dir', directory, '--serve', '127.0.0.1:0']);
    [url = ''] = await served.waitFor('stderr', /http:\/\/127\.0\.0\.1:\d+\//);
    cleanUps.push(
      () => traffic.stop(),
      () => served.kill('SIGTERM'),
      () => recording.stop(),
      () => origin.close(),
    );
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => asked.push(request.url()));
    await sleep(1_500);
    await page.goto(url);
    await sleep(4_000);
  });

  afterAll(async () => {
    await browser?.close();
    for (const cleanUp of cleanUps) await cleanUp();
  });

  const field = async (name: string) => (await page.locator(`[data-field="${name}"]`).textContent()) ?? '';
  const exchangesOn = async (of: Page) =>
    Number(((await of.locator('.tiles b').first().textContent()) ?? '').replaceAll(',', ''));

  test('shows state, rate and what is on disk, and follows them', async () => {
    expect(await page.locator('main').getAttribute('data-state')).toBe('HEALTHY');
    expect(await page.locator('.banner').getAttribute('class')).toBe('banner good');
    const exchanges = () => exchangesOn(page);
    const before = await exchanges();
    await expect.poll(exchanges, SOON).toBeGreaterThan(before);
    const rate = async () => Number(/3xx ([\d.]+)\/s/.exec(await field('rates-legend'))?.[1]);
    await expect.poll(rate, SOON).toBeGreaterThan(10);
    expect(await field('tiles')).toMatch(/disk[\d.]+\s[KM]iB.*of\s.*iB/);
    const points = async () => Number(await page.locator('#rates').getAttribute('data-drawn'));
    await expect.poll(points, SOON).toBeGreaterThan(3);
    expect(await page.locator('.interactive canvas').count()).toBe(4);
  });

  test('has the statuses and the percentiles of the last minute', async () => {
    expect(await field('statuses')).toContain('2xx');
    expect(await field('latency-legend')).toMatch(/p99 [\d.]+ m?s/);
  });

  test('lists the last exchanges by their route, and no payload', async () => {
    const recent = await field('recent');
    expect(recent).toContain('POST /v1/models/{model}:predict');
    expect(recent).toContain('200');
    expect(await page.content()).not.toContain(SECRET);
    expect(await page.content()).not.toContain('?id=');
  });

  test('asks nobody but the server it came from, and complains of nothing', () => {
    expect(asked.filter((one) => !one.startsWith(url))).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test('is readable in the dark and on a telephone', async () => {
    await page.screenshot({ path: join(PICTURES, 'status-light.png'), fullPage: true });
    await page.emulateMedia({ colorScheme: 'dark' });
    const background = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    expect(background).toBe('rgb(16, 22, 29)');
    await page.screenshot({ path: join(PICTURES, 'status-dark.png'), fullPage: true });
    await page.setViewportSize({ width: 380, height: 800 });
    const overflow = await page.evaluate('document.documentElement.scrollWidth - window.innerWidth');
    expect(overflow).toBeLessThanOrEqual(0);
    await page.screenshot({ path: join(PICTURES, 'status-narrow.png'), fullPage: true });
  });

  test('says what it knew when it was loaded to a browser without scripts', async () => {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const plain = await context.newPage();
    await plain.goto(url);
    expect(await plain.locator('main').getAttribute('data-state')).toBe('HEALTHY');
    expect(await exchangesOn(plain)).toBeGreaterThan(0);
    expect(await plain.locator('.still polyline').first().isVisible()).toBe(true);
    expect(await plain.locator('noscript').last().textContent()).toContain('JavaScript is off');
    await context.close();
  });

  test('is for reading, under its own name', async () => {
    expect((await fetch(url, { method: 'POST' })).status).toBe(405);
    expect((await fetch(`${url}drain`)).status).toBe(404);
    const foreign = await page.request.get(url, { headers: { host: 'evil.example' } });
    expect(foreign.status()).toBe(421);
  });

  test('that was loaded before the recorder was there follows it once it is', async () => {
    let ask = () => Promise.reject<RecorderStatus>(new Error('no recording answers'));
    const shown = new RecorderPage(() => ask());
    const server = new LiveServer(shown.pages);
    cleanUps.push(async () => {
      shown.stop();
      server.close();
    });
    await shown.start();
    const early = await browser.newPage();
    await early.goto((await server.listen(parseServed(':0', '--serve'))).url);
    const state = () => early.evaluate('document.querySelector("main").dataset.state');
    expect(await state()).toBe('GONE');
    ask = () => Promise.resolve(someStatus());
    await expect.poll(state, SOON).toBe('HEALTHY');
    expect(await early.locator('[data-field="banner"]').textContent()).toContain(
      'wire 127.0.0.1:8080 → 127.0.0.1:8000',
    );
    expect(await early.locator('[data-field="bodies-cut"]').count()).toBe(0);
    await early.close();
  });

  test('a page that was opened at its first point had an axis of years', async () => {
    const shown = new RecorderPage(() => Promise.resolve({ ...someStatus(), atUs: Date.now() * 1e3 }));
    const server = new LiveServer(shown.pages);
    cleanUps.push(async () => {
      shown.stop();
      server.close();
    });
    await shown.start();
    const { url: own } = await server.listen(parseServed(':0', '--serve'));
    const early = await browser.newPage();
    const points = () => early.locator('#rates').getAttribute('data-drawn');
    // The first point needs two readings.
    await expect.poll(async () => (await (await fetch(own)).text()).includes('id="rates"'), SOON).toBe(true);
    await early.goto(own);
    expect(await points()).toBe('1');
    await expect.poll(async () => Number(await points()), { timeout: 10_000 }).toBeGreaterThan(3);
    // Coloured pixels are those of the lines, which reach from one side to the other.
    const reach = await early.evaluate(`(() => {
      const canvas = document.querySelector('#rates canvas');
      const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const found = [];
      for (let x = 0; x < width; x += 1)
        for (let y = 0; y < height; y += 1) {
          const [red, green, blue, alpha] = data.subarray(4 * (y * width + x));
          if (alpha > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 80) found.push(x);
        }
      return (Math.max(...found) - Math.min(...found)) / width;
    })()`);
    expect(reach).toBeGreaterThan(0.5);
    await early.close();
  });

  test('says so when the recorder is gone', async () => {
    await page.evaluate("window.fetch = () => Promise.reject(new Error('down'))");
    await expect.poll(() => page.evaluate('document.querySelector("main").dataset.state'), SOON).toBe('GONE');
  });
});
