import type { Message } from '../../core/exchange.ts';
import type { UncheckedReason } from '../../core/run.ts';
import { type PayloadApi, payloadApiOf } from '../../inference/features.ts';
import { dropReasonOf } from '../../redaction/body-redaction.ts';
import type { Treatment } from '../../redaction/body-rules.ts';
import { PointerState } from '../../redaction/pointer-states.ts';

/** The API that answers belong to; `other` if unknown. */
export type AnswerApi = PayloadApi | 'other';

export function apiOf(route: string | null): AnswerApi {
  return route === null ? 'other' : (payloadApiOf({ route, model: null }) ?? 'other');
}

/**
 * Values that differ in every answer of every build: ids, times, counts of work, the name of the build. They are not
 * compared.
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
  v1: ['/model_version', '/model_spec/version'],
  v2: ['/id', '/model_version'],
  other: ['/request_id', '/trace_id', '/timestamp', '/created_at'],
};

/** Whether a place is compared. It is not if differences do not matter (ignored) or the value is unknown (masked). */
export type Place = 'compared' | 'ignored' | 'masked';

const STRENGTH = { masked: 1, ignored: 2 } as const;
/** Remembered sets of rules, one for each protocol and list of masked places. There are few such lists. */
const KEPT_ROOTS = 64;

/** Finds the places that are not compared: ignored ones, and those that redaction masked in the recorded document. */
export class Places {
  readonly #ignore: readonly string[];
  readonly #roots = new Map<string, PointerState>();

  /** @param ignore ignored JSON pointers, in addition to those of the protocol */
  constructor(ignore: readonly string[]) {
    this.#ignore = ignore;
  }

  /** @param masked pointers of the rules that masked something in the recorded document */
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

/** The place at the end of a path. If a part of the path is ignored or masked, that decides. */
export function placeAt(root: PointerState, path: readonly string[]): Place {
  let state = root;
  for (const name of path) {
    const place = placeOf(state);
    if (place !== 'compared') return place;
    state = state.member(name);
  }
  return placeOf(state);
}

/** The redacted names that are pointers into the body. The other names belong to the head. */
export function maskedPointers(redacted: readonly string[]): string[] {
  return redacted.filter((name) => name === '' || name.startsWith('/'));
}

function treatment(name: string, place: 'ignored' | 'masked'): Treatment {
  return { name, strength: STRENGTH[place], covering: place === 'ignored' ? 'drop' : 'mask' };
}

/** Why a recorded answer has no complete body to compare with; null if it has one. */
export function whyNoBody(response: Message | null): UncheckedReason | null {
  if (response === null) return 'no_recorded_answer';
  if (dropReasonOf(response.redacted) !== null) return 'redacted';
  if (response.body.truncated) return 'recorded_truncated';
  return response.body.kept === null ? 'no_recorded_body' : null;
}
