import type { Message } from '../../core/exchange.ts';
import type { UncheckedReason } from '../../core/run.ts';
import { type PayloadApi, payloadApiOf } from '../../inference/features.ts';
import { dropReasonOf } from '../../redaction/body-redaction.ts';
import type { Treatment } from '../../redaction/body-rules.ts';
import { PointerState } from '../../redaction/pointer-states.ts';

/** Whose answers they are, as far as it is known. */
export type AnswerApi = PayloadApi | 'other';

export function apiOf(route: string | null): AnswerApi {
  return route === null ? 'other' : (payloadApiOf({ route, model: null }) ?? 'other');
}

/**
 * What a server writes anew into every answer, whichever build it is: ids of its own, times, counts of work, the
 * name of its build. None of it is a difference.
 */
export const VARYING_POINTERS: Readonly<Record<AnswerApi, readonly string[]>> = {
  openai: [
    '/id',
    '/created',
    '/created_at',
    '/completed_at',
    '/usage',
    '/system_fingerprint',
    '/service_tier',
    '/timings',
    '/metrics',
    '/kv_transfer_params',
    '/choices/*/message/tool_calls/*/id',
    '/output/*/id',
    '/output/*/call_id',
  ],
  anthropic: ['/id', '/usage', '/content/*/id'],
  ollama: [
    '/created_at',
    '/total_duration',
    '/load_duration',
    '/prompt_eval_duration',
    '/prompt_eval_count',
    '/eval_duration',
    '/eval_count',
    '/context',
  ],
  generate: ['/id', '/model_version', '/timings', '/id_slot', '/tokens_cached', '/details/seed'],
  v1: ['/model_version'],
  v2: ['/id', '/model_version'],
  other: ['/request_id', '/trace_id', '/timestamp', '/created_at'],
};

/** Where a document is not compared: because nothing there is a difference, or because nothing there is known. */
export type Place = 'compared' | 'ignored' | 'masked';

const STRENGTH = { masked: 1, ignored: 2 } as const;
/** Sets of rules remembered: one for each protocol and each list of masked places. There are few such lists. */
const KEPT_ROOTS = 64;

/** Finds where documents are not to be compared: what is ignored, and what redaction masked in the recorded one. */
export class Places {
  readonly #ignore: readonly string[];
  readonly #roots = new Map<string, PointerState>();

  /** @param ignore JSON pointers, beside those of the protocol */
  constructor(ignore: readonly string[]) {
    this.#ignore = ignore;
  }

  /** @param masked pointers of the rules that covered something in the recorded document */
  root(api: AnswerApi, masked: readonly string[]): PointerState {
    const key = `${api}\n${masked.join('\n')}`;
    const known = this.#roots.get(key);
    if (known !== undefined) return known;
    const root = PointerState.root([
      ...[...VARYING_POINTERS[api], ...this.#ignore].map((name) => treatment(name, 'ignored')),
      ...masked.map((name) => treatment(name, 'masked')),
    ]);
    if (this.#roots.size >= KEPT_ROOTS) this.#roots.clear();
    this.#roots.set(key, root);
    return root;
  }
}

export function placeOf({ treatment: said }: PointerState): Place {
  if (said === null) return 'compared';
  return said.strength === STRENGTH.ignored ? 'ignored' : 'masked';
}

/** The same at the end of a path, or of something around it. */
export function placeAt(root: PointerState, path: readonly string[]): Place {
  let state = root;
  for (const name of path) {
    const place = placeOf(state);
    if (place !== 'compared') return place;
    state = state.member(name);
  }
  return placeOf(state);
}

/** Names among those noted beside a message that are pointers into its body; the others are of its head. */
export function maskedPointers(redacted: readonly string[]): string[] {
  return redacted.filter((name) => name === '' || name.startsWith('/'));
}

function treatment(name: string, place: 'ignored' | 'masked'): Treatment {
  return { name, strength: STRENGTH[place], covering: place === 'ignored' ? 'drop' : 'mask' };
}

/** Why there is no whole body of a recorded answer to compare with; null where there is one. */
export function whyNoBody(response: Message | null): UncheckedReason | null {
  if (response === null) return 'no_recorded_answer';
  if (dropReasonOf(response.redacted) !== null) return 'redacted';
  if (response.body.truncated) return 'recorded_truncated';
  return response.body.kept === null ? 'no_recorded_body' : null;
}
