import type { Framing } from '../../http1/framing.ts';
import type { ScannedResponse } from '../../http1/heads.ts';
import type { BodyTaker } from '../../http1/message-reader.ts';
import { isEventStream, isJson, isJsonLines, isPlain, type PayloadApi } from '../../inference/features.ts';
import { type AnswerForm, AnswerScan } from '../../inference/stream-timing.ts';
import type { BodyCollector } from './body.ts';

/** What a response says that it is; null for anything else. */
export type AnswerType = AnswerForm | null;

export function answerType(contentType: string | null): AnswerType {
  if (isEventStream(contentType)) return 'events';
  if (isJsonLines(contentType)) return 'lines';
  return isJson(contentType) ? 'document' : null;
}

/** Takes a response's body, and looks at it on the way. */
export class WatchedBody implements BodyTaker {
  readonly #body: BodyCollector;
  readonly scan: AnswerScan;

  constructor(body: BodyCollector, form: AnswerForm) {
    this.#body = body;
    this.scan = new AnswerScan(form);
  }

  write(bytes: Buffer): void {
    this.#body.write(bytes);
    this.scan.write(bytes);
  }

  arrived(atNs: number, wireBytes: number): void {
    this.#body.arrived(atNs, wireBytes);
    this.scan.arrived(atNs);
  }
}

/**
 * What a response is to be looked at as; null for one that says nothing of tokens.
 * @param asksStream whether the request wants a stream, asked only where that decides
 */
export function answerForm(
  type: AnswerType,
  framing: Framing,
  api: PayloadApi | null,
  asksStream: () => boolean,
): AnswerForm | null {
  if (type === 'events' || type === 'lines') return type;
  if (api === null || api === 'v1' || api === 'v2' || type !== 'document') return null;
  // Some servers stream JSON lines and call them JSON.
  return framing.kind !== 'length' && asksStream() ? 'lines' : 'document';
}

/** Whether a response of this form is worth looking at: an answer, with a body that can be read as it passes. */
export function isReadable({ status, fields }: ScannedResponse, framing: Framing): boolean {
  if (status < 200 || status > 299 || !isPlain(fields.contentEncoding)) return false;
  return framing.kind === 'length' || framing.kind === 'chunked' || framing.kind === 'until_close';
}
