import { UnreadableBody } from '../../../core/errors.ts';
import { boundaryOf, partsOf } from '../../../core/multipart.ts';
import { type ImageHeader, imageHeader } from './image-header.ts';
import { member, type ReadableRequest } from './readable-request.ts';

/** A picture that a request brings. */
export interface FoundImage {
  /** Null where only its address was sent. */
  readonly bytes: number | null;
  readonly header: ImageHeader | null;
}

/** What a form brings. */
export interface FormFigures {
  readonly parts: number;
  readonly partBytes: readonly number[];
}

const MAX_IMAGES = 1_000;
const MAX_VALUES = 100_000;
const MAX_DEPTH = 12;
/** A picture's header lies within so many bytes, metadata of a camera included, mostly. */
const HEADER_BYTES = 64 * 1024;
const LEAST_BASE64 = 64;
const DATA_URL = /^data:image\/[a-z0-9.+-]{1,40};base64,/i;
/** How base64 of PNG, JPEG, GIF, WebP and BMP begins. */
const ENCODED_IMAGE = /^(?:iVBORw0KGgo|\/9j\/|_9j_|R0lGOD|UklGR|Qk[0-3])/;

/** The pictures of a request: in JSON as base64 or by address, in a form, in a BYTES tensor, or as the body. */
export function imagesOf(request: ReadableRequest): FoundImage[] {
  const { json, tensors, body, mediaType } = request;
  if (mediaType === 'multipart/form-data') return formParts(request).flatMap(imageIn);
  if (json === undefined) return imageIn(body);
  const found: FoundImage[] = [];
  walk(json, found, { values: 0 }, 0);
  if (tensors !== null) found.push(...imagesInTensors(json, tensors));
  return found.slice(0, MAX_IMAGES);
}

/** Parts of a form and their sizes; null where the request is none, or cannot be taken apart. */
export function formOf(request: ReadableRequest): FormFigures | null {
  if (request.mediaType !== 'multipart/form-data') return null;
  const parts = formParts(request);
  return parts.length === 0 ? null : { parts: parts.length, partBytes: parts.map(({ length }) => length) };
}

function formParts({ body, contentType }: ReadableRequest): Buffer[] {
  try {
    return partsOf(body, boundaryOf(contentType)).map(({ from, to }) => body.subarray(from, to));
  } catch (error) {
    if (!(error instanceof UnreadableBody)) throw error;
    return [];
  }
}

function imageIn(bytes: Buffer): FoundImage[] {
  const header = imageHeader(bytes);
  return header === null ? [] : [{ bytes: bytes.length, header }];
}

function walk(value: unknown, found: FoundImage[], seen: { values: number }, depth: number): void {
  seen.values += 1;
  if (depth > MAX_DEPTH || seen.values > MAX_VALUES || found.length >= MAX_IMAGES) return;
  if (typeof value === 'string') {
    const image = encodedImage(value);
    if (image !== null) found.push(image);
  } else if (Array.isArray(value)) {
    // Numbers are the bulk of a tensor, and none of them is a picture.
    if (typeof value[0] !== 'number') for (const each of value) walk(each, found, seen, depth + 1);
  } else if (typeof value === 'object' && value !== null) {
    if (isAddress(value)) found.push({ bytes: null, header: null });
    for (const each of Object.values(value)) walk(each, found, seen, depth + 1);
  }
}

/** A part of a message that names a picture elsewhere. */
function isAddress(part: object): boolean {
  const image = member(part, 'image_url');
  const address =
    typeof image === 'string' ? image : (member(image, 'url') ?? member(member(part, 'source'), 'url'));
  return typeof address === 'string' && /^https?:\/\//i.test(address);
}

function encodedImage(text: string): FoundImage | null {
  const prefix = DATA_URL.exec(text)?.[0].length ?? 0;
  if (prefix === 0 && (text.length < LEAST_BASE64 || !ENCODED_IMAGE.test(text))) return null;
  const header = imageHeader(
    Buffer.from(text.slice(prefix, prefix + Math.ceil((HEADER_BYTES * 4) / 3)), 'base64'),
  );
  if (prefix === 0 && header === null) return null;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  return { bytes: Math.max(0, Math.floor(((text.length - prefix) * 3) / 4) - padding), header };
}

/** Elements of BYTES tensors behind the JSON, each preceded by its length. */
function imagesInTensors(json: unknown, tensors: Buffer): FoundImage[] {
  const inputs = member(json, 'inputs');
  const found: FoundImage[] = [];
  let at = 0;
  for (const input of Array.isArray(inputs) ? inputs : []) {
    const size = member(member(input, 'parameters'), 'binary_data_size');
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) continue;
    const end = Math.min(tensors.length, at + size);
    if (member(input, 'datatype') === 'BYTES') {
      for (let next = at; next + 4 <= end && found.length < MAX_IMAGES; ) {
        const length = tensors.readUInt32LE(next);
        found.push(...imageIn(tensors.subarray(next + 4, Math.min(end, next + 4 + length))));
        next += 4 + length;
      }
    }
    at = end;
  }
  return found;
}
