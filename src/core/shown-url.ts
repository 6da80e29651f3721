const MASK = '***';
const USER_INFO = /^(\s*(?:[a-z][a-z0-9+.-]{0,30}:)?\/\/)?[\s\S]*@/i;
/** A quote ends a URL, but not before its user info does: a password may hold one. No second `//` is looked past. */
const URL_IN_TEXT = /\b[a-z][a-z0-9+.-]{0,30}:\/\/(?:[^\s/]*(?:\/(?!\/)[^\s/]*)*@)?[^\s"'<>]*/gi;

/**
 * A URL as an error or a list of settings may quote it: without user info, the values of its query, and its fragment.
 * It need not be one that can be read. Hides what comes before the last `@`, wherever that is: a password that nobody
 * percent-encoded may hold what ends an authority.
 */
export function shownUrl(text: string): string {
  if (/^\s*unix:/i.test(text)) return text;
  const bare = text.replace(USER_INFO, (_, scheme: string | undefined) => `${scheme ?? ''}${MASK}@`);
  const end = bare.search(/[?#]/);
  return end < 0 ? bare : bare.slice(0, end) + bare.slice(end).replace(/([?&;#])([^?&;#]+)/g, shownField);
}

/** A text with each URL in it as it may be quoted. */
export function withShownUrls(text: string): string {
  return text.replace(URL_IN_TEXT, shownUrl);
}

function shownField(_: string, before: string, field: string): string {
  const key = before === '#' ? '' : field.slice(0, field.indexOf('=') + 1);
  return `${before}${key}${MASK}`;
}
