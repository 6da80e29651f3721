import { CHART_SCRIPT } from './chart-script.ts';
import { escaped, hashOf, scriptJson } from './escape.ts';
import { PAGE_STYLE } from './page-style.ts';
import type { ChartData } from './time-series.ts';

/** uPlot as it is published: read by whoever may read files. */
export interface PageAssets {
  readonly chartLibrary: string;
  readonly chartStyle: string;
}

export interface PageParts {
  readonly title: string;
  /** HTML that was escaped where it holds recorded text. */
  readonly body: string;
  readonly charts: readonly ChartData[];
  /** For the times on charts; a name such as `Europe/Berlin`. */
  readonly timeZone: string;
}

/**
 * One self-contained page: no request leaves it, and its policy would stop one. Everything of it can be read without
 * JavaScript; the script only makes time series that can be zoomed out of those that stand there.
 */
export function page({ title, body, charts, timeZone }: PageParts, assets: PageAssets): string {
  const script = `${assets.chartLibrary}\n${CHART_SCRIPT}`;
  const style = `${assets.chartStyle}\n${PAGE_STYLE}`;
  const policy = [
    "default-src 'none'",
    `style-src '${hashOf(style)}'`,
    `script-src '${hashOf(script)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escaped(title)}</title>
<style>${style}</style>
</head>
<body>
${body}
<script type="application/json" id="charts">${scriptJson({ timeZone, charts })}</script>
<script>${script}</script>
</body>
</html>
`;
}
