import { ERROR_EVENT, tellsOfError } from './stream-error.ts';

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
