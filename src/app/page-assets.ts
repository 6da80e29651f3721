import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { PageAssets } from '../analysis/render/html.ts';
import { AppError } from '../core/errors.ts';

const BROWSER = new URL('../analysis/render/browser/', import.meta.url);

/** What a page carries: uPlot, read from the installed package, and what draws with it. @throws AppError INTERNAL */
export function pageAssets(): PageAssets {
  const uplot = (file: string) => createRequire(import.meta.url).resolve(`uplot/dist/${file}`);
  return whole({
    script: `${read(uplot('uPlot.iife.min.js'))}\n${read(new URL('chart.js', BROWSER))}`,
    style: `${read(uplot('uPlot.min.css'))}\n${read(new URL('page.css', BROWSER))}`,
  });
}

/** What the live page of a recorder carries. @throws AppError INTERNAL */
export function livePageAssets(): PageAssets {
  return whole({ script: read(new URL('live.js', BROWSER)), style: read(new URL('live.css', BROWSER)) });
}

function read(file: string | URL): string {
  return readFileSync(file, 'utf8');
}

/** Each is put into an element as it is: what would end the element is looked for, not hoped against. */
function whole(assets: PageAssets): PageAssets {
  if (!/<\/(?:script|style)|<!--/i.test(assets.script + assets.style)) return assets;
  throw new AppError('INTERNAL', 'a script or style cannot stand in a page: it would end its own element');
}
