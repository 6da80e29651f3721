const QUOTED = '"(?:[^"\\\\\\r\\n]|\\\\[^\\r\\n])*"';
const BLANKS = '[ \\t]*';
const LABEL = '[A-Za-z0-9!#$&^_.+-]{1,64}';

/** A name is looked at, and so is that of a file. */
const DISPOSITION = parameters('form-data', 'name|filename\\*?', `(?:${QUOTED}|[^\\s;"]+)`);
/** Of a type what tells a server how to read the part, in a word. */
const TYPE = parameters(
  `${LABEL}/${LABEL}`,
  'charset|boundary|codecs|rate|samplerate|channels|endianness|format|version',
  `(?:"[A-Za-z0-9_.,:=+ /-]{0,64}"|[A-Za-z0-9!#$&^_.+/-]{1,64})`,
);
const HEADERS = [
  `disposition${BLANKS}:${BLANKS}${DISPOSITION}`,
  `type${BLANKS}:${BLANKS}${TYPE}`,
  `transfer-encoding${BLANKS}:${BLANKS}(?:7bit|8bit|binary|base64|quoted-printable)${BLANKS}`,
  `length${BLANKS}:${BLANKS}[0-9]{1,16}${BLANKS}`,
];
const HEAD = new RegExp(`^(?:\\r\\ncontent-(?:${HEADERS.join('|')}))+\\r\\n\\r\\n$`, 'i');

/** Blanks have one place each: an expression with two for the same would take for ever over a head that fails it. */
function parameters(value: string, names: string, sent: string): string {
  return `${value}${BLANKS}(?:;${BLANKS}(?:(?:${names})=${sent}${BLANKS})?)*`;
}

/**
 * Whether the head of a part holds what describes it (RFC 7578, section 4.8), its length, and nothing else, neither
 * headers nor parameters: servers pass over any other, and no rule can name it.
 */
export function describesPart(head: string): boolean {
  return HEAD.test(head);
}

/** Whether servers may differ about which name a part has, or its file. */
export function isAmbiguous(head: string): boolean {
  const count = (pattern: RegExp) => [...head.matchAll(pattern)].length;
  if (count(/^content-disposition\s*:/gim) !== 1 || count(/^content-type\s*:/gim) > 1) return true;
  return count(/;\s*name\s*\*?=/gi) !== 1 || count(/;\s*filename\s*=/gi) > 1;
}
