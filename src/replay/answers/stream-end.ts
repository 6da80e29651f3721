import type { FinishReason } from '../../core/exchange.ts';
import { finishReasonOf } from '../../inference/finish-reason.ts';
import { isRecord, tellsOfError } from '../../inference/stream-events.ts';

type Event = Readonly<Record<string, unknown>>;

/** Most choices of one answer that are distinguished. Further ones are ignored. */
export const MAX_CHOICES = 16;

/** The last data of a stream in OpenAI's chat and completions. */
const DONE = '[DONE]';

/**
 * Detects whether a stream was finished or cut off. If a server dies behind a proxy, its HTTP message still ends
 * normally. One set of rules covers all servers, because a stream does not name its server.
 */
export class StreamEnd {
  /** Whether the streams of this protocol mark their end. */
  #speaks: boolean;
  #ended = false;
  /** Whether the server reported an error within the stream. */
  failed = false;
  finish: FinishReason | null = null;
  readonly #choices: (FinishReason | null)[] = [];

  /** @param speaks whether the request's protocol promises an end mark, before any event */
  constructor(speaks: boolean) {
    this.#speaks = speaks;
  }

  /** Whether the complete message was a broken stream: the server reported an error, or sent no end mark. */
  get broken(): boolean {
    return this.failed || (this.#speaks && !this.#ended);
  }

  /** The finish reason of each choice by index; null if there is only one choice, or if choices have no index. */
  get finishes(): readonly (FinishReason | null)[] | null {
    return this.#choices.length > 1 ? this.#choices : null;
  }

  /** @param data data of one event or line; returns whether it is only an end mark */
  seeText(data: string): boolean {
    if (data.trim() !== DONE) return false;
    this.#speaks = true;
    this.#ended = true;
    return true;
  }

  /** Call it when the server reported an error. */
  fail(): void {
    this.failed = true;
  }

  /** @param event the parsed event */
  see(event: unknown): void {
    if (!isRecord(event)) return;
    const { type, choices, candidates, token, done, stop } = event;
    if (tellsOfError(event)) this.fail();
    else if (Array.isArray(choices)) this.#eachFinish(choices, 'finish_reason');
    else if (typeof type === 'string') this.#typed(type, event);
    else if (typeof done === 'boolean') this.#said(done, event['done_reason']);
    else if (isRecord(token))
      this.#said(isText(event['generated_text']), member(event, 'details', 'finish_reason'));
    else if (typeof stop === 'boolean' && 'content' in event) this.#said(stop, event['stop_type']);
    else if (Array.isArray(candidates)) this.#eachFinish(candidates, 'finishReason');
  }

  #eachFinish(parts: readonly unknown[], name: string): void {
    this.#speaks = true;
    parts.forEach((part, at) => {
      if (!isRecord(part) || !isText(part[name])) return;
      this.#said(true, part[name]);
      this.#choiceEnded(typeof part['index'] === 'number' ? part['index'] : at, part[name]);
    });
  }

  /** A stream reports its choices one by one, in any order. */
  #choiceEnded(index: number, reason: unknown): void {
    if (!Number.isInteger(index) || index < 0 || index >= MAX_CHOICES) return;
    while (this.#choices.length <= index) this.#choices.push(null);
    this.#choices[index] = finishReasonOf(reason);
  }

  /** Events of OpenAI's responses and Anthropic's messages have a type name. */
  #typed(type: string, event: Event): void {
    if (type.startsWith('response.')) {
      const status = type.slice('response.'.length);
      if (status === 'failed') this.fail();
      if (status === 'completed') this.#said(true, 'stop');
      else if (status === 'incomplete') {
        const response = event['response'];
        this.#said(true, isRecord(response) ? member(response, 'incomplete_details', 'reason') : undefined);
      } else this.#said(false, undefined);
    } else if (type === 'message_start') this.#said(false, undefined);
    else if (type === 'message_stop') this.#said(true, undefined);
    else if (type === 'message_delta') this.#said(false, member(event, 'delta', 'stop_reason'));
  }

  #said(ended: boolean, reason: unknown): void {
    this.#speaks = true;
    this.#ended ||= ended;
    const known = finishReasonOf(reason);
    if (known !== null) this.finish = known;
    else if (ended) this.finish ??= 'other';
  }
}

function member(event: Event, outer: string, inner: string): unknown {
  const value = event[outer];
  return isRecord(value) ? value[inner] : undefined;
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}
