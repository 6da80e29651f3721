const TYPE = /^multipart\/form-data[ \t]*(?=;)/i;
/**
 * A parameter of a media type (RFC 9110, section 5.6.6), or none between two semicolons. Mailers write boundaries
 * without the quotes that some of their characters ask for; what servers take of such a one ends at the
 * semicolon, but of one with a comma, which is none here, at the comma for some.
 */
const PARAMETER =
  /[ \t]*;[ \t]*(?:boundary=(?:([0-9a-z'()+_./:=?-]+)|"([^"\\]*)")|[!#$%&'*+.^_`|~0-9a-z-]+=(?:[!#$%&'*+.^_`|~0-9a-z-]+|"[^"\\]*"))?[ \t]*/iy;
/** What RFC 2046 makes boundaries of, section 5.1.1. */
const BOUNDARY = /^(?! )[0-9A-Za-z'()+_,./:=? -]{1,70}(?<! )$/;
/** Some servers look for this wherever it stands, in the quoted value of another parameter too. */
const SOUGHT = /boundary[ \t*0-9]*=/gi;

/**
 * The boundary that a form's content type names; null where it names none, or where servers may differ about which:
 * two of them, or two types, of which each may be the one that is taken; one that is encoded, escaped, or written
 * as no grammar has it.
 */
export function boundaryIn(contentType: string): string | null {
  const begins = TYPE.exec(contentType);
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
