import { GapCounts } from '../../core/gap-counts.ts';
import { LIMITS } from '../../core/limits.ts';
import type { SendAnswer } from '../../core/run.ts';
import { isEventStream, isJson, isJsonLines, isPlain } from '../../inference/features.ts';
import { ERROR_EVENT, EventData, holdsContent, isSignOfLife } from '../../inference/stream-events.ts';
import { type AnswerForm, AnswerScan } from '../../inference/stream-timing.ts';
import { laterUsage, NO_USAGE, type TokenUsage, usageIn } from '../../inference/token-usage.ts';
import type { ExpectedAnswer } from './expected-answer.ts';
import { StreamEnd } from './stream-end.ts';

/** What the head of an answer says of its body. */
export interface AnswerHead {
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  readonly hasLength: boolean;
  readonly contentLength?: string | null;
  /** `Inference-Header-Content-Length`: bytes of JSON before Triton's binary tensors. */
  readonly inferenceHeaderLength?: string | null;
}

/** What an answer said; instants are those that `write` was given. */
export interface AnswerFacts extends Omit<SendAnswer, 'firstTokenOffsetNs' | 'lastTokenOffsetNs'> {
  readonly streamed: boolean;
  /** False for a stream that says nothing without its coding undone: then nothing of the rest is known. */
  readonly read: boolean;
  readonly firstTokenNs: number | null;
  readonly lastTokenNs: number | null;
}

/** Where an event may hold counts of tokens: looked at before it is searched for them. */
const MAY_COUNT = /"(?:usage|details|usageMetadata|eval_count|tokens_predicted)" *: *[{\d]/;

/**
 * One answer as it comes by: the times of its tokens and what it says of them. Everything here happens when bytes
 * come, never between an instant and its send, and holds no more than two events.
 */
export class AnswerReader {
  readonly #end: StreamEnd;
  /** Null for what is not read event by event, as soon as that is known. */
  #events: EventData | null;
  #document: AnswerScan | null;
  /** While it is not known whether it is lines or a document. */
  #called: CalledJson | null;
  #streamed: boolean;
  readonly #read: boolean;
  #gaps = new GapCounts();
  #usage: TokenUsage = NO_USAGE;
  #atNs = 0;
  #firstTokenNs: number | null = null;
  #lastTokenNs: number | null = null;
  #contentEvents = 0;

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

  /** Null for an answer that says nothing of tokens. */
  static of(status: number, head: AnswerHead, expected: ExpectedAnswer): AnswerReader | null {
    if (status < 200 || status > 299) return null;
    const form = formOf(head, expected);
    if (form === null) return null;
    if (isPlain(head.contentEncoding)) return new AnswerReader(form, expected.ends);
    // A stream under a content coding is one, and its times are not to be had without undoing it.
    return form === 'document' ? null : new AnswerReader('unread', false);
  }

  /** Takes a piece of the body; it is not kept. Instants must not go backwards. */
  write(bytes: Buffer, atNs: number): void {
    this.#atNs = atNs;
    this.#events?.write(bytes);
    this.#document?.write(bytes);
  }

  /** The message is over, in whatever way: a last line needs no line end. */
  finish(): AnswerFacts {
    this.#events?.end();
    if (this.#called !== null) this.#proved(this.#called.atEnd(this.#events?.passedOver ?? 0));
    const { promptTokens, outputTokens } = this.#document?.finish() ?? this.#usage;
    return {
      streamed: this.#streamed,
      read: this.#read,
      firstTokenNs: this.#firstTokenNs,
      lastTokenNs: this.#lastTokenNs,
      contentEvents: this.#contentEvents,
      gapMaxNs: this.#gaps.maxNs,
      gaps: this.#gaps.toBytes(),
      promptTokens,
      outputTokens,
      finish: this.#end.finish,
      finishes: this.#end.finishes,
    };
  }

  /** Whether it is read event by event: then its facts are all that it will be compared by. */
  get readsEvents(): boolean {
    return this.#events !== null;
  }

  /**
   * To be asked of a message that was complete, after `finish`: whether it was a stream that broke. Where an event
   * was too long to be read, the end may have been in it.
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
      // Words as they are, from a server of somebody's own.
      if (data.trim() !== '' && !isSignOfLife(name)) this.#token();
      return;
    }
    this.#end.see(event);
    if (holdsContent(event) && !isSignOfLife(name)) this.#token();
    if (MAY_COUNT.test(data)) this.#usage = laterUsage(this.#usage, usageIn(Buffer.from(data)));
  }

  /** It is known now; a whole answer, or one that only told of an error, had no tokens that came one by one. */
  #proved(form: CalledForm): void {
    this.#called = null;
    if (form !== 'document') this.#document = null;
    if (form === 'lines') return;
    if (form === 'failed') this.#end.fail();
    else {
      this.#events = null;
      this.#streamed = false;
    }
    this.#contentEvents = 0;
    this.#gaps = new GapCounts();
    this.#firstTokenNs = null;
    this.#lastTokenNs = null;
  }

  #token(): void {
    this.#contentEvents += 1;
    this.#firstTokenNs ??= this.#atNs;
    if (this.#lastTokenNs !== null) this.#gaps.add(this.#atNs - this.#lastTokenNs);
    this.#lastTokenNs = this.#atNs;
  }
}

/** How an answer is read; `called_json` is lines or a document. */
type ReadForm = AnswerForm | 'called_json';

function formOf({ contentType, hasLength }: AnswerHead, expected: ExpectedAnswer): ReadForm | null {
  if (isEventStream(contentType)) return 'events';
  if (isJsonLines(contentType)) return 'lines';
  if (!expected.counts || !isJson(contentType)) return null;
  return expected.streams && !hasLength ? 'called_json' : 'document';
}

/** The longest document over several lines that is put together: one that tells of an error is short. */
const HELD_CHARS = 16 * 1024;

/** Lines of a stream, one document, or one that tells of an error where there should have been a stream. */
type CalledForm = 'lines' | 'document' | 'failed';

/**
 * An answer that is called JSON where a stream was asked for, and has no length: some servers stream JSON lines and
 * call them so, others answer whole, on one line or on many. Its first line tells, or its end.
 */
class CalledJson {
  #lines = 0;
  /** What its first line says by itself; undefined where that is no JSON. */
  #first: unknown;
  /** The lines so far, where they may be those of one document. */
  #text = '';

  /**
   * @param data of a line
   * @param document what that is by itself; undefined where it is no JSON
   * @returns what the answer is for certain; null while it may be either
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
   * What it was, now that it is over: one document is a whole answer, unless it tells of an error or says that more
   * was to come; and one that was cut short is none.
   * @param passedOver lines that were too long to be read: longer than a piece of a stream ever is
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

/** Undefined for what is no JSON. */
function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
