import { isUtf8 } from 'node:buffer';
import { ASCII, byteSet } from '../core/ascii.ts';

/**
 * Finds credentials in plain text by what stands before them: the scheme of an `Authorization` header, or a secret
 * name. In doubt it finds one. Takes linear time for any text.
 */

/** Whether the value under this name is secret. */
export type IsSecretName = (name: string) => boolean;

/** Whether a header's value has a credential: after a scheme, or under a secret name that no URL rule covers. */
export function holdsCredential(value: string, isSecretName: IsSecretName): boolean {
  return hasScheme(value) || hasSecretPair(unescaped(value), isSecretName, false);
}

/** The same for the quoted names and strings of JSON in a text, however often it was quoted. */
export function quotesCredential(text: string, isSecretName: IsSecretName): boolean {
  if (HIDDEN_SIGN.test(text)) return true;
  // A query writes a blank as a plus sign.
  const plain = unescaped(text).replaceAll('+', ' ');
  return hasScheme(plain, QUOTED) || hasSecretPair(plain, isSecretName, true);
}

const {
  TAB,
  SPACE,
  QUOTE,
  APOSTROPHE,
  PERCENT,
  AMPERSAND,
  HASH,
  COLON,
  SEMICOLON,
  EQUALS,
  QUESTION,
  BACKSLASH,
} = ASCII;
const QUOTED = /["']$/;

/** A blank, as it is or percent-encoded. */
const BLANK = '(?:\\s|%20|%09)+';
/** Schemes that are also words. */
const SPOKEN =
  'bearer|basic|digest|negotiate|ntlm|token|key|jwt|oauth|hawk|signature|mutual|hoba|splunk|vapid|googlelogin';
/** Schemes that are no words. Those of Amazon and Azure are also names, but then no colon follows. */
const UNSPOKEN =
  'dpop|api-?key|api-?token|private-?token|ssws|geniekey|gnap|wsse|[a-z0-9]{1,12}-hmac-sha-?[0-9]{1,3}|(?:aws|sharedkey(?:lite)?)(?=\\s+[^\\s:]{1,64}:)';
/** Some clients repeat a scheme that the credentials already contain. */
const SCHEME = new RegExp(
  `(?<![A-Za-z0-9_-])(?:(?:${UNSPOKEN})${BLANK}|((?:(?:${SPOKEN})${BLANK})+))(?=\\S)`,
  'gi',
);
/** What precedes a scheme that is meant as one: nothing, a quote, or the end of a name. */
const LEADS = /(?:^|["'`:=({[])[ \t]{0,4}$/;
const LEADING_CHARS = 5;
/** Ends of a quoted or listed credential. */
const REST_END = /[,;"'\\]/;
const WORD = /^[^\s,;"'\\)]*/;

/** Prose: plain words and small numbers, neither encoded text nor a list of credentials. */
const PROSE = /^[A-Za-z][a-z]{0,19}[.:!?]?(?:\s+(?:[A-Za-z][a-z]{0,19}|[0-9][0-9+.%-]{0,3})[.:!?]?)*$/;
const PROSE_CHARS = 256;
const SMALL_NUMBER = /^[0-9][0-9.]{0,4}$/;

/** Most schemes and names examined in a text without a credential. Beyond that it is taken for one. */
const EXAMINED = 256;

/** The words that `SCHEME` matches, to look for it only where it can be. */
const SCHEME_WORDS = new Set([
  ...SPOKEN.split('|'),
  ...[
    'dpop',
    'apikey',
    'api-key',
    'apitoken',
    'api-token',
    'privatetoken',
    'private-token',
    'ssws',
    'geniekey',
  ],
  ...['gnap', 'wsse', 'aws', 'sharedkey', 'sharedkeylite'],
]);
const SHORTEST_WORD = 3;
const LONGEST_WORD = 32;
const WORD_BYTES = byteSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-');

/** Whether a word that is a scheme precedes a blank. Few texts have one, and only those are examined further. */
function namesScheme(text: string): boolean {
  let from = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (WORD_BYTES[code] === 1) continue;
    const length = at - from;
    if ((code <= SPACE || code === PERCENT) && length >= SHORTEST_WORD && length <= LONGEST_WORD) {
      const word = text.slice(from, at).toLowerCase();
      if (SCHEME_WORDS.has(word) || word.includes('-hmac-')) return true;
    }
    from = at + 1;
  }
  return false;
}

/** @param after what the text before the scheme must match */
function hasScheme(text: string, after?: RegExp): boolean {
  if (!namesScheme(text)) return false;
  let examined = 0;
  for (const match of text.matchAll(SCHEME)) {
    const before = text.slice(Math.max(0, match.index - LEADING_CHARS), match.index);
    if (after !== undefined && !after.test(before)) continue;
    examined += 1;
    if (examined > EXAMINED) return true;
    const spoken = match[1];
    const from = match.index + match[0].length;
    const rest = text.slice(from, from + PROSE_CHARS + 1);
    if (spoken === undefined || followsCredential(rest, spoken, match.index, before)) return true;
  }
  return false;
}

function followsCredential(rest: string, schemes: string, at: number, before: string): boolean {
  if (at === 0) return !isProse(rest, schemes);
  if (LEADS.test(before) || /bearer/i.test(schemes)) {
    const end = rest.search(REST_END);
    return !isProse(end < 0 ? rest : rest.slice(0, end), schemes);
  }
  // Within a sentence (`maximum token limit (4096) exceeded`) the next word decides. A key is never meant there.
  if (/^key\b/i.test(schemes)) return false;
  const word = WORD.exec(rest)?.[0] ?? '';
  return !SMALL_NUMBER.test(word) && !(PROSE.test(word) && !(isCoded(schemes) && encodesText(word)));
}

function isProse(text: string, schemes: string): boolean {
  if (text.length > PROSE_CHARS || !PROSE.test(text)) return false;
  // A token may be any single word; others are encoded.
  return isCoded(schemes) ? !encodesText(text) : /\s/.test(text) && !text.includes(':');
}

/** Whether the credentials of these schemes are encoded text. */
function isCoded(schemes: string): boolean {
  return /^(?:(?:basic|digest|negotiate|ntlm)\s+)+$/i.test(schemes);
}

/** Whether the first word is base64 text, as for a name and a password. */
function encodesText(prose: string): boolean {
  const bytes = Buffer.from(/^[a-z]*/i.exec(prose)?.[0] ?? '', 'base64');
  return bytes.includes(COLON) || (isUtf8(bytes) && bytes.every((byte) => byte >= SPACE));
}

const NAME_BYTES = byteSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_$.-');
const JUDGED_CHARS = 128;
/** Most blanks, and most backslashes of nested quoting, between a name and its sign. */
const GAP_CHARS = 8;

/** A name before an equals sign or a colon. */
interface NamedValue {
  readonly name: string;
  readonly isQuoted: boolean;
  /** What precedes the name. */
  readonly before: number;
}

function nameBefore(text: string, sign: number): NamedValue {
  let end = sign;
  while (sign - end < GAP_CHARS && isBlank(text.charCodeAt(end - 1))) end -= 1;
  const last = text.charCodeAt(end - 1);
  const isQuoted = last === QUOTE || last === APOSTROPHE;
  if (isQuoted) {
    end -= 1;
    const quote = end;
    while (quote - end < GAP_CHARS && text.charCodeAt(end - 1) === BACKSLASH) end -= 1;
  }
  let from = end;
  while (end - from < JUDGED_CHARS && NAME_BYTES[text.charCodeAt(from - 1)] === 1) from -= 1;
  return { name: text.slice(from, end), isQuoted, before: text.charCodeAt(from - 1) };
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

/** The URL rules cover a key after one of these. */
const URL_KEYS: ReadonlySet<number> = new Set([QUESTION, AMPERSAND, SEMICOLON, HASH]);
const VALUE_CHARS = 64;
const VALUE_GAP = /^>?[ \t]{0,8}/;
const NO_VALUE =
  /^(?:\\{0,8}["']?(?:null|true|false)\\{0,8}["']?(?![\w.])|(?:(\\{0,8}["'])\1|=*)\s*(?:[,;)}\]]|$))/i;
const NUMBER = /^\\{0,8}["']?[0-9]{1,9}(?:\.[0-9]{1,9})?\\{0,8}["']?(?![\w.])/;
/** Names of counts of tokens, if their value is a number. */
const COUNT = /tokens|token[._-]?(?:count|limit|budget|usage)|max[._-]?token/i;

/** @param inJson whether only quoted names before a colon count */
function hasSecretPair(text: string, isSecretName: IsSecretName, inJson: boolean): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const isColon = code === COLON;
    if (!isColon && (code !== EQUALS || inJson)) continue;
    const { name, isQuoted, before } = nameBefore(text, at);
    if (
      name === '' ||
      (isColon ? !isQuoted && (inJson || !isBlank(text.charCodeAt(at + 1))) : URL_KEYS.has(before))
    )
      continue;
    const rest = text.slice(at + 1, at + 1 + PROSE_CHARS).replace(VALUE_GAP, '');
    const value = rest.slice(0, VALUE_CHARS);
    if (value === '' || NO_VALUE.test(value) || (COUNT.test(name) && NUMBER.test(value))) continue;
    if (isColon && !isQuoted && isProse(rest, 'bearer')) continue;
    if (isSecretName(name)) return true;
  }
  return false;
}

/** Escapes of JSON for signs of a URL's user info. No usual encoder writes them. */
const HIDDEN_SIGN = /\\u00(?:2f|3a|40|5c)/i;
const ESCAPE = /\\{1,8}u00([0-7][0-9a-f])/gi;

/** The text without JSON's escapes of ASCII. */
function unescaped(text: string): string {
  if (!text.includes('\\u')) return text;
  return text.replace(ESCAPE, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}
