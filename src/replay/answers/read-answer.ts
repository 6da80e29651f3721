import { LIMITS } from '../../core/limits.ts';
import type { SendAnswer } from '../../core/run.ts';
import { isEventStream, isJson, isJsonLines, isPlain } from '../../inference/features.ts';
import { ERROR_EVENT, EventData, holdsContent, isSignOfLife } from '../../inference/stream-events.ts';
import { type AnswerForm, AnswerScan } from '../../inference/stream-timing.ts';
import { laterUsage, NO_USAGE, type TokenUsage, usageIn } from '../../inference/token-usage.ts';
import type { ExpectedAnswer } from './expected-answer.ts';
import { StreamEnd } from './stream-end.ts';
import { type TokenFacts, TokenTimes } from './token-times.ts';

/** The facts about the body in the head of an answer. */
export interface AnswerHead {
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  readonly hasLength: boolean;
  readonly contentLength?: string | null;
  /** `Inference-Header-Content-Length`: bytes of JSON before Triton's binary tensors. */
  readonly inferenceHeaderLength?: string | null;
  /** `grpc-encoding` of an answer to a gRPC call. */
  readonly grpcEncoding?: string | null;
  /** All headers, with names in lower case. */
  readonly fields?: AnswerFields;
}

export type AnswerFields = Readonly<Record<string, string | string[] | undefined>>;

/** The facts of an answer. Instants are those given to `write`. */
export interface AnswerFacts
  extends TokenFacts,
    Pick<SendAnswer, 'promptTokens' | 'cachedTokens' | 'outputTokens' | 'finish' | 'finishes'> {
  readonly streamed: boolean;
  /** False for a stream that cannot be read without decoding. Then all other facts are unknown. */
  readonly read: boolean;
}

/** A cheap test before an event is searched for token counts. */
const MAY_COUNT = /"(?:usage|details|usageMetadata|eval_count|tokens_predicted)" *: *[{\d]/;

/**
 * Reads one answer while it arrives: the times of its tokens, and its facts. All work happens when bytes arrive, never
 * between an instant and its send. At most two events are kept in memory.
 */
export class AnswerReader {
  readonly #end: StreamEnd;
  /** Null if the answer is not read event by event, as soon as that is known. */
  #events: EventData | null;
  #document: AnswerScan | null;
  /** Set while it is unknown whether the answer is lines or a document. */
  #called: CalledJson | null;
  #streamed: boolean;
  readonly #read: boolean;
  #times = new TokenTimes();
  #usage: TokenUsage = NO_USAGE;
  #atNs = 0;
  #pausedNs = 0;

  private constructor(form: ReadForm | 'unread', ends: boolean) {
    this.#streamed = form !== 'document';
    this.#read = form !== 'unread';
    this.#end = new StreamEnd(ends);
    const isCalledJson = form === 'called_json';
    this.#called = isCalledJson ? new CalledJson() : null;
    this.#document = isCalledJson || form === 'document' ? new AnswerScan('document') : null;
    this.#events =
      form === 'document' || form === 'unread'
        ? null
        : new EventData(
            isCalledJson ? 'lines' : form,
            (data, name) => this.#event(data, name),
            LIMITS.answerEventBytes,
          );
  }

  /** Null for an answer without facts about tokens. */
  static of(status: number, head: AnswerHead, expected: ExpectedAnswer): AnswerReader | null {
    if (status < 200 || status > 299) return null;
    const form = formOf(head, expected);
    if (form === null) return null;
    if (isPlain(head.contentEncoding)) return new AnswerReader(form, expected.ends);
    // An encoded stream is still a stream, but its times cannot be read without decoding.
    return form === 'document' ? null : new AnswerReader('unread', false);
  }

  /**
   * Reads a piece of the body without keeping it. Instants must not decrease.
   * @param pausedNs how long it may have waited for a sender that was paused
   */
  write(bytes: Buffer, atNs: number, pausedNs = 0): void {
    this.#atNs = atNs;
    this.#pausedNs = pausedNs;
    this.#events?.write(bytes);
    this.#document?.write(bytes);
  }

  /** Call it when the message is over, complete or not. The last line needs no line end. */
  finish(): AnswerFacts {
    this.#events?.end();
    if (this.#called !== null) this.#proved(this.#called.atEnd(this.#events?.passedOver ?? 0));
    const { promptTokens, cachedTokens, outputTokens } = this.#document?.finish() ?? this.#usage;
    return {
      ...this.#times.facts(),
      streamed: this.#streamed,
      read: this.#read,
      promptTokens,
      cachedTokens,
      outputTokens,
      finish: this.#document === null ? this.#end.finish : this.#document.finishReason,
      finishes: this.#end.finishes,
    };
  }

  /** Whether it is read event by event. Then these facts are all that can be compared. */
  get readsEvents(): boolean {
    return this.#events !== null;
  }

  /**
   * Whether a complete message was a broken stream. Call it after `finish`. An event that was too long to be read may
   * have had the end mark, so then the stream does not count as broken.
   */
  get broken(): boolean {
    if (this.#events === null) return false;
    return this.#end.failed || (this.#end.broken && this.#events.passedOver === 0);
  }

  #event(data: string, name: string): void {
    if (name === ERROR_EVENT) this.#end.fail();
    if (name === ERROR_EVENT || this.#end.seeText(data)) return;
    const event = parsedJson(data);
    const form = this.#called?.line(data, event) ?? null;
    if (form !== null) this.#proved(form);
    if (this.#events === null) return;
    if (event === undefined) {
      // Plain text, from a custom server.
      if (data.trim() !== '' && !isSignOfLife(name)) this.#times.add(this.#atNs, this.#pausedNs);
      return;
    }
    this.#end.see(event);
    if (holdsContent(event) && !isSignOfLife(name)) this.#times.add(this.#atNs, this.#pausedNs);
    if (MAY_COUNT.test(data)) this.#usage = laterUsage(this.#usage, usageIn(Buffer.from(data)));
  }

  /** The form is known now. A whole answer, or one that only reports an error, has no streamed tokens. */
  #proved(form: CalledForm): void {
    this.#called = null;
    if (form !== 'document') this.#document = null;
    if (form === 'lines') return;
    if (form === 'failed') this.#end.fail();
    else {
      this.#events = null;
      this.#streamed = false;
    }
    this.#times = new TokenTimes();
  }
}

/** How an answer is read. `called_json` means lines or a document. */
type ReadForm = AnswerForm | 'called_json';

function formOf({ contentType, hasLength }: AnswerHead, expected: ExpectedAnswer): ReadForm | null {
  if (isEventStream(contentType)) return 'events';
  if (isJsonLines(contentType)) return 'lines';
  if (!expected.counts || !isJson(contentType)) return null;
  return expected.streams && !hasLength ? 'called_json' : 'document';
}

/** The longest multi-line document that is collected. An error document is shorter. */
const HELD_CHARS = 16 * 1024;

/** Lines of a stream, one document, or a document that reports an error instead of a stream. */
type CalledForm = 'lines' | 'document' | 'failed';

/**
 * An answer of type JSON without a length, for a request that asks for a stream. Some servers stream JSON lines with
 * this type. Others send one document, on one line or several. The first line or the end of the answer shows which it
 * is.
 */
class CalledJson {
  #lines = 0;
  /** The parsed first line; undefined if it is no JSON. */
  #first: unknown;
  /** The lines so far, while they may belong to one document. */
  #text = '';

  /**
   * @param data data of a line
   * @param document the parsed line; undefined if it is no JSON
   * @returns the form of the answer; null while it is unknown
   */
  line(data: string, document: unknown): 'lines' | 'document' | null {
    this.#lines += 1;
    if (this.#lines === 1) this.#first = document;
    else if (this.#first !== undefined) return 'lines';
    if (this.#first !== undefined) return null;
    this.#text += `${data}\n`;
    return this.#text.length > HELD_CHARS ? 'document' : null;
  }

  /**
   * The form of the complete answer. One document is a whole answer, unless it reports an error or announces further
   * parts. An incomplete document counts as lines.
   * @param passedOver number of lines that were too long to be read; pieces of a stream are never this long
   */
  atEnd(passedOver: number): CalledForm {
    if (passedOver > 0) return this.#first === undefined ? 'document' : 'lines';
    const document = this.#first ?? parsedJson(this.#text);
    if (document === undefined) return 'lines';
    const end = new StreamEnd(false);
    end.see(document);
    if (end.failed) return 'failed';
    return end.broken ? 'lines' : 'document';
  }
}

/** Undefined if it is no JSON. */
function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
