import { member, type ReadableRequest } from './readable-request.ts';

/** Deeper nesting is not followed, more tensors are not told apart. */
const MAX_DEPTH = 8;
const MAX_TENSORS = 64;
const DATATYPES: ReadonlySet<string> = new Set([
  ...['BOOL', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64'],
  ...['FP16', 'FP32', 'FP64', 'BF16', 'BYTES', 'STRING', 'UTF8'],
]);

/**
 * Type and dimensions of the tensors a request brings, such as `FP32[8,3,224,224]`. Names of inputs are left out:
 * they are the caller's words.
 */
export function tensorShapes({ json }: ReadableRequest): string[] {
  const inputs = member(json, 'inputs');
  if (Array.isArray(inputs))
    return inputs.slice(0, MAX_TENSORS).flatMap((input: unknown) => shapeOfV2(input) ?? []);
  const instances = member(json, 'instances');
  if (Array.isArray(instances)) return [shapeOfNested(instances)];
  return inputs !== undefined && typeof inputs === 'object'
    ? Object.values(inputs ?? {})
        .slice(0, MAX_TENSORS)
        .map(shapeOfNested)
    : [];
}

/** Rows of the first tensor; null where it has none. */
export function batchOfShapes({ json }: ReadableRequest): number | null {
  const instances = member(json, 'instances');
  if (Array.isArray(instances)) return instances.length;
  const inputs = member(json, 'inputs');
  const shape = member(Array.isArray(inputs) ? inputs[0] : undefined, 'shape');
  const rows: unknown = Array.isArray(shape) ? shape[0] : undefined;
  return typeof rows === 'number' && Number.isSafeInteger(rows) && rows >= 0 ? rows : null;
}

function shapeOfV2(input: unknown): string | null {
  const datatype = member(input, 'datatype');
  const shape = member(input, 'shape');
  if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size))) return null;
  const type =
    typeof datatype === 'string' && DATATYPES.has(datatype.toUpperCase()) ? datatype.toUpperCase() : 'other';
  return `${type}[${shape.slice(0, MAX_DEPTH).join(',')}]`;
}

/** Lists within lists, as TensorFlow Serving has them: the first of each level stands for the others. */
function shapeOfNested(value: unknown): string {
  const sizes: number[] = [];
  let inner = value;
  while (Array.isArray(inner) && sizes.length < MAX_DEPTH) {
    sizes.push(inner.length);
    inner = inner[0];
  }
  const type = inner === null || inner === undefined ? 'empty' : typeof inner;
  return `${type}[${sizes.join(',')}]`;
}
