import { ASCII } from '../core/ascii.ts';

const { LF, CR, COLON, SPACE } = ASCII;
const DATA = Buffer.from('data:');
const NAME = Buffer.from('event:');
const BYTE_ORDER_MARK = Buffer.from('\ufeff');

/** Longest event that is assembled; longer ones are skipped. */
const EVENT_BYTES = 16 * 1024;
/** Memory counted per held piece besides its bytes, for streams in tiny pieces. */
const PIECE_BYTES = 128;

/** The form of a streamed answer: server-sent events, or one JSON document per line. */
export type StreamForm = 'events' | 'lines';

/** @param name the event's name; empty if it has none, as for a line of JSON */
type OnEvent = (data: string, name: string) => void;

/**
 * Extracts the data of a stream's events from arbitrary pieces. Lines of events end in LF, CRLF or CR, JSON
 * lines in LF or CRLF. An event is reported at its blank line, a JSON line at its end. An event without data
 * is reported only if it has a name.
 */
export class EventData {
  readonly #form: StreamForm;
  readonly #onEvent: OnEvent;
  readonly #eventBytes: number;
  /** Pieces of the incomplete line. */
  #partial: Buffer[] = [];
  #data = '';
  #name = '';
  #heldBytes = 0;
  /** The current event is too long and is skipped to its end. */
  #passing = false;
  #passedOver = 0;
  #isFirstLine = true;
  /** The previous piece ended in a CR that may be part of a CRLF. */
  #mayEndInLf = false;

  /** @param eventBytes longest event that is assembled; at most twice this is held */
  constructor(form: StreamForm, onEvent: OnEvent, eventBytes = EVENT_BYTES) {
    this.#form = form;
    this.#onEvent = onEvent;
    this.#eventBytes = eventBytes;
  }

  /** Number of events skipped for their length. */
  get passedOver(): number {
    return this.#passedOver;
  }

  /** Upper bound of the memory of one instance. */
  static readonly heldBytes = 2 * EVENT_BYTES;

  /** Takes a piece; what must be kept is copied. */
  write(bytes: Buffer): void {
    let at = this.#form === 'events' ? this.#linesToLastCr(bytes) : 0;
    for (let end = bytes.indexOf(LF, at); end >= 0; end = bytes.indexOf(LF, at)) {
      this.#endLine(bytes.subarray(at, end));
      at = end + 1;
    }
    if (at < bytes.length && this.#mayHold(bytes.length - at + PIECE_BYTES))
      this.#partial.push(Buffer.from(bytes.subarray(at)));
  }

  /** The stream ended: a last line needs no line end, but an event without its blank line does not count. */
  end(): void {
    if (this.#form === 'lines' && this.#partial.length > 0) this.#line(Buffer.concat(this.#partial));
    this.#partial = [];
  }

  /**
   * Reads lines up to the last one that ends in CR or CRLF, which most servers do not send. Returns the start
   * of the next line.
   */
  #linesToLastCr(bytes: Buffer): number {
    let at = this.#mayEndInLf && bytes[0] === LF ? 1 : 0;
    if (bytes.length > 0) this.#mayEndInLf = false;
    let lf = -1;
    for (let cr = nextOrEnd(bytes, CR, at); cr < bytes.length; ) {
      if (lf < at) lf = nextOrEnd(bytes, LF, at);
      const end = Math.min(cr, lf);
      this.#endLine(bytes.subarray(at, end));
      at = end + 1;
      if (end === lf) continue;
      this.#mayEndInLf = at === bytes.length;
      if (bytes[at] === LF) at += 1;
      cr = nextOrEnd(bytes, CR, at);
    }
    return at;
  }

  #endLine(rest: Buffer): void {
    this.#line(this.#partial.length === 0 ? rest : Buffer.concat([...this.#partial, rest]));
    this.#partial = [];
  }

  #line(whole: Buffer): void {
    const text = whole.at(-1) === CR ? whole.subarray(0, -1) : whole;
    const line =
      this.#isFirstLine && startsWith(text, BYTE_ORDER_MARK) ? text.subarray(BYTE_ORDER_MARK.length) : text;
    this.#isFirstLine = false;
    if (this.#form === 'lines') {
      const isLong = line.length > this.#eventBytes;
      if (isLong && !this.#passing) this.#passedOver += 1;
      if (line.length > 0 && !this.#passing && !isLong) this.#onEvent(line.toString('utf8'), '');
      this.#forget();
    } else if (line.length === 0) {
      const data = this.#data;
      const name = this.#name;
      this.#forget();
      if (data !== '' || name !== '') this.#onEvent(data, name);
    } else if (isField(line, DATA) && this.#mayHold(line.length)) {
      const data = fieldValue(line, DATA);
      this.#data = this.#data === '' ? data : `${this.#data}\n${data}`;
    } else if (isField(line, NAME) && this.#mayHold(line.length)) this.#name = fieldValue(line, NAME);
  }

  #mayHold(bytes: number): boolean {
    this.#heldBytes += bytes;
    if (this.#heldBytes <= 2 * this.#eventBytes) return !this.#passing;
    if (!this.#passing) this.#passedOver += 1;
    this.#passing = true;
    this.#partial = [];
    this.#data = '';
    this.#name = '';
    return false;
  }

  #forget(): void {
    this.#passing = false;
    this.#heldBytes = 0;
    this.#data = '';
    this.#name = '';
  }
}

function nextOrEnd(bytes: Buffer, byte: number, at: number): number {
  const next = bytes.indexOf(byte, at);
  return next < 0 ? bytes.length : next;
}

function isField(line: Buffer, field: Buffer): boolean {
  return line[field.length - 1] === COLON && startsWith(line, field);
}

function fieldValue(line: Buffer, { length }: Buffer): string {
  return line.toString('utf8', length + (line[length] === SPACE ? 1 : 0));
}

function startsWith(line: Buffer, bytes: Buffer): boolean {
  return line.subarray(0, bytes.length).equals(bytes);
}

/**
 * Whether an event of a stream has content: words, reasoning or tool arguments. A role, a start or a
 * keep-alive is no content. One function for all servers, because a stream does not identify its server.
 */

/** Names of keep-alive events, with any data. */
const SIGNS_OF_LIFE = new Set(['ping', 'heartbeat', 'keepalive']);

/** Whether an event with this name is a keep-alive, with any data. */
export function isSignOfLife(name: string): boolean {
  return SIGNS_OF_LIFE.has(name);
}

/**
 * @param data of one complete event or line
 * @param name of the event; empty if it has none
 */
export function bringsContent(data: string, name: string): boolean {
  const text = data.trim();
  if (name === ERROR_EVENT || isSignOfLife(name) || text === '' || text === '[DONE]') return false;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Plain text from a custom server.
    return true;
  }
  return holdsContent(value);
}

/** The same for a parsed event. */
export function holdsContent(value: unknown): boolean {
  if (typeof value === 'string') return value !== '';
  if (!isRecord(value)) return value !== null;
  return contentOf(value) ?? Object.keys(value).length > 0;
}

/** Whether it has content; null for an unknown form. */
function contentOf(event: Readonly<Record<string, unknown>>): boolean | null {
  const { choices, type, token, message, candidates } = event;
  if (tellsOfError(event)) return false;
  // OpenAI's chat and completions.
  if (Array.isArray(choices)) return choices.some(choiceBringsContent);
  if (typeof type === 'string') return typedBringsContent(type, event);
  // TGI.
  if (isRecord(token)) return isText(token['text']);
  // Ollama's chat.
  if (isRecord(message)) return holdsText(message);
  // Gemini.
  if (Array.isArray(candidates))
    return candidates.some((candidate) => isRecord(candidate) && holdsText(candidate['content']));
  // Ollama's generate, Triton's generate, llama.cpp: text, possibly empty.
  for (const name of ['response', 'text_output', 'content', 'text', 'thinking']) {
    if (name in event) return holdsText(event[name]) || (name === 'response' && isText(event['thinking']));
  }
  return null;
}

/** Whether a whole answer has a result; true for an unknown form. */
export function holdsResult(answer: Readonly<Record<string, unknown>>): boolean {
  const { choices, candidates, content, outputs, predictions, data } = answer;
  if (Array.isArray(choices)) {
    return choices.some(
      (choice) => isRecord(choice) && (isText(choice['text']) || holdsText(choice['message'])),
    );
  }
  if (Array.isArray(candidates)) return contentOf(answer) === true;
  // Anthropic. Blocks of another type are calls of tools.
  if (Array.isArray(content)) {
    return content.some((block) => !isRecord(block) || block['type'] !== 'text' || isText(block['text']));
  }
  return !isNulls(outputs ?? predictions ?? data);
}

/** Nothing but nulls: of V1, of V2, or as embeddings. A list may be empty on purpose, because nothing was found. */
function isNulls(value: unknown, depth = 0): boolean {
  if (value === null) return true;
  if (depth > DEPTH) return false;
  if (Array.isArray(value)) return value.length > 0 && value.every((each) => isNulls(each, depth + 1));
  return isRecord(value) && isNulls('data' in value ? value['data'] : value['embedding'], depth + 1);
}

/** OpenAI's responses (`response.output_text.delta`) and Anthropic's messages (`content_block_delta`). */
function typedBringsContent(type: string, event: Readonly<Record<string, unknown>>): boolean {
  // The start of a text has no words yet. The start of a tool call has content.
  const begun = BEGINNINGS.get(type);
  if (begun !== undefined) return callBegins(event[begun]);
  return /delta$/.test(type) && type !== 'message_delta' && holdsText(event['delta']);
}

/** The member with the starting item, by type of event. */
const BEGINNINGS = new Map([
  ['content_block_start', 'content_block'],
  ['response.output_item.added', 'item'],
]);

function choiceBringsContent(choice: unknown): boolean {
  if (!isRecord(choice)) return false;
  return isText(choice['text']) || holdsText(choice['delta']);
}

/** Members of a delta that are no content. */
const NO_CONTENT = new Set([
  'role',
  'id',
  'type',
  'index',
  'name',
  'finish_reason',
  'signature',
  'images',
  'status',
]);
const DEPTH = 6;

/** Whether a delta has text that is neither a role nor an id. A tool's name starts its call, so it counts. */
function holdsText(delta: unknown, depth = 0): boolean {
  if (isText(delta)) return true;
  if (depth > DEPTH) return false;
  if (Array.isArray(delta)) return delta.some((part) => holdsText(part, depth + 1));
  if (!isRecord(delta)) return false;
  return Object.keys(delta).some((name) =>
    name === 'function' || name === 'function_call'
      ? callBegins(delta[name])
      : !NO_CONTENT.has(name) && holdsText(delta[name], depth + 1),
  );
}

function callBegins(call: unknown): boolean {
  return isRecord(call) && (isText(call['name']) || isText(call['arguments']) || isRecord(call['arguments']));
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

/** Whether this is an object of JSON, not a list. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The name of error events, with any data. */
export const ERROR_EVENT = 'error';

/**
 * Whether an event reports an error. Either its member `error` is not empty (some servers always send it), or
 * its kind says so (`type` of OpenAI and Anthropic, `object` of vLLM).
 */
export function tellsOfError({ error, type, object }: Readonly<Record<string, unknown>>): boolean {
  if (type === ERROR_EVENT || object === ERROR_EVENT) return true;
  return error !== undefined && error !== null && error !== '' && error !== false && error !== 0;
}

/** The same for an event that is not parsed yet. */
export function eventTellsOfError(data: string, name: string): boolean {
  if (name === ERROR_EVENT) return true;
  if (!data.includes(ERROR_EVENT)) return false;
  try {
    const value: unknown = JSON.parse(data);
    return isRecord(value) && tellsOfError(value);
  } catch {
    return false;
  }
}
