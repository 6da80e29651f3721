import { UnreadableBody } from '../core/errors.ts';
import { strongerOf, type Treatment } from './body-rules.ts';
import type { PointerState } from './pointer-states.ts';
import type { ValueCover } from './value-masking.ts';

/** Each element of a BYTES tensor follows its length: 32 bits, little-endian. */
const ELEMENT_LENGTH_BYTES = 4;

/** One binary tensor after the JSON of Triton's binary extension, in file order. */
interface BinaryTensor {
  readonly bytes: number;
  readonly text: boolean;
  readonly treatment: Treatment | null;
}

/**
 * Masks Triton's binary tensors in place, by the rules for `/inputs/N/data` and `/outputs/N/data`. The
 * lengths inside BYTES tensors stay and their elements become words. Other types become zeros.
 * @param json the JSON before them, with each tensor's size
 * @throws UnreadableBody when the sizes do not add up to `binary`
 */
export function coverTensors(json: Buffer, binary: Buffer, root: PointerState, cover: ValueCover): void {
  let at = 0;
  for (const tensor of tensorsOf(json, root)) {
    const end = at + tensor.bytes;
    if (end > binary.length) throw new UnreadableBody('bad_tensors');
    if (tensor.treatment !== null && tensor.bytes > 0) {
      if (tensor.text) coverElements(binary, at, end, tensor.treatment, cover);
      else coverNumbers(binary, at, end, tensor.treatment, cover);
    }
    at = end;
  }
  if (at !== binary.length) throw new UnreadableBody('bad_tensors');
}

function tensorsOf(json: Buffer, root: PointerState): BinaryTensor[] {
  const document = parsed(json);
  return (['inputs', 'outputs'] as const).flatMap((side) => {
    const tensors = document[side];
    if (tensors === undefined) return [];
    if (!Array.isArray(tensors)) throw new UnreadableBody('bad_tensors');
    return tensors.flatMap((tensor: unknown, index) => {
      const bytes = binarySize(tensor);
      if (bytes === null) return [];
      const found = treatmentAt(root, [side, `${index}`, 'data']);
      const unlisted = found?.covering === 'mask_unlisted';
      const treatment = unlisted ? { ...found, name: `/${side}/*/data` } : found;
      return [{ bytes, text: member(tensor, 'datatype') === 'BYTES', treatment }];
    });
  });
}

/** The treatment of the value at a path, or of a value around it. */
export function treatmentAt(root: PointerState, path: readonly string[]): Treatment | null {
  let state = root;
  let treatment = state.treatment;
  for (const name of path) {
    state = state.member(name);
    treatment = strongerOf(treatment, state.treatment);
  }
  return treatment;
}

/** @throws UnreadableBody when the size is invalid */
function binarySize(tensor: unknown): number | null {
  const size = member(member(tensor, 'parameters'), 'binary_data_size');
  if (size === undefined) return null;
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw new UnreadableBody('bad_tensors');
  return size as number;
}

/** Masks the elements of a BYTES tensor. Their lengths stay. */
export function coverElements(
  binary: Buffer,
  from: number,
  to: number,
  treatment: Treatment,
  cover: ValueCover,
): void {
  let at = from;
  while (at < to) {
    const start = at + ELEMENT_LENGTH_BYTES;
    const end = start <= to ? start + binary.readUInt32LE(at) : to + 1;
    if (end > to) throw new UnreadableBody('bad_tensors');
    cover.string(binary, start, end, treatment, () => binary.subarray(start, end));
    at = end;
  }
}

/** Masks a tensor of any other type: with zeros. */
export function coverNumbers(
  binary: Buffer,
  from: number,
  to: number,
  treatment: Treatment,
  cover: ValueCover,
): void {
  if (treatment.covering === 'keep') return;
  cover.note(treatment);
  binary.fill(0, from, to);
}

function parsed(json: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // For any error, the tensors cannot be separated.
  }
  throw new UnreadableBody('not_json');
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
