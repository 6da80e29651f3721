import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { expect, test } from 'vitest';
import { hasChromium } from '../support/page-browser.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const SITE = join(repositoryRoot, 'artefacts', 'site');
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};

test('npm run docs builds the site, which has no dead link; no page is wider than a telephone', async ({
  skip,
}) => {
  const built = await runProcess('npm', ['run', 'docs'], { cwd: repositoryRoot });
  expect(`${built.stdout}${built.stderr}`).not.toContain('dead link');
  expect(built.status).toBe(0);
  if (!hasChromium) skip('there is no /usr/bin/chromium');
  const pages = readdirSync(SITE, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.html'),
  );
  expect(pages.length).toBeGreaterThan(40);
  const server = createServer((request, response) => {
    const file = join(SITE, decodeURIComponent(new URL(request.url ?? '/', 'http://site').pathname));
    if (!existsSync(file)) response.writeHead(404).end();
    else
      response
        .writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' })
        .end(readFileSync(file));
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    const tab = await browser.newPage({ viewport: { width: 380, height: 800 } });
    const wide: string[] = [];
    for (const page of pages) {
      await tab.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${page}`);
      const over = await tab.evaluate<number>('document.documentElement.scrollWidth - window.innerWidth');
      if (over > 0) wide.push(`${page}: ${over} px`);
    }
    expect(wide).toEqual([]);
  } finally {
    await browser.close();
    server.close();
  }
});
