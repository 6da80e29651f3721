import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { PageAssets } from '../analysis/pages/page.ts';
import { AppError } from '../core/errors.ts';

/** What a page carries of uPlot, read from the installed package. @throws AppError INTERNAL */
export function pageAssets(): PageAssets {
  const read = (file: string): string => readFileSync(createRequire(import.meta.url).resolve(file), 'utf8');
  const assets = {
    chartLibrary: read('uplot/dist/uPlot.iife.min.js'),
    chartStyle: read('uplot/dist/uPlot.min.css'),
  };
  // It is put into a script element as it is: what would end the element is looked for, not hoped against.
  if (/<\/(?:script|style)|<!--/i.test(assets.chartLibrary + assets.chartStyle)) {
    throw new AppError(
      'INTERNAL',
      'the installed uplot cannot stand in a page: it would end its own element',
    );
  }
  return assets;
}
