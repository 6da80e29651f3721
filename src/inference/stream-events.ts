const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const DATA = Buffer.from('data:');
const NAME = Buffer.from('event:');
const BYTE_ORDER_MARK = Buffer.from('\ufeff');

/** Longest event that is put together; of a longer one nothing is told. */
const EVENT_BYTES = 16 * 1024;
/** What is counted for a held piece beside its bytes, so that a stream that drips is not held for nothing. */
const PIECE_BYTES = 128;

/** How an answer comes piece by piece: as server-sent events, or as a JSON document a line. */
export type StreamForm = 'events' | 'lines';

/** @param name of the event, as its server calls it; empty where it has none, as a line of JSON */
type OnEvent = (data: string, name: string) => void;

/**
 * The data of a stream's events, out of pieces cut anywhere. Lines of events end in LF, CRLF or CR, those of JSON in
 * LF or CRLF. An event is told when its blank line came, a line when its end did. One without data is told where it
 * has a name, which alone may say what happened.
 */
export class EventData {
  readonly #form: StreamForm;
  readonly #onEvent: OnEvent;
  readonly #eventBytes: number;
  /** Of the line that is not complete. */
  #partial: Buffer[] = [];
  #data = '';
  #name = '';
  #heldBytes = 0;
  /** The event at hand is too long, and passed over to its end. */
  #passing = false;
  #passedOver = 0;
  #isFirstLine = true;
  /** The piece before ended in a CR, which a LF may belong to. */
  #mayEndInLf = false;

  /** @param eventBytes the longest event that is put together; twice as much is held at most */
  constructor(form: StreamForm, onEvent: OnEvent, eventBytes = EVENT_BYTES) {
    this.#form = form;
    this.#onEvent = onEvent;
    this.#eventBytes = eventBytes;
  }

  /** Events that were too long to be told. */
  get passedOver(): number {
    return this.#passedOver;
  }

  /** Most bytes that one of these holds. */
  static readonly heldBytes = 2 * EVENT_BYTES;

  /** Takes a piece; what must be kept of it is copied. */
  write(bytes: Buffer): void {
    let at = this.#form === 'events' ? this.#linesToLastCr(bytes) : 0;
    for (let end = bytes.indexOf(LF, at); end >= 0; end = bytes.indexOf(LF, at)) {
      this.#endLine(bytes.subarray(at, end));
      at = end + 1;
    }
    if (at < bytes.length && this.#mayHold(bytes.length - at + PIECE_BYTES))
      this.#partial.push(Buffer.from(bytes.subarray(at)));
  }

  /** The stream ended: a last line needs no line end, while an event without its blank line is none. */
  end(): void {
    if (this.#form === 'lines' && this.#partial.length > 0) this.#line(Buffer.concat(this.#partial));
    this.#partial = [];
  }

  /** Takes lines up to the last that ends in CR or CRLF; most servers send none. Returns where the next begins. */
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
 * Which event of a stream brings content: words, reasoning or the arguments of a tool, not a role, a start or a
 * sign of life. One function for the forms of all servers, because a stream does not say whose it is.
 */

/** What servers name the events by which they say that they are still there, whatever their data says. */
const SIGNS_OF_LIFE = new Set(['ping', 'heartbeat', 'keepalive']);

/** Whether an event of this name is no content, words as its data or not. */
export function isSignOfLife(name: string): boolean {
  return SIGNS_OF_LIFE.has(name);
}

/**
 * @param data of one event or line, whole
 * @param name of the event; empty where it has none
 */
export function bringsContent(data: string, name: string): boolean {
  const text = data.trim();
  if (name === ERROR_EVENT || isSignOfLife(name) || text === '' || text === '[DONE]') return false;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Words as they are, from a server of somebody's own.
    return true;
  }
  return holdsContent(value);
}

/** The same of an event that was parsed already. */
export function holdsContent(value: unknown): boolean {
  if (typeof value === 'string') return value !== '';
  if (!isRecord(value)) return value !== null;
  return contentOf(value) ?? Object.keys(value).length > 0;
}

/** Whether there is content in it, or null where it has no form that is known. */
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
  // Ollama's generate, Triton's generate, llama.cpp: what is there is text, or nothing yet.
  for (const name of ['response', 'text_output', 'content', 'text', 'thinking']) {
    if (name in event) return holdsText(event[name]) || (name === 'response' && isText(event['thinking']));
  }
  return null;
}

/** OpenAI's responses (`response.output_text.delta`) and Anthropic's messages (`content_block_delta`). */
function typedBringsContent(type: string, event: Readonly<Record<string, unknown>>): boolean {
  // What begins is a text, which has no words yet, or the call of a tool.
  const begun = BEGINNINGS.get(type);
  if (begun !== undefined) return callBegins(event[begun]);
  return /delta$/.test(type) && type !== 'message_delta' && holdsText(event['delta']);
}

/** Where an event has what begins with it. */
const BEGINNINGS = new Map([
  ['content_block_start', 'content_block'],
  ['response.output_item.added', 'item'],
]);

function choiceBringsContent(choice: unknown): boolean {
  if (!isRecord(choice)) return false;
  return isText(choice['text']) || holdsText(choice['delta']);
}

/** Names under which a delta carries what is not content. */
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

/** Whether a delta carries text that is neither a role nor an id; a tool's name is the beginning of its call. */
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

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The name of an event that tells of an error, whatever its data says. */
export const ERROR_EVENT = 'error';

/**
 * Whether an event says of itself that something failed: by its member `error`, which some servers put into every
 * event and leave empty, or by what it is (`type` of OpenAI and Anthropic, `object` of vLLM).
 */
export function tellsOfError({ error, type, object }: Readonly<Record<string, unknown>>): boolean {
  if (type === ERROR_EVENT || object === ERROR_EVENT) return true;
  return error !== undefined && error !== null && error !== '' && error !== false && error !== 0;
}
