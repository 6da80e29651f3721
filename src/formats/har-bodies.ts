import { type HeaderPair, headerValue } from '../core/headers.ts';
import { base64Bytes } from './base64-text.ts';
import { type ImportedBody, wholeBody } from './imported-exchange.ts';
import { arrayAt, objectAt, sizeAt, textAt } from './json-fields.ts';
import type { JsonObject } from './json-line.ts';
import type { TextCounts } from './text-counts.ts';

/** Bodies of an archive: what is not surely what was on the wire is not taken for it, and counted. */
export class HarBodies {
  readonly #lacking: TextCounts;

  constructor(lacking: TextCounts) {
    this.#lacking = lacking;
  }

  ofRequest(request: JsonObject, headers: readonly HeaderPair[]): ImportedBody {
    const stated = sizeAt(request, 'bodySize') ?? 0;
    const post = objectAt(request, 'postData') ?? {};
    if (textAt(post, 'text') !== '') return this.#ofPost(post, stated, headers);
    const form = arrayAt(post, 'params');
    if (form.length > 0 && /^application\/x-www-form-urlencoded/i.test(textAt(post, 'mimeType'))) {
      this.#lacking.count('a request body that was put together from its parameters');
      const pairs = form.map((each): [string, string] => [textAt(each, 'name'), textAt(each, 'value')]);
      return wholeBody(Buffer.from(new URLSearchParams(pairs).toString()));
    }
    if (form.length === 0 && stated === 0) return wholeBody(Buffer.alloc(0));
    return this.#lost('a request body that the file does not hold', stated);
  }

  #ofPost(post: JsonObject, stated: number, headers: readonly HeaderPair[]): ImportedBody {
    const text = textAt(post, 'text');
    const isBase64 = textAt(post, 'encoding') === 'base64' || textAt(post, '_encoding') === 'base64';
    const bytes = isBase64 ? base64Bytes(text) : Buffer.from(text);
    if (bytes === null) return this.#lost('a request body whose base64 is damaged', stated);
    if (!isBase64 && (isCoded(headers) || text.includes('\ufffd'))) {
      return this.#lost('a request body that the file has as text, which it was not', stated || bytes.length);
    }
    // The text may have been decoded, cut or put together anew: it is not what was sent.
    if (stated > 0 && stated !== bytes.length) {
      return this.#lost('a request body of another size than the file states', stated);
    }
    return wholeBody(bytes);
  }

  /** @param bodiless whether a response of its kind has none */
  ofResponse(response: JsonObject, bodiless: boolean): ImportedBody {
    const content = objectAt(response, 'content') ?? {};
    const text = textAt(content, 'text');
    const size = sizeAt(content, 'size');
    const kept = textAt(content, 'encoding') === 'base64' ? base64Bytes(text) : Buffer.from(text);
    if (kept === null) {
      this.#lacking.count('a response body whose base64 is damaged');
      return { bytes: size ?? 0, kept: null, truncated: size === null };
    }
    if (text === '' && size !== 0) {
      if (bodiless) return wholeBody(kept);
      this.#lacking.count('a response body that the file does not hold');
      // Of one whose size is not said either, so much is known as of one that was cut before its first byte.
      return { bytes: size ?? 0, kept: null, truncated: size === null };
    }
    if (size !== null && size > kept.length) return { bytes: size, kept, truncated: true };
    if (size !== null && size < kept.length) {
      this.#lacking.count('a response body of another size than the file states');
    }
    return { bytes: kept.length, kept, truncated: content['_truncated'] === true };
  }

  #lost(why: string, stated: number): ImportedBody {
    this.#lacking.count(why);
    return { bytes: Math.max(stated, 1), kept: null, truncated: false };
  }
}

/** Whether a message says that its body is under a content coding. */
export function isCoded(headers: readonly HeaderPair[]): boolean {
  return !/^(?:identity)?$/i.test(headerValue(headers, 'content-encoding')?.trim() ?? '');
}
