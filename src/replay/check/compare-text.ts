import type { FinishReason } from '../../core/exchange.ts';
import {
  asBuffer,
  isJsonObject,
  jsonMember,
  jsonNumber,
  jsonStart,
  jsonTrue,
} from '../../core/json-cursor.ts';
import { type AnswerCheck, mismatch, SAME, unchecked } from '../../core/run.ts';
import { isRecord } from '../../inference/stream-events.ts';
import type { PointerState } from '../../redaction/pointer-states.ts';
import { AnswerReader } from '../answers/read-answer.ts';
import { StreamEnd } from '../answers/stream-end.ts';
import { factsOf, type StreamFacts } from './answer-copy.ts';
import { placeAt } from './compared-fields.ts';

/** The only route of SageMaker and MLflow, for models of any kind. */
const ANY_MODEL = /\/invocations$/;

/** Whether only the answer itself shows that it is generated text. */
export function servesAnyModel(route: string | null): boolean {
  return route !== null && ANY_MODEL.test(route);
}

/** Whether a whole answer has the form of generated text. */
export function holdsGeneratedText(document: unknown): boolean {
  const answer: unknown = Array.isArray(document) ? document[0] : document;
  return (
    isRecord(answer) && (Array.isArray(answer['choices']) || typeof answer['generated_text'] === 'string')
  );
}

/** Request fields that set the randomness of the output. A temperature of 0 means no randomness. */
const TEMPERATURES = [['temperature'], ['options', 'temperature'], ['parameters', 'temperature']] as const;

/**
 * Whether a request asked for the likeliest text, so that a second answer must equal the first.
 * @param body the recorded body; null if it is unknown or unreadable
 */
export function asksForLikeliest(body: Uint8Array | null): boolean {
  if (body === null) return false;
  const root = jsonStart(body);
  if (!isJsonObject(body, root)) return false;
  if (jsonTrue(body, jsonMember(body, jsonMember(body, root, 'parameters'), 'do_sample'))) return false;
  return TEMPERATURES.some((path) => {
    const at = path.reduce((object, name) => (object < 0 ? -1 : jsonMember(body, object, name)), root);
    return jsonNumber(body, at) === 0;
  });
}

type Document = Readonly<Record<string, unknown>>;

/** The finish reason of each choice of a whole answer; null if the answer does not state it. */
export function finishesOf(document: unknown): readonly (FinishReason | null)[] {
  if (!isRecord(document)) return [null];
  const end = new StreamEnd(false);
  const { type, object, stop_reason: stop, status, details } = document;
  if (type === 'message') end.see({ type: 'message_delta', delta: { stop_reason: stop } });
  else if (object === 'response') end.see({ type: `response.${status}`, response: document });
  else if (isRecord(details)) end.see({ token: {}, generated_text: '', details });
  else end.see(document);
  return end.finishes ?? [end.finish];
}

/**
 * Compares the kinds of chat messages: tool calls, text or nothing. Returns a pointer to the first message that differs
 * in kind; null if there is none. The text itself is not compared, and a message with calls may also have text or null.
 * @param root ignored and masked places are not compared
 */
export function saidOtherwise(ours: unknown, theirs: unknown, root: PointerState): string | null {
  const others = messagesOf(theirs);
  for (const [at, message] of messagesOf(ours).entries()) {
    const placeOf = (name: string) => ['choices', `${at}`, 'message', name];
    const isCompared = (name: string) => placeAt(root, placeOf(name)) === 'compared';
    const [one, other] = [saidBy(message, isCompared), saidBy(others[at], isCompared)];
    if (one === null || other === null || one.kind === other.kind) continue;
    const { name } = KINDS_OF_SAYING.indexOf(one.kind) < KINDS_OF_SAYING.indexOf(other.kind) ? one : other;
    return `/${placeOf(name).join('/')}`;
  }
  return null;
}

/** Kinds of messages, the most informative first. */
const KINDS_OF_SAYING = ['calls', 'text', 'nothing'] as const;

/** The kind of a message, and the member that decides it. */
interface Saying {
  readonly kind: (typeof KINDS_OF_SAYING)[number];
  readonly name: string;
}

function messagesOf(document: unknown): unknown[] {
  const choices = isRecord(document) ? document['choices'] : null;
  return Array.isArray(choices) ? choices.map((choice) => (isRecord(choice) ? choice['message'] : null)) : [];
}

/** The kind of a message; null if the value is no message. */
function saidBy(message: unknown, isCompared: (name: string) => boolean): Saying | null {
  if (!isRecord(message)) return null;
  const says = (name: string): boolean => isCompared(name) && !isEmpty(message[name]);
  const call = ['tool_calls', 'function_call'].find(says);
  if (call !== undefined) return { kind: 'calls', name: call };
  const text = Object.keys(message).find((name) => name !== 'role' && says(name));
  return text === undefined ? { kind: 'nothing', name: 'content' } : { kind: 'text', name: text };
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === '') return true;
  return Array.isArray(value) && value.length === 0;
}

/** The outline of an answer with generated text: everything except the parts that differ between samples. */
export function outlineOf(document: unknown): unknown {
  if (!isRecord(document)) return document;
  const { choices } = document;
  const outline = membersOf(document, ENDINGS_OF_ANSWER);
  return choices === undefined ? outline : { ...outline, choices: outlines(choices) };
}

/**
 * Members with the stop word or other condition that ended an answer. They may be null in one sample and not in
 * another. `stop_reason` is not in the list for answers: there it is the finish reason and never null.
 */
const ENDINGS_OF_CHOICE: ReadonlySet<string> = new Set(['stop_reason', 'matched_stop']);
const ENDINGS_OF_ANSWER: ReadonlySet<string> = new Set([
  'stop_sequence',
  'stopping_word',
  'incomplete_details',
]);

function membersOf(document: Document, endings: ReadonlySet<string>): Document {
  return Object.fromEntries(
    Object.entries(document).map(([name, value]) => [name, endings.has(name) ? null : kindOf(value)]),
  );
}

function outlines(choices: unknown): unknown {
  return Array.isArray(choices)
    ? choices.map((choice) => (isRecord(choice) ? membersOf(choice, ENDINGS_OF_CHOICE) : kindOf(choice)))
    : kindOf(choices);
}

const KINDS: Readonly<Record<string, unknown>> = { string: '', number: 0, bigint: 0, boolean: true };

/** A fixed value of the same type. */
function kindOf(value: unknown): unknown {
  if (value === null) return null;
  if (Array.isArray(value)) return [];
  return typeof value === 'object' ? {} : (KINDS[typeof value] ?? null);
}

/** Reads a whole stream as a sender reads a live one; null if the body is not a stream. */
export function streamFactsOf(bytes: Uint8Array, contentType: string | null): StreamFacts | null {
  const reader = AnswerReader.of(
    200,
    { contentType, contentEncoding: null, hasLength: false },
    { counts: true, streams: true, ends: false, cancelAfterNs: null },
  );
  if (reader === null) return null;
  reader.write(asBuffer(bytes), 0);
  return factsOf(reader.finish());
}

/** Whether two lengths differ by at most this share of the longer one. */
export function isNearLength(recorded: number, answered: number, share: number): boolean {
  return Math.abs(recorded - answered) <= share * Math.max(recorded, answered);
}

/** Places of finish reasons in answers. */
const FINISHES = [
  ['choices', '0', 'finish_reason'],
  ['candidates', '0', 'finishReason'],
  ['delta', 'stop_reason'],
  ['stop_reason'],
  ['done_reason'],
  ['stop_type'],
  ['details', 'finish_reason'],
  ['type'],
  ['done'],
  ['status'],
] as const;

/** Whether the recorded reason may have been masked. */
export function finishMasked(root: PointerState): boolean {
  return FINISHES.some((path) => placeAt(root, path) === 'masked');
}

interface StreamComparison {
  readonly lengthShare: number;
  /** Whether finish reasons are those of the model, and not of a request that we changed. */
  readonly finishes: boolean;
}

/** Compares two streams by their finish reasons and lengths. */
export function streamCheck(
  recorded: StreamFacts,
  answered: StreamFacts,
  root: PointerState,
  masked: boolean,
  { lengthShare, finishes }: StreamComparison,
): AnswerCheck {
  const reasonKnown = finishes && recorded.finish !== null && !(masked && finishMasked(root));
  if (reasonKnown && differentEnds(endsOf(recorded), endsOf(answered))) return mismatch('finish');
  const tokens = recorded.outputTokens !== null && answered.outputTokens !== null;
  const [ours, theirs] = tokens
    ? [recorded.outputTokens ?? 0, answered.outputTokens ?? 0]
    : [recorded.contentEvents, answered.contentEvents];
  // The recorded events have no content, because redaction dropped it.
  if (masked && !tokens && ours === 0 && theirs > 0) return unchecked('redacted');
  // The two streams have nothing that could be compared.
  if (!reasonKnown && !tokens && ours === 0 && theirs === 0) return unchecked('unreadable');
  return isNearLength(ours, theirs, lengthShare) ? SAME : mismatch('length');
}

function endsOf({ finish, finishes }: StreamFacts): readonly (FinishReason | null)[] {
  return finishes ?? [finish];
}

/** Whether any choice has another finish reason than recorded. */
export function differentEnds(
  recorded: readonly (FinishReason | null)[],
  answered: readonly (FinishReason | null)[],
): boolean {
  return recorded.some((reason, at) => reason !== null && reason !== (answered[at] ?? null));
}
