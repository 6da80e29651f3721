import type { FinishReason } from '../core/run.ts';

/** The servers' words for why they stopped, in ours. */
const FINISHES: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  STOP: 'stop',
  eos: 'stop',
  eos_token: 'stop',
  end_turn: 'stop',
  stop_sequence: 'stop',
  word: 'stop',
  length: 'length',
  limit: 'length',
  max_tokens: 'length',
  MAX_TOKENS: 'length',
  max_output_tokens: 'length',
  tool_calls: 'tool_calls',
  function_call: 'tool_calls',
  tool_use: 'tool_calls',
  content_filter: 'content_filter',
  refusal: 'content_filter',
  SAFETY: 'content_filter',
};

type Event = Readonly<Record<string, unknown>>;

/** What comes last in a stream of OpenAI's chat and completions. */
const DONE = '[DONE]';

/**
 * Whether a stream was finished or only stopped coming: a server that dies behind a proxy ends its message in
 * good order. One set of rules for the forms of all servers, because a stream does not say whose it is.
 */
export class StreamEnd {
  /** In a form whose streams say when they are finished. */
  #speaks: boolean;
  #ended = false;
  #failed = false;
  finish: FinishReason | null = null;

  /** @param speaks whether the protocol of the request promises an end, even before an event came */
  constructor(speaks: boolean) {
    this.#speaks = speaks;
  }

  /** Whether the message, which is over, was a stream that broke: the server said so, or never said the end. */
  get broken(): boolean {
    return this.#failed || (this.#speaks && !this.#ended);
  }

  /** Whether the server told of an error within the stream. */
  get failed(): boolean {
    return this.#failed;
  }

  /** @param data of one event or line; returns whether it is the mark of an end, and nothing else */
  seeText(data: string): boolean {
    if (data.trim() !== DONE) return false;
    this.#speaks = true;
    this.#ended = true;
    return true;
  }

  /** @param event what was parsed of it */
  see(event: unknown): void {
    if (!isRecord(event)) return;
    const { error, type, choices, candidates, token, done, stop } = event;
    if ((error !== undefined && error !== null && error !== '') || type === 'error') this.#failed = true;
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
    for (const part of parts) if (isRecord(part) && isText(part[name])) this.#said(true, part[name]);
  }

  /** OpenAI's responses and Anthropic's messages name their events. */
  #typed(type: string, event: Event): void {
    if (type.startsWith('response.')) {
      const status = type.slice('response.'.length);
      if (status === 'failed') this.#failed = true;
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
    if (typeof reason === 'string' && reason !== '')
      this.finish = Object.hasOwn(FINISHES, reason) ? (FINISHES[reason] ?? 'other') : 'other';
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

function isRecord(value: unknown): value is Event {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
