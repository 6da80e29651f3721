import { UnreadableBody } from './errors.ts';

const BLANK_LINE = '\r\n\r\n';
const MAX_PARTS = 1_000;
const MAX_PART_HEAD_BYTES = 8 * 1024;
/** A field with only a name. No server treats it as a file. */
const PLAIN_FIELD = /^content-disposition[ \t]*:[ \t]*form-data[ \t]*;[ \t]*name="([^"\\;]*)"[ \t]*$/im;

/** @throws UnreadableBody when the boundary is missing or ambiguous */
export function boundaryOf(contentType: string): string {
  const boundary = boundaryIn(contentType);
  if (boundary === null) throw new UnreadableBody('bad_multipart');
  return boundary;
}

/** A part: the positions of its head and content. */
interface Part {
  readonly headFrom: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Tells whether a part holds a delimiter for servers that accept any line end. It searches with the preceding
 * line end, which is rare. Plain dashes could match at every byte of a megabyte.
 */
function hiddenDelimiterIn(boundary: string): (content: Buffer) => boolean {
  const begins = Buffer.from(`--${boundary}`, 'latin1');
  const lines = ['\n', '\r'].map((end) => Buffer.from(`${end}--${boundary}`, 'latin1'));
  return (content) =>
    content.subarray(0, begins.length).equals(begins) || lines.some((line) => content.includes(line));
}

/** @throws UnreadableBody when the parts are ambiguous */
export function partsOf(form: Buffer, boundary: string): Part[] {
  const delimiter = delimiterOf(boundary);
  const isHiddenIn = hiddenDelimiterIn(boundary);
  const parts: Part[] = [];
  let at = firstHead(form, delimiter);
  while (at >= 0 && form.toString('latin1', at, at + 2) === '\r\n') {
    const part = partAt(form, delimiter, at);
    if (part === null || parts.length >= MAX_PARTS || isHiddenIn(form.subarray(part.from, part.to)))
      throw new UnreadableBody('bad_multipart');
    parts.push(part);
    at = part.next;
  }
  const end = at < 0 ? null : form.toString('latin1', at).trimEnd();
  if (end !== '--') throw new UnreadableBody('bad_multipart');
  return parts;
}

/**
 * The value of the first field with this name, in a complete or truncated form. Null if it is absent,
 * truncated, or ambiguous with a file or another part.
 * @param mostBytes longer values are ignored
 */
export function fieldOf(form: Buffer, contentType: string, name: string, mostBytes: number): string | null {
  const boundary = boundaryIn(contentType);
  if (boundary === null) return null;
  const delimiter = delimiterOf(boundary);
  let at = firstHead(form, delimiter);
  for (let passed = 0; at >= 0 && passed < MAX_PARTS; passed += 1) {
    const part = partAt(form, delimiter, at);
    if (part === null) return null;
    const head = form.toString('latin1', part.headFrom, part.from);
    if (PLAIN_FIELD.exec(head)?.[1] === name && describesPart(head) && !isAmbiguous(head))
      return part.to - part.from > mostBytes ? null : form.toString('utf8', part.from, part.to);
    at = part.next;
  }
  return null;
}

function delimiterOf(boundary: string): Buffer {
  return Buffer.from(`\r\n--${boundary}`, 'latin1');
}

/** The first delimiter must be at the very beginning: servers ignore text before it. */
function firstHead(form: Buffer, delimiter: Buffer): number {
  const begins = form.subarray(0, delimiter.length - 2).equals(delimiter.subarray(2));
  return begins ? delimiter.length - 2 : -1;
}

/** The part whose head starts here, after a delimiter; null if absent or truncated. */
function partAt(form: Buffer, delimiter: Buffer, at: number): (Part & { readonly next: number }) | null {
  if (form.toString('latin1', at, at + 2) !== '\r\n') return null;
  const headEnd = form.indexOf(BLANK_LINE, at, 'latin1');
  const to = form.indexOf(delimiter, at);
  const from = headEnd + BLANK_LINE.length;
  if (headEnd < 0 || to < from - 2 || from - at > MAX_PART_HEAD_BYTES) return null;
  return { headFrom: at, from, to: Math.max(from, to), next: to + delimiter.length };
}

const QUOTED = '"(?:[^"\\\\\\r\\n]|\\\\[^\\r\\n])*"';
const BLANKS = '[ \\t]*';
const LABEL = '[A-Za-z0-9!#$&^_.+-]{1,64}';

/** Names of fields and files are checked. */
const DISPOSITION = parameters('form-data', 'name|filename\\*?', `(?:${QUOTED}|[^\\s;"]+)`);
/** Only type parameters that tell a server in one word how to read the part. */
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

/** Each blank can match in one place only. With two places, a head that does not match would backtrack for ever. */
function parameters(value: string, names: string, sent: string): string {
  return `${value}${BLANKS}(?:;${BLANKS}(?:(?:${names})=${sent}${BLANKS})?)*`;
}

/**
 * Whether a part's head has only what describes it (RFC 7578, section 4.8) and its length. Servers ignore
 * other headers and parameters, and no rule can name those.
 */
export function describesPart(head: string): boolean {
  return HEAD.test(head);
}

/** Whether servers may disagree about a part's name or file name. */
export function isAmbiguous(head: string): boolean {
  const count = (pattern: RegExp) => [...head.matchAll(pattern)].length;
  if (count(/^content-disposition\s*:/gim) !== 1 || count(/^content-type\s*:/gim) > 1) return true;
  return count(/;\s*name\s*\*?=/gi) !== 1 || count(/;\s*filename\s*=/gi) > 1;
}

const FORM_TYPE = /^multipart\/form-data[ \t]*(?=;)/i;
/**
 * A parameter of a media type (RFC 9110, section 5.6.6), or an empty one between semicolons. Mailers write
 * some boundaries without the quotes that they need. Servers end such a value at the semicolon, but some end
 * it at a comma, so commas are excluded.
 */
const PARAMETER =
  /[ \t]*;[ \t]*(?:boundary=(?:([0-9a-z'()+_./:=?-]+)|"([^"\\]*)")|[!#$%&'*+.^_`|~0-9a-z-]+=(?:[!#$%&'*+.^_`|~0-9a-z-]+|"[^"\\]*"))?[ \t]*/iy;
/** Boundaries according to RFC 2046, section 5.1.1. */
const BOUNDARY = /^(?! )[0-9A-Za-z'()+_,./:=? -]{1,70}(?<! )$/;
/** Some servers search for this anywhere, even in the quoted value of another parameter. */
const SOUGHT = /boundary[ \t*0-9]*=/gi;

/**
 * The boundary in a form's content type; null if it is missing or ambiguous. Ambiguous are two boundaries or
 * two types, encoded or escaped ones, and invalid syntax.
 */
function boundaryIn(contentType: string): string | null {
  const begins = FORM_TYPE.exec(contentType);
  if (begins === null || [...contentType.matchAll(SOUGHT)].length !== 1) return null;
  let boundary: string | null = null;
  for (let at = begins[0].length; at < contentType.length; ) {
    PARAMETER.lastIndex = at;
    const match = PARAMETER.exec(contentType);
    if (match === null) return null;
    const [whole, bare, quoted] = match;
    boundary ??= bare ?? quoted ?? null;
    at += whole.length;
  }
  return boundary !== null && BOUNDARY.test(boundary) ? boundary : null;
}
