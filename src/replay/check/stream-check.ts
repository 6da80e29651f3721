import {
  type AnswerCheck,
  type FinishReason,
  mismatch,
  SAME,
  type SendAnswer,
  unchecked,
} from '../../core/run.ts';
import type { PointerState } from '../../redaction/pointer-states.ts';
import { AnswerReader } from '../answers/read-answer.ts';
import { placeAt } from './places.ts';

/** What a stream is compared by. */
export type StreamFacts = Pick<SendAnswer, 'contentEvents' | 'outputTokens' | 'finish' | 'finishes'>;

/** Reads a whole stream as a sender reads one that comes; null for what is none. */
export function streamFactsOf(bytes: Uint8Array, contentType: string | null): StreamFacts | null {
  const reader = AnswerReader.of(
    200,
    { contentType, contentEncoding: null, hasLength: false },
    { counts: true, streams: true, ends: false, cancelAfterNs: null },
  );
  if (reader === null) return null;
  reader.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
  const { contentEvents, outputTokens, finish, finishes } = reader.finish();
  return { contentEvents, outputTokens, finish, finishes };
}

/** Whether two lengths are as near as was asked for: this share of the longer. */
export function isNearLength(recorded: number, answered: number, share: number): boolean {
  return Math.abs(recorded - answered) <= share * Math.max(recorded, answered);
}

/** Places at which servers say why they stopped. */
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

export interface StreamComparison {
  readonly lengthShare: number;
  /** Whether finish reasons are those of the model, and not of a request that we changed. */
  readonly finishes: boolean;
}

/** Compares two streams by why they ended and how long they are. */
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
  // What was dropped from recorded events leaves them without content.
  if (masked && !tokens && ours === 0 && theirs > 0) return unchecked('redacted');
  // Nothing of the two was held against each other.
  if (!reasonKnown && !tokens && ours === 0 && theirs === 0) return unchecked('unreadable');
  return isNearLength(ours, theirs, lengthShare) ? SAME : mismatch('length');
}

function endsOf({ finish, finishes }: StreamFacts): readonly (FinishReason | null)[] {
  return finishes ?? [finish];
}

/** Whether any choice ended for another reason than the recorded one says. */
export function differentEnds(
  recorded: readonly (FinishReason | null)[],
  answered: readonly (FinishReason | null)[],
): boolean {
  return recorded.some((reason, at) => reason !== null && reason !== (answered[at] ?? null));
}
