import { AppError } from './errors.ts';
import { ANY_MEMBER, parseJsonPointer } from './json-pointer.ts';

/** A place in a request that names its session or its client. */
export type KeySource =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'cookie'; readonly name: string }
  | { readonly kind: 'query'; readonly name: string }
  | JsonSource
  /** First address of `X-Forwarded-For` or `Forwarded`. */
  | { readonly kind: 'forwarded_for' }
  /** The address that the connection came from. */
  | { readonly kind: 'peer' };

export interface JsonSource {
  readonly kind: 'json';
  /** Names and indices from the document down. */
  readonly steps: readonly string[];
  /** Whether the number 0 says that there is none. */
  readonly zeroIsNone: boolean;
}

const json = (...steps: string[]): JsonSource => ({ kind: 'json', steps, zeroIsNone: false });

const PRESETS: Readonly<Record<string, readonly KeySource[]>> = {
  'x-session-id': [{ kind: 'header', name: 'x-session-id' }],
  // What OpenAI's API calls an end user; the later names took the place of the first.
  'openai-user': [json('user'), json('safety_identifier'), json('metadata', 'session_id')],
  'oip-sequence': [{ ...json('parameters', 'sequence_id'), zeroIsNone: true }],
  'forwarded-for': [{ kind: 'forwarded_for' }],
  peer: [{ kind: 'peer' }],
};

/** Their values say where a message goes or ends: replaced by a hash, it would be another message. */
const NO_SESSION = new Set([
  'host',
  'connection',
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'inference-header-content-length',
  'trailer',
  'te',
  'upgrade',
  'expect',
  'x-reprise-run',
]);

const MAX_SOURCES = 16;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}$/;

/**
 * Reads places as the command line writes them, in the order in which they are asked.
 * @param specs each `header:NAME`, `cookie:NAME`, `query:NAME`, `json:POINTER` or a preset; `none` alone for none
 * @throws AppError OPTION_INVALID saying which text is wrong, and how
 */
export function parseKeySources(kind: 'session' | 'client', specs: readonly string[]): readonly KeySource[] {
  if (specs.length === 1 && specs[0] === 'none') return [];
  const sources = specs.flatMap((spec) => parseKeySource(kind, spec.trim()));
  if (sources.length > MAX_SOURCES) {
    throw new AppError('OPTION_INVALID', `${sources.length} ${kind} keys are more than ${MAX_SOURCES}`);
  }
  return sources;
}

function parseKeySource(key: 'session' | 'client', spec: string): readonly KeySource[] {
  const preset = Object.hasOwn(PRESETS, spec) ? PRESETS[spec] : undefined;
  if (preset !== undefined) return preset;
  const colon = spec.indexOf(':');
  const kind = spec.slice(0, Math.max(colon, 0));
  const name = spec.slice(colon + 1);
  if (kind === 'json') return [parseJsonSource(key, name)];
  if ((kind === 'header' || kind === 'cookie' || kind === 'query') && NAME.test(name)) {
    if (kind !== 'header') return [{ kind, name }];
    const lower = name.toLowerCase();
    if (key === 'session' && NO_SESSION.has(lower)) {
      throw new AppError('OPTION_INVALID', `header ${lower} cannot be the session's key`, {
        hint: 'a session key is stored as its hash, and this header steers the message itself',
      });
    }
    return [{ kind, name: lower }];
  }
  throw new AppError('OPTION_INVALID', `${JSON.stringify(spec)} is no ${key} key`, {
    hint: `write header:NAME, cookie:NAME, query:NAME, json:/POINTER, or one of ${Object.keys(PRESETS).join(', ')}`,
  });
}

function parseJsonSource(key: string, pointer: string): JsonSource {
  const steps = parseJsonPointer(pointer);
  const named = steps.filter((step) => step !== ANY_MEMBER);
  if (steps.length === 0 || named.length < steps.length) {
    throw new AppError('OPTION_INVALID', `JSON pointer ${JSON.stringify(pointer)} is no ${key} key`, {
      hint: 'name one value, such as json:/user or json:/metadata/session_id',
    });
  }
  return json(...named);
}
