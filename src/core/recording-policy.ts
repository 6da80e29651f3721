import { BodyRedaction } from './body-redaction.ts';
import { parseBodyRules } from './body-rules.ts';
import { AppError } from './errors.ts';
import { ExchangeKeys } from './exchange-keys.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { LIMITS } from './limits.ts';
import { Redaction } from './redaction.ts';
import { Sampling } from './sampling.ts';
import { DEFAULT_SKIP_RULES, SkipRules } from './skip-rules.ts';

/** Which bodies are kept, and how much of each. Sizes, hashes and times are taken of all of them. */
export interface BodyPolicy {
  readonly bodies: 'requests' | 'all' | 'none';
  readonly requestBodyBytes: number;
  readonly responseBodyBytes: number;
}

/** Most bytes of either body that a policy stores; null for none. */
export function storedBytes({ bodies, requestBodyBytes, responseBodyBytes }: BodyPolicy) {
  return {
    request: bodies === 'none' ? null : requestBodyBytes,
    response: bodies === 'all' ? responseBodyBytes : null,
  };
}

/** What is hidden before it is stored, beside what always is; texts as the command line has them. */
export interface RedactPolicy {
  /** `pointer=action` */
  readonly rules: readonly string[];
  readonly presets: readonly string[];
  readonly headers: readonly string[];
  readonly queryKeys: readonly string[];
}

/** What is stored of the traffic. Plain data: it travels from the command to the recorder, and into the capture. */
export interface RecordingPolicy extends BodyPolicy {
  /** Share of sessions, or of exchanges without one, that is recorded; above 0, at most 1. */
  readonly sample: number;
  /** Where the session's key is looked for; the first place that has one wins. Empty: there are no sessions. */
  readonly session: readonly string[];
  /** The same for the client; `none` alone for no client. */
  readonly client: readonly string[];
  /** What is left out; `none` alone, or empty, for nothing. */
  readonly skip: readonly string[];
  readonly redact: RedactPolicy;
}

export const DEFAULT_CLIENT_KEYS: readonly string[] = Object.freeze(['forwarded-for', 'peer']);

export const DEFAULT_RECORDING_POLICY: RecordingPolicy = Object.freeze({
  bodies: 'requests',
  requestBodyBytes: LIMITS.requestBodyBytes,
  responseBodyBytes: LIMITS.responseBodyBytes,
  sample: 1,
  session: [],
  client: DEFAULT_CLIENT_KEYS,
  skip: DEFAULT_SKIP_RULES,
  redact: { rules: [], presets: [], headers: [], queryKeys: [] },
});

/** What is recorded at all. */
export interface Selection {
  readonly skip: SkipRules;
  readonly sampling: Sampling;
}

/** A policy as assembly uses it. */
export interface RecordingParts {
  readonly policy: BodyPolicy;
  readonly redaction: Redaction;
  readonly bodyRedaction: BodyRedaction;
  readonly keys: ExchangeKeys;
  readonly selection: Selection;
}

/**
 * Reads a policy.
 * @param recorder the recorder's name in this life, which tells its choice of exchanges from that of others
 * @throws AppError OPTION_INVALID saying which text is wrong, and how
 */
export function recordingParts(policy: RecordingPolicy, hash: KeyedHash, recorder: string): RecordingParts {
  const { bodies, requestBodyBytes, responseBodyBytes, sample, redact } = policy;
  if (!(sample > 0 && sample <= 1)) {
    throw new AppError('OPTION_INVALID', `a sample of ${sample} is none`, {
      hint: 'give a share above 0 % and up to 100 %',
    });
  }
  const additions = { headers: redact.headers, queryKeys: redact.queryKeys };
  const keys = new ExchangeKeys({ session: policy.session, client: policy.client }, hash);
  return {
    policy: { bodies, requestBodyBytes, responseBodyBytes },
    redaction: new Redaction(additions, { names: keys.sessionNames, hash }),
    bodyRedaction: new BodyRedaction(parseBodyRules(redact.rules, redact.presets), hash, additions),
    keys,
    selection: { skip: new SkipRules(policy.skip), sampling: new Sampling(sample, seedOf(recorder)) },
  };
}

/** A policy as a segment notes it. */
export function storedPolicy(policy: RecordingPolicy): Readonly<Record<string, unknown>> {
  const { bodies, requestBodyBytes, responseBodyBytes, sample, session, client, skip, redact } = policy;
  return {
    bodies,
    requestBodyBytes,
    responseBodyBytes,
    sample,
    session,
    client,
    skip,
    redaction: { headers: redact.headers, queryKeys: redact.queryKeys },
    bodyRedaction: { rules: redact.rules, presets: redact.presets },
  };
}

function seedOf(recorder: string): number {
  let seed = 0;
  for (const char of recorder) seed = (Math.imul(seed, 31) + (char.codePointAt(0) ?? 0)) | 0;
  return seed;
}
