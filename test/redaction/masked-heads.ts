import { expect } from 'vitest';
import { parseRequestHead } from '../../src/core/headers.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';

const redaction = new Redaction();

/** A request's head after the default redaction, and the names of the masked parts. */
export function maskedRequest(target: string, ...lines: string[]) {
  const head = Buffer.from([`GET ${target} HTTP/1.1`, ...lines, '', ''].join('\r\n'), 'latin1');
  const { bytes, names } = redaction.requestHead(head);
  expect(bytes).toHaveLength(head.length);
  return { ...parseRequestHead(bytes), names, text: Buffer.from(bytes).toString('latin1') };
}

export const maskedHeader = (line: string) => maskedRequest('/', line);
