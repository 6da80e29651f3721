import { UnreadableBody } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { type AnswerCheck, mismatch, SAME, unchecked } from '../../core/run.ts';
import { isJson } from '../../inference/features.ts';
import { usageIn } from '../../inference/token-usage.ts';
import type { PointerState } from '../../redaction/pointer-states.ts';
import type { CheckTolerance } from '../options/parsers.ts';
import { parseExactly } from './exact-json.ts';
import { finishesOf, holdsGeneratedText, outlineOf, saidOtherwise } from './generated.ts';
import { jsonDifference } from './json-difference.ts';
import { mediaTypeOf, type ReadableAnswer } from './readable-answer.ts';
import { differentEnds, finishMasked, isNearLength } from './stream-check.ts';
import { tensorDifference } from './tensor-difference.ts';

/** How two whole answers are compared. */
export interface DocumentComparison {
  readonly root: PointerState;
  /** Pointers of rules that masked something in the recorded one. */
  readonly masked: readonly string[];
  readonly values: boolean;
  readonly tolerance: CheckTolerance;
  /** Of generated text: one of many that would be right, or the likeliest; null of everything else. */
  readonly text: 'sampled' | 'likeliest' | null;
  /** It is generated text only where the recorded one says so itself. */
  readonly anyModel: boolean;
  readonly finishes: boolean;
}

/**
 * Compares two answers that came whole: JSON member by member, JSON with binary tensors, everything else byte by
 * byte.
 * @throws UnreadableBody where the recorded one cannot be read
 */
export function documentCheck(
  recorded: ReadableAnswer,
  answered: ReadableAnswer,
  comparison: DocumentComparison,
): AnswerCheck {
  if (mediaTypeOf(recorded.contentType) !== mediaTypeOf(answered.contentType)) return mismatch('shape');
  if (recorded.jsonBytes !== null || answered.jsonBytes !== null)
    return tensorsCheck(recorded, answered, comparison);
  if (!isJson(recorded.contentType) && !looksLikeJson(recorded.bytes))
    return bytesCheck(recorded, answered, comparison);
  const ours = parsed(recorded.bytes);
  if (ours === undefined) return bytesCheck(recorded, answered, comparison, 'unreadable');
  const theirs = parsed(answered.bytes);
  if (theirs === undefined) return mismatch('shape');
  const text = comparison.anyModel && !holdsGeneratedText(ours) ? null : comparison.text;
  if (text === 'sampled') return sampledCheck(ours, theirs, recorded, answered, comparison);
  const check = jsonCheck(ours, theirs, comparison);
  const ended = text === 'likeliest' && check.result === 'mismatch' && check.kind === 'values';
  return ended && endedOtherwise(ours, theirs, comparison) ? mismatch('finish') : check;
}

/** Whether the two say that they ended for different reasons. */
function endedOtherwise(
  ours: unknown,
  theirs: unknown,
  { finishes, masked, root }: DocumentComparison,
): boolean {
  if (!finishes || (masked.length > 0 && finishMasked(root))) return false;
  return differentEnds(finishesOf(ours), finishesOf(theirs));
}

function jsonCheck(
  ours: unknown,
  theirs: unknown,
  { root, values, tolerance }: DocumentComparison,
): AnswerCheck {
  const { kind, pointer, masked } = jsonDifference(ours, theirs, root, { values, tolerance });
  if (kind !== null) return mismatch(kind, pointer);
  return masked && values ? unchecked('redacted') : SAME;
}

/** Generated text: its outside, why it ended, and how long it is. What was masked is compared by none of that. */
function sampledCheck(
  ours: unknown,
  theirs: unknown,
  recorded: ReadableAnswer,
  answered: ReadableAnswer,
  comparison: DocumentComparison,
): AnswerCheck {
  const { root, values, tolerance } = comparison;
  const outline = jsonDifference(outlineOf(ours), outlineOf(theirs), root, { values: false, tolerance });
  if (outline.kind !== null) return mismatch('shape', outline.pointer);
  if (!values) return SAME;
  if (endedOtherwise(ours, theirs, comparison)) return mismatch('finish');
  const said = saidOtherwise(ours, theirs, root);
  if (said !== null) return mismatch('shape', said);
  const tokens = [usageIn(recorded.bytes).outputTokens, usageIn(answered.bytes).outputTokens] as const;
  const [one, other] =
    tokens[0] !== null && tokens[1] !== null
      ? [tokens[0], tokens[1]]
      : [recorded.bytes.length, answered.bytes.length];
  return isNearLength(one, other, tolerance.lengthShare) ? SAME : mismatch('length');
}

function tensorsCheck(
  recorded: ReadableAnswer,
  answered: ReadableAnswer,
  comparison: DocumentComparison,
): AnswerCheck {
  if (recorded.jsonBytes === null || answered.jsonBytes === null) return mismatch('shape');
  const ours = splitAt(recorded.bytes, recorded.jsonBytes);
  const theirs = splitAt(answered.bytes, answered.jsonBytes);
  if (ours === null) throw new UnreadableBody('bad_tensors');
  if (theirs === null) return mismatch('shape');
  const { root, values, tolerance } = comparison;
  const head = jsonDifference(ours.head, theirs.head, root, { values: false, tolerance });
  if (head.kind !== null) return mismatch('shape', head.pointer);
  const tensors = tensorDifference(ours, theirs, root, { values, tolerance });
  if (tensors.check !== null) return tensors.check;
  if (!values) return SAME;
  const rest = jsonCheck(ours.head, theirs.head, comparison);
  return rest.result === 'same' && tensors.masked ? unchecked('redacted') : rest;
}

/** @param otherwise why it counts as unchecked where bytes differ that were to be read */
function bytesCheck(
  recorded: ReadableAnswer,
  answered: ReadableAnswer,
  { values, masked }: DocumentComparison,
  otherwise: 'unreadable' | null = null,
): AnswerCheck {
  if (Buffer.compare(recorded.bytes, answered.bytes) === 0) return SAME;
  if (otherwise !== null) return unchecked(otherwise);
  if (!values) return SAME;
  if (masked.length > 0) return unchecked('redacted');
  return mismatch(recorded.bytes.length === answered.bytes.length ? 'values' : 'length');
}

function splitAt(bytes: Uint8Array, at: number): { head: unknown; binary: Buffer } | null {
  if (at > bytes.length) return null;
  const head = parsed(bytes.subarray(0, at));
  return head === undefined ? null : { head, binary: bufferOf(bytes.subarray(at)) };
}

/** Model servers take and give JSON under any type. */
function looksLikeJson(bytes: Uint8Array): boolean {
  return /^\s*[[{]/.test(bufferOf(bytes).toString('latin1', 0, 64));
}

/**
 * The document, or undefined for what is no JSON.
 * @throws UnreadableBody for more than is parsed
 */
function parsed(bytes: Uint8Array): unknown {
  if (bytes.length > LIMITS.checkedAnswerBytes) throw new UnreadableBody('too_large');
  try {
    return parseExactly(bufferOf(bytes).toString('utf8'));
  } catch {
    // Its text tells nothing that may be told.
    return undefined;
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
