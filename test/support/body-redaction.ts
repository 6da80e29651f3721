import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { type BodyAbout, BodyRedaction, type RedactedBody } from '../../src/redaction/body-redaction.ts';
import { parseBodyRules } from '../../src/redaction/body-rules.ts';

const ABOUT_JSON: BodyAbout = {
  contentType: 'application/json',
  contentEncoding: null,
  truncated: false,
  inferenceHeaderLength: null,
};

/** Body redaction by these rules, with a key made of one repeated byte. */
export function bodyRedaction(
  texts: readonly string[],
  presets: readonly string[] = [],
  keyByte = 7,
): BodyRedaction {
  return new BodyRedaction(parseBodyRules(texts, presets), new KeyedHash(Buffer.alloc(32, keyByte)));
}

/** The stored body as text. JSON unless `about` says otherwise. */
export interface Covered extends RedactedBody {
  /** Empty when it was dropped. */
  readonly text: string;
}

export function cover(
  redaction: BodyRedaction,
  body: string | Buffer,
  about: Partial<BodyAbout> = {},
): Covered {
  const redacted = redaction.redact(Buffer.from(body), { ...ABOUT_JSON, ...about });
  return { ...redacted, text: redacted.kept === null ? '' : Buffer.from(redacted.kept).toString('utf8') };
}
