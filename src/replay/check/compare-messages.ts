import { UnreadableBody } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { type AnswerCheck, mismatch, SAME, unchecked } from '../../core/run.ts';
import { grpcMessagesOf } from '../../inference/grpc.ts';
import { plainMessage } from '../../inference/protobuf/call-facts.ts';
import { knownCall } from '../../inference/protobuf/known-services.ts';
import { type MessageValues, messageValues } from '../../inference/protobuf/message-values.ts';
import type { PointerState } from '../../redaction/pointer-states.ts';
import type { CheckTolerance } from '../options/parsers.ts';
import { jsonDifference } from './compare-json.ts';
import { placedDifference } from './compare-tensors.ts';
import { isNearLength } from './compare-text.ts';

/** The body of an answer to a gRPC call. */
export interface CallAnswer {
  readonly bytes: Uint8Array;
  /** `grpc-encoding` */
  readonly coding: string | null;
}

interface MessageComparison {
  readonly root: PointerState;
  /** Whether something was masked in the recorded answer. Then only the form of messages is compared. */
  readonly masked: boolean;
  readonly values: boolean;
  readonly tolerance: CheckTolerance;
  /** A stream may have another number of messages, within the tolerance for lengths. */
  readonly streamed: boolean;
}

/**
 * Compares two answers to a gRPC call message by message: as the values that the same API has over HTTP, or byte by
 * byte for a call whose messages are not known. Bytes that differ there may have the same meaning.
 * @param path or a route that ends with it
 * @throws UnreadableBody if the recorded answer cannot be read
 */
export function messagesCheck(
  path: string,
  recorded: CallAnswer,
  answered: CallAnswer,
  how: MessageComparison,
): AnswerCheck {
  const ours = messagesIn(recorded);
  if (ours === null) throw new UnreadableBody('not_protobuf');
  const theirs = messagesIn(answered);
  if (theirs === null) return mismatch('shape');
  const { streamed, tolerance, values } = how;
  const isNear = streamed && isNearLength(ours.length, theirs.length, tolerance.lengthShare);
  const isAsLong = isNear || (streamed && !values);
  if (ours.length !== theirs.length && !isAsLong) return mismatch('length');
  const type = knownCall(path)?.response ?? null;
  for (const [at, one] of ours.slice(0, theirs.length).entries()) {
    const other = theirs[at] as Buffer;
    if (one.equals(other)) continue;
    if (type === null) return values ? unchecked('unreadable') : SAME;
    const read = valuesOrNull(() => messageValues(type, other));
    const check =
      read === null ? mismatch('shape') : valuesCheck(messageValues(type, one), one, read, other, how);
    if (check === null) continue;
    const isOne = ours.length === 1 || check.result !== 'mismatch' || check.pointer === null;
    return isOne ? check : { ...check, pointer: `/${at}${check.pointer}` };
  }
  return how.masked && values ? unchecked('redacted') : SAME;
}

/** The messages without their compression; null if one cannot be read. */
function messagesIn({ bytes, coding }: CallAnswer): Buffer[] | null {
  const { messages, end } = grpcMessagesOf(bytes, LIMITS.chunkTimesPerBody);
  if (end !== 'whole') return null;
  const plain = messages.map(({ compressed, from, to }) =>
    plainMessage(bytes.subarray(from, to), compressed, coding),
  );
  return plain.every((each) => each !== null) ? plain : null;
}

/** Null if it is no message of its type, so that no client can read it either. */
function valuesOrNull(read: () => MessageValues): MessageValues | null {
  try {
    return read();
  } catch (thrown) {
    if (thrown instanceof UnreadableBody) return null;
    throw thrown;
  }
}

/** @returns null if they are the same */
function valuesCheck(
  ours: MessageValues,
  one: Buffer,
  theirs: MessageValues,
  other: Buffer,
  { root, masked, values, tolerance }: MessageComparison,
): AnswerCheck | null {
  const isOfValues = values && !masked;
  const shape = jsonDifference(ours.head, theirs.head, root, { values: false, tolerance });
  if (shape.kind !== null) return mismatch('shape', shape.pointer);
  const tensors = placedDifference(
    { outputs: ours.tensors, binary: one },
    { outputs: theirs.tensors, binary: other },
    root,
    { values: isOfValues, tolerance },
  );
  if (tensors.check !== null || !isOfValues) return tensors.check;
  const { kind, pointer } = jsonDifference(ours.head, theirs.head, root, { values, tolerance });
  return kind === null ? null : mismatch(kind, pointer);
}
