import type { BodyRules } from './body-rules.ts';
import type { KeyedHash } from './keyed-hash.ts';

/** What redaction has to know of a body beside its bytes. */
export interface BodyAbout {
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** Only a prefix is there: what is missing cannot be judged, so that nothing can. */
  readonly truncated: boolean;
  /** `Inference-Header-Content-Length`: bytes of JSON before Triton's binary tensors; null without them. */
  readonly inferenceHeaderLength: number | null;
  /** The body's keyed hash where it is known already; saves computing it again. */
  readonly hash?: Uint8Array | null;
}

/** Why a body is not stored at all. */
export const BODY_DROP_REASONS = [
  'truncated',
  'not_json',
  'too_deep',
  'too_large',
  'unknown_type',
  'unknown_coding',
  'bad_coding',
  'bad_tensors',
  'bad_event_stream',
  'failed',
] as const;
export type BodyDropReason = (typeof BODY_DROP_REASONS)[number];

/** What may be stored of a body. */
export interface RedactedBody {
  /** The body with its secrets covered; the very bytes that were given where no rule applied; null: dropped. */
  readonly kept: Uint8Array | null;
  /** Pointers of the rules that covered something. */
  readonly names: readonly string[];
  /** Why nothing may be stored; null where `kept` may. */
  readonly dropped: BodyDropReason | null;
}

const NOTHING: readonly string[] = Object.freeze([]);

/** Covers what rules name in bodies, before anything is stored. Never throws; what it cannot read, it drops. */
export class BodyRedaction {
  /** The rules as they are noted in the capture. */
  readonly policy: BodyRules;
  /** Whether there is any rule. Without one bodies pass as they are, at no cost. */
  readonly active: boolean;

  constructor(rules: BodyRules, _hash: KeyedHash) {
    this.policy = rules;
    this.active = rules.rules.length > 0 || rules.presets.length > 0;
  }

  request(bytes: Uint8Array, about: BodyAbout): RedactedBody {
    return this.#redact(bytes, about);
  }

  response(bytes: Uint8Array, about: BodyAbout): RedactedBody {
    return this.#redact(bytes, about);
  }

  #redact(bytes: Uint8Array, about: BodyAbout): RedactedBody {
    if (!this.active || bytes.length === 0) return { kept: bytes, names: NOTHING, dropped: null };
    return { kept: null, names: NOTHING, dropped: about.truncated ? 'truncated' : 'failed' };
  }
}
