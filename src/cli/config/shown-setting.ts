import { shownUrl, withShownUrls } from '../../core/text.ts';

/** Where the value of a header comes from, which is no secret itself. */
const FROM_ELSEWHERE = /^(?:env|file):/;

/** A setting as it may be printed: without the values of headers, and without what URLs hold of credentials. */
export function shownSetting(key: string, value: unknown): unknown {
  if (typeof value === 'string') {
    if (key === 'header') return shownHeader(value);
    // An address need not have a scheme.
    return key === 'target' || key.endsWith('listen') ? shownUrl(value) : withShownUrls(value);
  }
  if (Array.isArray(value)) return value.map((one) => shownSetting(key, one));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, shownSetting(name, one)]));
}

function shownHeader(text: string): string {
  const colon = text.indexOf(':');
  const value = text.slice(colon + 1).trim();
  if (colon >= 0 && FROM_ELSEWHERE.test(value)) return text;
  return `${text.slice(0, Math.max(0, colon))}: ***`;
}
