import type { PayloadKind } from '../../../documents/profile.ts';
import { type PayloadApi, payloadApiOf } from '../../../inference/features.ts';
import type { ReadableRequest } from './readable-request.ts';

const OPENAI: readonly (readonly [RegExp, PayloadKind])[] = [
  [/\/chat\/completions$/, 'openai chat'],
  [/\/completions$/, 'openai completions'],
  [/\/embeddings$/, 'openai embeddings'],
  [/\/responses$/, 'openai responses'],
  [/\/audio\/[a-z]+$/, 'openai audio'],
  [/\/images\/[a-z]+$/, 'openai images'],
];

/** Routes whose answer is remembered. */
const REMEMBERED = 1_024;
const known = new Map<string, PayloadApi | null>();

export function kindOf(request: ReadableRequest): PayloadKind {
  const route = request.row.route ?? '';
  const api = apiOf(route);
  if (api === 'openai') return OPENAI.find(([ending]) => ending.test(route))?.[1] ?? 'openai other';
  if (api === 'anthropic') return 'anthropic messages';
  if (api === 'ollama' || api === 'generate') return api;
  if (api === 'v1') return 'v1 predict';
  if (api === 'v2') return request.tensors === null && request.json !== undefined ? 'v2 JSON' : 'v2 binary';
  return kindOfType(request);
}

function apiOf(route: string): PayloadApi | null {
  let api = known.get(route);
  if (api === undefined) {
    api = payloadApiOf({ route, model: null });
    if (known.size >= REMEMBERED) known.clear();
    known.set(route, api);
  }
  return api;
}

function kindOfType({ mediaType, json, body }: ReadableRequest): PayloadKind {
  if (body.length === 0) return 'no body';
  if (mediaType === 'multipart/form-data') return 'multipart form';
  if (mediaType.startsWith('image/')) return 'image';
  if (mediaType.startsWith('audio/')) return 'audio';
  if (json !== undefined) return 'other JSON';
  if (mediaType === 'text/csv') return 'CSV';
  return mediaType.startsWith('text/') || mediaType === 'application/x-www-form-urlencoded'
    ? 'other text'
    : 'other binary';
}
