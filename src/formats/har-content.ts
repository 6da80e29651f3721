import { type HeaderPair, headerValue } from '../core/headers.ts';
import { decodeContent } from '../core/privacy/content-coding.ts';

/** A body as a HAR has it: text, or base64 where it is none. */
export interface HarText {
  readonly text: string;
  readonly encoding: 'base64' | null;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function harText(body: Uint8Array): HarText {
  try {
    return { text: UTF8.decode(body), encoding: null };
  } catch {
    return base64Text(body);
  }
}

export function base64Text(body: Uint8Array): HarText {
  return { text: Buffer.from(body).toString('base64'), encoding: 'base64' };
}

/** A body without its content codings, as a HAR wants responses; null where it cannot be had, or is too large. */
export function unpackedBody(headers: readonly HeaderPair[], body: Uint8Array): Uint8Array | null {
  try {
    return decodeContent(body, headerValue(headers, 'content-encoding')).bytes;
  } catch {
    // Cut short, damaged or a bomb: counted by who asked.
    return null;
  }
}
