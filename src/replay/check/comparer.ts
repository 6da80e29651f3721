import { decodeContent } from '../../core/content-coding.ts';
import { UnreadableBody } from '../../core/errors.ts';
import type { Body, ExchangePayload, Message } from '../../core/exchange.ts';
import { headerPairsOf, headerValue } from '../../core/headers.ts';
import { type AnswerCheck, mismatch, SAME, unchecked } from '../../core/run.ts';
import { isEventStream, isJson, isJsonLines, payloadApiOf } from '../../inference/features.ts';
import { dropReasonOf } from '../../redaction/body-redaction.ts';
import type { CheckOptions } from '../options/replay-options.ts';
import type { AnswerToCheck, KeptAnswer } from './answer-to-check.ts';
import { documentCheck } from './document-check.ts';
import { asksForLikeliest, generatesText, servesAnyModel } from './generated.ts';
import { type AnswerApi, maskedPointers, Places } from './places.ts';
import { mediaTypeOf, type ReadableAnswer } from './readable-answer.ts';
import { type StreamFacts, streamCheck, streamFactsOf } from './stream-check.ts';

type KeptToCheck = AnswerToCheck<KeptAnswer>;

/** How answers are compared, with what else decides it. */
export interface ComparerOptions extends CheckOptions {
  /** False where requests were changed so that they end for another reason. */
  readonly finishes: boolean;
}

/** Compares answers with recorded ones. Holds nothing of either from one to the next. */
export class AnswerComparer {
  readonly #options: ComparerOptions;
  readonly #places: Places;

  constructor(options: ComparerOptions) {
    this.#options = options;
    this.#places = new Places(options.ignore);
  }

  /** @param payload of the recorded exchange; null where it was stored without any */
  check(payload: ExchangePayload | null, answer: KeptToCheck): AnswerCheck {
    const recorded = payload?.response ?? null;
    if (recorded === null) return unchecked('no_recorded_answer');
    const { body, redacted } = recorded;
    if (dropReasonOf(redacted) !== null) return unchecked('redacted');
    if (body.truncated) return unchecked('recorded_truncated');
    if (body.kept === null) return unchecked('no_recorded_body');
    try {
      return this.#compared(payload as ExchangePayload, recorded, body.kept, answer);
    } catch (thrown) {
      if (thrown instanceof UnreadableBody)
        return unchecked(thrown.reason === 'too_large' ? 'answer_too_large' : 'unreadable');
      throw thrown;
    }
  }

  #compared(
    payload: ExchangePayload,
    message: Message,
    bytes: Uint8Array,
    answer: KeptToCheck,
  ): AnswerCheck {
    const head = headOf(message);
    const masked = maskedPointers(message.redacted);
    if (masked.length === 0 && answer.kept !== null && isTheSame(head, bytes, answer.kept)) return SAME;
    const recorded = { ...head, bytes: decodeContent(bytes, head.contentEncoding).bytes };
    const api = apiOf(answer.route);
    const root = this.#places.root(api, masked);
    const { level, tolerance, finishes } = this.#options;
    const ours = isStream(recorded.contentType, answer)
      ? streamFactsOf(recorded.bytes, head.contentType)
      : null;
    const theirs = answer.kept === null ? answer.facts : null;
    const answered = answer.kept === null ? null : readable(answer.kept);
    if (answered === 'undecodable') return mismatch('shape');
    if (ours !== null) {
      const facts = theirs ?? this.#factsOf(answered);
      if (facts === null) return mismatch('shape');
      if (level === 'shape') return SAME;
      const { lengthShare } = tolerance;
      return streamCheck(ours, facts, root, masked.length > 0, { lengthShare, finishes });
    }
    if (answered === null) return mismatch('shape');
    const generates = generatesText(answer.route);
    const likeliest = generates && asksForLikeliest(requestBodyOf(payload.request));
    return documentCheck(recorded, answered, {
      root,
      masked,
      values: level === 'values',
      tolerance,
      text: generates ? (likeliest ? 'likeliest' : 'sampled') : null,
      anyModel: servesAnyModel(answer.route),
      finishes,
    });
  }

  #factsOf(answered: ReadableAnswer | null): StreamFacts | null {
    if (answered === null || !(isEventStream(answered.contentType) || isJsonLines(answered.contentType)))
      return null;
    return streamFactsOf(answered.bytes, answered.contentType);
  }
}

export function apiOf(route: string | null): AnswerApi {
  return route === null ? 'other' : (payloadApiOf({ route, model: null }) ?? 'other');
}

type AnswerHeaders = Omit<ReadableAnswer, 'bytes'> & { readonly contentEncoding: string | null };

function headOf({ head }: Message): AnswerHeaders {
  const headers = headerPairsOf(head);
  return {
    contentType: headerValue(headers, 'content-type'),
    contentEncoding: headerValue(headers, 'content-encoding'),
    jsonBytes: lengthOf(headerValue(headers, 'inference-header-content-length')),
  };
}

function isTheSame(head: AnswerHeaders, bytes: Uint8Array, kept: KeptAnswer): boolean {
  return (
    mediaTypeOf(head.contentType) === mediaTypeOf(kept.contentType) &&
    head.contentEncoding === kept.contentEncoding &&
    head.jsonBytes === lengthOf(kept.inferenceHeaderLength) &&
    Buffer.compare(bytes, kept.bytes) === 0
  );
}

/** Some servers stream JSON lines and call them JSON; then the answer at hand was read as such. */
function isStream(contentType: string | null, { facts, streamed }: KeptToCheck): boolean {
  if (isEventStream(contentType) || isJsonLines(contentType)) return true;
  return streamed && facts !== null && isJson(contentType);
}

/** @throws UnreadableBody for a coding we do not know, and what unfolds to too much */
function readable(kept: KeptAnswer): ReadableAnswer | 'undecodable' {
  const jsonBytes = lengthOf(kept.inferenceHeaderLength);
  try {
    const { bytes } = decodeContent(kept.bytes, kept.contentEncoding);
    return { bytes, contentType: kept.contentType, jsonBytes };
  } catch (thrown) {
    // Bytes that are not in the coding they are said to be in: no client can read them either.
    if (thrown instanceof UnreadableBody && thrown.reason === 'bad_coding') return 'undecodable';
    throw thrown;
  }
}

/** The request's body where it can be read as it is. */
function requestBodyOf(request: Message | null): Body['kept'] {
  if (request === null || request.body.truncated) return null;
  const coding = headerValue(headerPairsOf(request.head), 'content-encoding');
  return coding === null ? request.body.kept : null;
}

function lengthOf(text: string | null): number | null {
  if (text === null) return null;
  const length = Number(text);
  return Number.isInteger(length) && length > 0 ? length : null;
}
