import { decodeContent } from '../../core/content-coding.ts';
import { AppError, UnreadableBody } from '../../core/errors.ts';
import { type Body, type ExchangePayload, type Message, wholePayload } from '../../core/exchange.ts';
import { headerPairsOf, headerValue } from '../../core/headers.ts';
import { asBuffer } from '../../core/json-cursor.ts';
import { LIMITS } from '../../core/limits.ts';
import { type AnswerCheck, mismatch, SAME, unchecked } from '../../core/run.ts';
import { generatesText, isEventStream, isJson, isJsonLines } from '../../inference/features.ts';
import { isGrpc } from '../../inference/grpc.ts';
import { isRecord } from '../../inference/stream-events.ts';
import { usageIn } from '../../inference/token-usage.ts';
import type { PointerState } from '../../redaction/pointer-states.ts';
import type { CheckTolerance } from '../options/parsers.ts';
import type { CheckOptions } from '../options/replay-options.ts';
import type { AnswerToCheck, CheckedAnswer, KeptAnswer, StreamFacts } from './answer-copy.ts';
import { jsonDifference, mediaTypeOf, parseExactly, type ReadableAnswer } from './compare-json.ts';
import { messagesCheck } from './compare-messages.ts';
import { tensorDifference } from './compare-tensors.ts';
import {
  asksForLikeliest,
  differentEnds,
  finishesOf,
  finishMasked,
  holdsGeneratedText,
  isNearLength,
  outlineOf,
  saidOtherwise,
  servesAnyModel,
  streamCheck,
  streamFactsOf,
} from './compare-text.ts';
import { apiOf, maskedPointers, Places, whyNoBody } from './compared-fields.ts';

/** Reads the recorded payload of an exchange. @throws AppError if the capture cannot be read */
type RecordedPayload = (segment: string, exchangeId: number) => ExchangePayload | null;

/** Compares a batch of answers. A problem with one answer does not affect the others. */
export function checkAnswers(
  answers: readonly AnswerToCheck[],
  payloadOf: RecordedPayload,
  comparer: AnswerComparer,
): CheckedAnswer[] {
  return answers.map((answer) => ({
    index: answer.index,
    check: checkOne(answer, payloadOf, comparer),
  }));
}

function checkOne(answer: AnswerToCheck, payloadOf: RecordedPayload, comparer: AnswerComparer): AnswerCheck {
  let payload: ExchangePayload | null;
  try {
    const read = payloadOf(answer.segment, answer.exchangeId);
    // The payload is read lazily. It is read here, so that a read error does not count as a failed comparison.
    payload = read === null ? null : wholePayload(read);
  } catch (thrown) {
    // Retention may have removed the segment, and a damaged block must not end a replay.
    if (thrown instanceof AppError) return unchecked('recording_unreadable');
    throw thrown;
  }
  try {
    return comparer.check(payload, answer);
  } catch {
    // The error is not reported, because it may contain captured text. The answer counts as unchecked, with a reason.
    return unchecked('checker_failed');
  }
}

/** How answers are compared. */
export interface ComparerOptions extends CheckOptions {
  /** Whether finish reasons count. False if requests were changed so that they end for another reason. */
  readonly finishes: boolean;
}

/** Compares answers with recorded ones. It keeps no answer after its comparison. */
export class AnswerComparer {
  readonly #options: ComparerOptions;
  readonly #places: Places;

  constructor(options: ComparerOptions) {
    this.#options = options;
    this.#places = new Places(options.ignore);
  }

  /** @param payload the payload of the recorded exchange; null if none was stored */
  check(payload: ExchangePayload | null, answer: AnswerToCheck): AnswerCheck {
    const recorded = payload?.response ?? null;
    const why = whyNoBody(recorded);
    if (why !== null || payload === null || recorded?.body.kept == null)
      return unchecked(why ?? 'no_recorded_answer');
    try {
      return this.#compared(payload, recorded, recorded.body.kept, answer);
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
    answer: AnswerToCheck,
  ): AnswerCheck {
    const head = headOf(message);
    const masked = maskedPointers(message.redacted);
    if (masked.length === 0 && answer.kept !== null && isTheSame(head, bytes, answer.kept)) return SAME;
    if (isGrpc(head.contentType)) return this.#call({ ...head, bytes }, masked, answer);
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
    const how: DocumentComparison = {
      root,
      masked,
      values: level === 'values',
      tolerance,
      text: generates ? (likeliest ? 'likeliest' : 'sampled') : null,
      anyModel: servesAnyModel(answer.route),
      finishes,
    };
    return new DocumentCheck(recorded, answered, how).result();
  }

  #call(
    { bytes, contentEncoding }: AnswerHeaders & Pick<ReadableAnswer, 'bytes'>,
    masked: readonly string[],
    { route, streamed, kept }: AnswerToCheck,
  ): AnswerCheck {
    if (kept === null || !isGrpc(kept.contentType)) return mismatch('shape');
    const { level, tolerance, ignore } = this.#options;
    return messagesCheck(
      route ?? '',
      { bytes, coding: contentEncoding },
      { bytes: kept.bytes, coding: kept.contentEncoding },
      {
        root: this.#places.root(apiOf(route), []),
        masked: masked.some((name) => !ignore.includes(name)),
        values: level === 'values',
        tolerance,
        streamed,
      },
    );
  }

  #factsOf(answered: ReadableAnswer | null): StreamFacts | null {
    if (answered === null || !(isEventStream(answered.contentType) || isJsonLines(answered.contentType)))
      return null;
    return streamFactsOf(answered.bytes, answered.contentType);
  }
}

type AnswerHeaders = Omit<ReadableAnswer, 'bytes'> & { readonly contentEncoding: string | null };

function headOf({ head }: Message): AnswerHeaders {
  const headers = headerPairsOf(head);
  return {
    contentType: headerValue(headers, 'content-type'),
    contentEncoding: headerValue(headers, 'grpc-encoding') ?? headerValue(headers, 'content-encoding'),
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

/**
 * Whether an answer is a stream. Some servers stream JSON lines under the type JSON; these were read as a stream too.
 */
function isStream(contentType: string | null, { facts, streamed }: AnswerToCheck): boolean {
  if (isEventStream(contentType) || isJsonLines(contentType)) return true;
  return streamed && facts !== null && isJson(contentType);
}

/** @throws UnreadableBody for an unknown coding, and if the decoded body is too large */
function readable(kept: KeptAnswer): ReadableAnswer | 'undecodable' {
  const jsonBytes = lengthOf(kept.inferenceHeaderLength);
  try {
    const { bytes } = decodeContent(kept.bytes, kept.contentEncoding);
    return { bytes, contentType: kept.contentType, jsonBytes };
  } catch (thrown) {
    // The bytes do not have the declared coding, so no client can read them either.
    if (thrown instanceof UnreadableBody && thrown.reason === 'bad_coding') return 'undecodable';
    throw thrown;
  }
}

/** The request's body, if it is complete and has no content coding. */
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

/** How two whole answers are compared. */
interface DocumentComparison {
  readonly root: PointerState;
  /** Pointers of rules that masked something in the recorded answer. */
  readonly masked: readonly string[];
  readonly values: boolean;
  readonly tolerance: CheckTolerance;
  /** For generated text: whether it was sampled or is the likeliest text. Null for all other answers. */
  readonly text: 'sampled' | 'likeliest' | null;
  /** Whether the route serves any kind of model: then only the recorded answer shows whether it is generated text. */
  readonly anyModel: boolean;
  readonly finishes: boolean;
}

/**
 * Compares two whole answers: JSON member by member, JSON with binary tensors, and everything else byte by byte.
 */
class DocumentCheck {
  readonly #recorded: ReadableAnswer;
  readonly #answered: ReadableAnswer;
  readonly #how: DocumentComparison;

  constructor(recorded: ReadableAnswer, answered: ReadableAnswer, how: DocumentComparison) {
    this.#recorded = recorded;
    this.#answered = answered;
    this.#how = how;
  }

  /** @throws UnreadableBody if the recorded answer cannot be read */
  result(): AnswerCheck {
    const [recorded, answered] = [this.#recorded, this.#answered];
    if (mediaTypeOf(recorded.contentType) !== mediaTypeOf(answered.contentType)) return mismatch('shape');
    if (recorded.jsonBytes !== null || answered.jsonBytes !== null) return this.#tensors();
    if (!isJson(recorded.contentType) && !looksLikeJson(recorded.bytes)) return this.#bytes();
    const ours = parsed(recorded.bytes);
    if (ours === undefined) return this.#bytes('unreadable');
    const theirs = parsed(answered.bytes);
    if (theirs === undefined) return mismatch('shape');
    const text = this.#how.anyModel && !holdsGeneratedText(ours) ? null : this.#how.text;
    if (text === 'sampled') return this.#sampled(ours, theirs);
    const check = this.#json(ours, theirs);
    const ended = text === 'likeliest' && check.result === 'mismatch' && check.kind === 'values';
    return ended && this.#endedOtherwise(ours, theirs) ? mismatch('finish') : check;
  }

  /** Whether the two answers have different finish reasons. */
  #endedOtherwise(ours: unknown, theirs: unknown): boolean {
    const { finishes, masked, root } = this.#how;
    if (!finishes || (masked.length > 0 && finishMasked(root))) return false;
    return differentEnds(finishesOf(ours), finishesOf(theirs));
  }

  #json(ours: unknown, theirs: unknown): AnswerCheck {
    const { kind, pointer, masked } = jsonDifference(ours, theirs, this.#how.root, this.#how);
    if (kind !== null) return mismatch(kind, pointer);
    return masked && this.#how.values ? unchecked('redacted') : SAME;
  }

  /** A mismatch of names, types or lengths; null if there is none. */
  #shape(ours: unknown, theirs: unknown): AnswerCheck | null {
    const { root, tolerance } = this.#how;
    const { kind, pointer } = jsonDifference(ours, theirs, root, { values: false, tolerance });
    return kind === null ? null : mismatch('shape', pointer);
  }

  /** Compares generated text by its outline, its finish reason and its length. Masked values are not compared. */
  #sampled(ours: unknown, theirs: unknown): AnswerCheck {
    const { root, values, tolerance } = this.#how;
    const outline = this.#shape(outlineOf(ours), outlineOf(theirs));
    if (outline !== null || !values) return outline ?? SAME;
    if (this.#endedOtherwise(ours, theirs)) return mismatch('finish');
    const said = saidOtherwise(ours, theirs, root);
    if (said !== null) return mismatch('shape', said);
    const byModel = this.#json(modelIn(ours), modelIn(theirs));
    if (byModel.result === 'mismatch') return byModel;
    const answers = [this.#recorded, this.#answered];
    const tokens = answers.flatMap(({ bytes }) => usageIn(bytes).outputTokens ?? []);
    const [one = 0, other = 0] = tokens.length === 2 ? tokens : answers.map(({ bytes }) => bytes.length);
    return isNearLength(one, other, tolerance.lengthShare) ? SAME : mismatch('length');
  }

  #tensors(): AnswerCheck {
    const { root, values } = this.#how;
    if (this.#recorded.jsonBytes === null || this.#answered.jsonBytes === null) return mismatch('shape');
    const ours = splitAt(this.#recorded.bytes, this.#recorded.jsonBytes);
    const theirs = splitAt(this.#answered.bytes, this.#answered.jsonBytes);
    if (ours === null) throw new UnreadableBody('bad_tensors');
    if (theirs === null) return mismatch('shape');
    const head = this.#shape(ours.head, theirs.head);
    if (head !== null) return head;
    const tensors = tensorDifference(ours, theirs, root, this.#how);
    if (tensors.check !== null || !values) return tensors.check ?? SAME;
    const rest = this.#json(ours.head, theirs.head);
    return rest.result === 'same' && tensors.masked ? unchecked('redacted') : rest;
  }

  /** @param otherwise why different bytes count as unchecked, if they should have been readable; null for a mismatch */
  #bytes(otherwise: 'unreadable' | null = null): AnswerCheck {
    const [ours, theirs] = [this.#recorded.bytes, this.#answered.bytes];
    if (Buffer.compare(ours, theirs) === 0) return SAME;
    if (otherwise !== null) return unchecked(otherwise);
    if (!this.#how.values) return SAME;
    if (this.#how.masked.length > 0) return unchecked('redacted');
    return mismatch(ours.length === theirs.length ? 'values' : 'length');
  }
}

/** The name of the model that made an answer, which is the same in every sample. */
function modelIn(document: unknown): unknown {
  return isRecord(document) && 'model' in document ? { model: document['model'] } : {};
}

function splitAt(bytes: Uint8Array, at: number): { head: unknown; binary: Buffer } | null {
  if (at > bytes.length) return null;
  const head = parsed(bytes.subarray(0, at));
  return head === undefined ? null : { head, binary: asBuffer(bytes.subarray(at)) };
}

/** Whether bytes look like JSON. Model servers send and accept JSON under any content type. */
function looksLikeJson(bytes: Uint8Array): boolean {
  return /^\s*[[{]/.test(asBuffer(bytes).toString('latin1', 0, 64));
}

/**
 * The parsed document; undefined if the bytes are no JSON.
 * @throws UnreadableBody if the document is too large to parse
 */
function parsed(bytes: Uint8Array): unknown {
  if (bytes.length > LIMITS.checkedAnswerBytes) throw new UnreadableBody('too_large');
  try {
    return parseExactly(asBuffer(bytes).toString('utf8'));
  } catch {
    // The error message is not used, because it contains captured text.
    return undefined;
  }
}
