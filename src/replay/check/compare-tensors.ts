import { UnreadableBody } from '../../core/errors.ts';
import { type AnswerCheck, mismatch } from '../../core/run.ts';
import type { PointerState } from '../../redaction/pointer-states.ts';
import type { CheckTolerance } from '../options/parsers.ts';
import { isNearFloat, type JsonComparison, pointerOf } from './compare-json.ts';
import { placeAt } from './compared-fields.ts';

/** One tensor whose elements are bytes, as in Triton's binary extension and in messages of gRPC. */
interface BinaryOutput {
  readonly place: readonly string[];
  readonly datatype: string;
  readonly from: number;
  readonly bytes: number;
}

/**
 * Compares the binary tensors of two answers: types and sizes and, if values count, floating-point elements within the
 * tolerance and all others byte by byte.
 * @param recorded the recorded JSON and the bytes after it; `answered` is the same for the new answer
 * @returns null if they are the same, and whether something was masked in the recorded answer
 * @throws UnreadableBody if the sizes in the recorded answer do not add up
 */
export function tensorDifference(
  recorded: { readonly head: unknown; readonly binary: Buffer },
  answered: { readonly head: unknown; readonly binary: Buffer },
  root: PointerState,
  comparison: JsonComparison,
): { readonly check: AnswerCheck | null; readonly masked: boolean } {
  const ours = { ...recorded, outputs: outputsOf(recorded.head) };
  const theirs = { ...answered, outputs: outputsOf(answered.head) };
  if (sizeOf(ours.outputs) !== recorded.binary.length) throw new UnreadableBody('bad_tensors');
  if (sizeOf(theirs.outputs) !== answered.binary.length) return { check: mismatch('length'), masked: false };
  return placedDifference(ours, theirs, root, comparison);
}

interface PlacedTensors {
  readonly outputs: readonly BinaryOutput[];
  readonly binary: Buffer;
}

/** Compares tensors that are at known places, in the same order on both sides. */
export function placedDifference(
  recorded: PlacedTensors,
  answered: PlacedTensors,
  root: PointerState,
  { values, tolerance }: JsonComparison,
): { readonly check: AnswerCheck | null; readonly masked: boolean } {
  const theirs = answered.outputs;
  if (recorded.outputs.length !== theirs.length) return { check: mismatch('length'), masked: false };
  let masked = false;
  for (const [at, one] of recorded.outputs.entries()) {
    const other = theirs[at] as BinaryOutput;
    const place = placeAt(root, one.place);
    masked ||= place === 'masked';
    if (place !== 'compared') continue;
    const pointer = pointerOf(one.place.map((step) => (/^\d+$/.test(step) ? Number(step) : step)));
    if (one.datatype !== other.datatype)
      return { check: mismatch('shape', pointer.replace(/\/data$/, '/datatype')), masked };
    if (one.bytes !== other.bytes) return { check: mismatch('length', pointer), masked };
    if (!values) continue;
    const [left, right] = [sliceOf(recorded.binary, one), sliceOf(answered.binary, other)];
    if (left.equals(right)) continue;
    const element = elementOf(one.datatype);
    const first = element === null ? 0 : firstDifference(left, right, element, tolerance);
    if (first !== null)
      return { check: mismatch('values', element === null ? pointer : `${pointer}/${first}`), masked };
  }
  return { check: null, masked };
}

/** @throws UnreadableBody if the document does not follow the protocol */
function outputsOf(document: unknown): BinaryOutput[] {
  const outputs = member(document, 'outputs');
  if (!Array.isArray(outputs)) throw new UnreadableBody('bad_tensors');
  const found: BinaryOutput[] = [];
  let from = 0;
  for (const [at, output] of outputs.entries()) {
    const bytes = member(member(output, 'parameters'), 'binary_data_size');
    if (bytes === undefined) continue;
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) throw new UnreadableBody('bad_tensors');
    const datatype = String(member(output, 'datatype'));
    found.push({ place: ['outputs', `${at}`, 'data'], datatype, from, bytes: bytes as number });
    from += bytes as number;
  }
  return found;
}

function sizeOf(outputs: readonly BinaryOutput[]): number {
  return outputs.reduce((sum, { bytes }) => sum + bytes, 0);
}

function sliceOf(binary: Buffer, { from, bytes }: BinaryOutput): Buffer {
  return binary.subarray(from, from + bytes);
}

/** How one element of a floating-point type is read; elements are little-endian. */
interface FloatElement {
  readonly bytes: number;
  read(binary: Buffer, at: number): number;
}

const FLOATS: Readonly<Record<string, FloatElement>> = {
  FP64: { bytes: 8, read: (binary, at) => binary.readDoubleLE(at) },
  FP32: { bytes: 4, read: (binary, at) => binary.readFloatLE(at) },
  FP16: { bytes: 2, read: (binary, at) => halfToNumber(binary.readUInt16LE(at)) },
  BF16: { bytes: 2, read: (binary, at) => brainToNumber(binary.readUInt16LE(at)) },
};

function elementOf(datatype: string): FloatElement | null {
  return Object.hasOwn(FLOATS, datatype) ? (FLOATS[datatype] ?? null) : null;
}

/** Number of the first different element; 0 if the bytes are no whole number of elements. */
function firstDifference(
  left: Buffer,
  right: Buffer,
  { bytes, read }: FloatElement,
  tolerance: CheckTolerance,
): number | null {
  if (left.length % bytes !== 0) return 0;
  for (let at = 0; at < left.length; at += bytes) {
    const [one, other] = [read(left, at), read(right, at)];
    // Whole numbers have a tolerance too, because a float may be a rounded whole number, such as 16777216.
    if (!isNearFloat(one, other, tolerance)) return at / bytes;
  }
  return null;
}

/** IEEE 754 half precision: 1 sign, 5 exponent, 10 fraction bits. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const BRAIN = new DataView(new ArrayBuffer(4));

/** The upper half of a single precision number. */
function brainToNumber(bits: number): number {
  BRAIN.setUint32(0, bits << 16);
  return BRAIN.getFloat32(0);
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
