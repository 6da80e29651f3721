import { bytesPerToken } from '../../../core/token-estimate.ts';
import { member } from './readable-request.ts';

/** What a prompt weighs. */
export interface PromptWeight {
  readonly tokens: number;
  /** Tokens came as numbers and were counted; else their number is an estimate from the text. */
  readonly counted: boolean;
}

const MAX_DEPTH = 6;
const MAX_PARTS = 10_000;
const PROMPT_KEYS = [
  'messages',
  'system',
  'instructions',
  'prompt',
  'input',
  'inputs',
  'text_input',
  'query',
] as const;
const LIMIT_PATHS: readonly (readonly string[])[] = [
  ['max_completion_tokens'],
  ['max_tokens'],
  ['max_output_tokens'],
  ['max_new_tokens'],
  ['n_predict'],
  ['parameters', 'max_new_tokens'],
  ['parameters', 'max_tokens'],
  ['options', 'num_predict'],
];

/** Tokens of the prompt, or prompts, of a JSON request; null where it has no text. */
export function promptWeight(json: unknown): PromptWeight | null {
  const found = { estimated: 0, counted: 0, parts: 0 };
  for (const key of [...PROMPT_KEYS, 'documents']) collect(member(json, key), found, 0);
  if (found.estimated + found.counted === 0) return null;
  return { tokens: Math.round(found.estimated + found.counted), counted: found.estimated === 0 };
}

/** The most tokens that a request lets the answer have; null where it states none. */
export function maxTokensOf(json: unknown): number | null {
  for (const path of LIMIT_PATHS) {
    const value = path.reduce<unknown>((inner, name) => member(inner, name), json);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  }
  return null;
}

/** About how many tokens a text is: see `bytesPerToken`, within a quarter of real vocabularies. */
export function estimatedTokens(text: string): number {
  if (text === '') return 0;
  const escaped = Buffer.from(JSON.stringify(text));
  // Without the quotes, as the estimate wants the inside of a JSON string.
  const bytes = escaped.length - 2;
  return bytes <= 0 ? 0 : bytes / bytesPerToken(escaped, 1, escaped.length - 1);
}

function collect(
  value: unknown,
  found: { estimated: number; counted: number; parts: number },
  depth: number,
): void {
  found.parts += 1;
  if (depth > MAX_DEPTH || found.parts > MAX_PARTS) return;
  if (typeof value === 'string') found.estimated += isEncoded(value) ? 0 : estimatedTokens(value);
  else if (Array.isArray(value)) {
    if (value.length > 0 && value.every((each) => Number.isSafeInteger(each))) found.counted += value.length;
    else for (const each of value) collect(each, found, depth + 1);
  } else if (typeof value === 'object' && value !== null) {
    for (const key of ['content', 'text', 'arguments', 'output'])
      collect(member(value, key), found, depth + 1);
  }
}

/** A picture in base64 is no text. */
function isEncoded(text: string): boolean {
  return text.startsWith('data:') || (text.length >= 256 && /^[A-Za-z0-9+/_-]{256}/.test(text));
}
