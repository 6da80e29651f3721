import { AppError } from '../core/errors.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { pathOf, type Route } from '../core/routes.ts';
import { BodyRedaction } from './body-redaction.ts';
import { parseBodyRules } from './body-rules.ts';
import { Redaction } from './head-redaction.ts';
import { ExchangeKeys } from './identities.ts';

/** Skipped by default: a probe every few seconds says nothing about the traffic. */
export const DEFAULT_SKIP_RULES: readonly string[] = Object.freeze(['health']);

const MAX_RULES = 64;
const RULE_CHARS = 1_024;

/** Routes of probes and scrapes of known servers and Kubernetes. */
const HEALTH_ROUTES: ReadonlySet<string> = new Set([
  '/livez',
  '/readyz',
  '/healthz',
  '/health',
  '/health/live',
  '/health/ready',
  '/ping',
  '/metrics',
  '/v2/health/live',
  '/v2/health/ready',
  '/v2/models/{model}/ready',
  '/v2/models/{model}/versions/{version}/ready',
]);

/** The same of gRPC: probes, what clients ask before their first call, and Triton's own. */
const HEALTH_CALLS =
  /^POST \/(?:grpc\.health\.[^/]+|grpc\.reflection\.[^/]+|inference\.GRPCInferenceService(?=\/(?:ServerLive|ServerReady|ModelReady)$))\//;

/** What a rule is matched against. */
interface SkipSubject {
  readonly method: string;
  /** Path of the request as sent, without its query. */
  readonly path: string;
  /** Method and path with the variable parts named. */
  readonly route: string;
}

type SkipTest = (subject: SkipSubject) => boolean;

/** Requests that are not recorded, but counted (`skip_rule`). A replay does not send them. */
export class SkipRules {
  readonly #tests: readonly SkipTest[];
  readonly #known = new WeakMap<Route, boolean>();
  /** The rules as written; empty if nothing is skipped. */
  readonly rules: readonly string[];

  /**
   * @param rules each `health`, `path:/exact`, `path:/prefix*`, `route:METHOD /path/{model}` (a final `*` as
   * for paths) or `method:NAME`; `none` alone for no rule
   * @throws AppError OPTION_INVALID naming the wrong rule and the problem
   */
  constructor(rules: readonly string[]) {
    if (rules.length > MAX_RULES) {
      throw new AppError('OPTION_INVALID', `${rules.length} skip rules are more than ${MAX_RULES}`, {
        hint: 'a path that ends in * matches every path that begins with it',
      });
    }
    if (rules.length > 1 && rules.includes('none')) {
      throw new AppError('OPTION_INVALID', 'skip rule "none" is combined with others', {
        hint: 'give --skip none alone, to record everything',
      });
    }
    this.rules = rules.filter((rule) => rule !== 'none');
    this.#tests = this.rules.map(parseSkipRule);
  }

  /** @param route route of method and target. It belongs to one path, so the result is cached with it. */
  skips(method: string, target: string, route: Route): boolean {
    if (this.#tests.length === 0) return false;
    let skipped = this.#known.get(route);
    if (skipped === undefined) {
      const subject = { method, path: pathOf(method, target), route: route.route };
      skipped = this.#tests.some((test) => test(subject));
      this.#known.set(route, skipped);
    }
    return skipped;
  }
}

function parseSkipRule(rule: string): SkipTest {
  if (rule === 'health') return isHealthCheck;
  const colon = rule.indexOf(':');
  const kind = rule.slice(0, Math.max(colon, 0));
  const text = rule.slice(colon + 1).trim();
  if (text === '' || text === '*' || rule.length > RULE_CHARS) throw invalid(rule);
  if (kind === 'method' && /^[A-Za-z]+(?:-[A-Za-z]+)*$/.test(text)) {
    const method = text.toUpperCase();
    return (subject) => subject.method === method;
  }
  if (kind === 'path' && text.startsWith('/')) return matching(text, ({ path }) => path);
  if (kind === 'route' && /^[A-Z]+(?:-[A-Z]+)* \//.test(text)) return matching(text, ({ route }) => route);
  throw invalid(rule);
}

function matching(text: string, part: (subject: SkipSubject) => string): SkipTest {
  if (!text.endsWith('*')) return (subject) => part(subject) === text;
  const prefix = text.slice(0, -1);
  return (subject) => part(subject).startsWith(prefix);
}

function isHealthCheck({ method, route }: SkipSubject): boolean {
  if (method !== 'GET' && method !== 'HEAD') return HEALTH_CALLS.test(route);
  return HEALTH_ROUTES.has(route.slice(method.length + 1));
}

function invalid(rule: string): AppError {
  return new AppError('OPTION_INVALID', `${JSON.stringify(rule)} is not a skip rule`, {
    hint: 'write health, path:/prefix*, path:/exact, "route:GET /v2/models/{model}", method:OPTIONS, or none',
  });
}

/** Which bodies are stored, and how much of each. Sizes, hashes and times are recorded for all. */
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

/** What to hide besides the built-in list, in the command line's format. */
interface RedactPolicy {
  /** `pointer=action` */
  readonly rules: readonly string[];
  readonly presets: readonly string[];
  readonly headers: readonly string[];
  readonly queryKeys: readonly string[];
}

/**
 * What to store of the traffic. Plain data: it is sent from the command to the recorder and stored in the
 * capture.
 */
export interface RecordingPolicy extends BodyPolicy {
  /** Share of sessions, or of exchanges without one, that is recorded; above 0, at most 1. */
  readonly sample: number;
  /** Where to look for the session key; the first match wins. Empty: no sessions. */
  readonly session: readonly string[];
  /** The same for the client; `none` alone for no client. */
  readonly client: readonly string[];
  /** What to skip; `none` alone, or empty, for nothing. */
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

/** Error texts of gRPC, which may repeat what the request said. Masked as soon as anything of bodies is. */
const GRPC_ERROR_FIELDS = ['grpc-message', 'grpc-status-details-bin'] as const;

/** Which exchanges are recorded at all. */
export interface Selection {
  readonly skip: SkipRules;
  readonly sampling: Sampling;
}

/**
 * Reads a policy.
 * @param recorder id of this recorder's life, which makes its sample differ from others'
 * @throws AppError OPTION_INVALID naming the wrong text and the problem
 */
export function recordingParts(policy: RecordingPolicy, hash: KeyedHash, recorder: string) {
  const { bodies, requestBodyBytes, responseBodyBytes, sample, redact } = policy;
  if (!(sample > 0 && sample <= 1)) {
    throw new AppError('OPTION_INVALID', `a sample of ${sample} is out of range`, {
      hint: 'give a share above 0 % and up to 100 %',
    });
  }
  const additions = { headers: redact.headers, queryKeys: redact.queryKeys };
  const masksBodies = redact.rules.length + redact.presets.length > 0;
  const headers = masksBodies ? [...redact.headers, ...GRPC_ERROR_FIELDS] : redact.headers;
  const keys = new ExchangeKeys({ session: policy.session, client: policy.client }, hash);
  return {
    policy: { bodies, requestBodyBytes, responseBodyBytes } satisfies BodyPolicy,
    redaction: new Redaction({ ...additions, headers }, { names: keys.sessionNames, hash }),
    bodyRedaction: new BodyRedaction(parseBodyRules(redact.rules, redact.presets), hash, additions),
    keys,
    selection: { skip: new SkipRules(policy.skip), sampling: new Sampling(sample, seedOf(recorder)) },
  };
}

export function storedPolicy(policy: RecordingPolicy): Readonly<Record<string, unknown>> {
  const { redact, ...stored } = policy;
  return {
    ...stored,
    redaction: { headers: redact.headers, queryKeys: redact.queryKeys },
    bodyRedaction: { rules: redact.rules, presets: redact.presets },
  };
}

function seedOf(recorder: string): number {
  let seed = 0;
  for (const char of recorder) seed = (Math.imul(seed, 31) + (char.codePointAt(0) ?? 0)) | 0;
  return seed;
}

/** The range of key hashes. Recorders with the same hash key and share decide alike without communication. */
const SCALE = 2 ** 32;

/**
 * Decides which exchanges to record if only a share is recorded. If there is a session key, it decides by
 * session. Then a conversation is recorded completely or not at all, and all recorders of a fleet decide
 * alike. Otherwise it decides by exchange.
 */
export class Sampling {
  /** Above 0 and at most 1. */
  readonly share: number;
  readonly #limit: number;
  readonly #seed: number;

  /**
   * @param seed of this recorder's life, so that recorders do not choose the same positions of their traffic
   */
  constructor(share: number, seed = 0) {
    this.share = share;
    this.#limit = share * SCALE;
    this.#seed = seed;
  }

  /** Whether everything is recorded. */
  get all(): boolean {
    return this.share >= 1;
  }

  /** @param session the keyed hash of the session, eight bytes */
  keepsSession(session: Uint8Array): boolean {
    // Mixed once more, so that a later sample by session hash is still uniform.
    const low = word(session, 0);
    return mix(low, word(session, 4)) < this.#limit;
  }

  /** @param firstByteNs when the request began; together with its connection it identifies the exchange */
  keepsExchange(connection: number, firstByteNs: number): boolean {
    const placed = mix(mix(this.#seed, connection), Math.floor(connection / SCALE));
    return mix(mix(placed, firstByteNs), Math.floor(firstByteNs / SCALE)) < this.#limit;
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) << 24) |
    ((bytes[at + 1] ?? 0) << 16) |
    ((bytes[at + 2] ?? 0) << 8) |
    (bytes[at + 3] ?? 0)
  );
}

/** Mixes two words into one, 0 to 2^32 − 1, in which every bit of both counts. */
function mix(first: number, second: number): number {
  let mixed = Math.imul(first ^ 0x9e3779b9, 0x21f0aaad) ^ second;
  mixed ^= mixed >>> 16;
  mixed = Math.imul(mixed, 0x735a2d97);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x21f0aaad);
  mixed ^= mixed >>> 15;
  return mixed >>> 0;
}
