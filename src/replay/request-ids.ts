import {
  jsonAfterElement,
  jsonElement,
  jsonMember,
  jsonMemberAgain,
  jsonStart,
} from '../core/json-cursor.ts';
import { Routes } from '../core/routes.ts';
import { type PayloadApi, payloadApiOf } from '../inference/features.ts';
import { Redaction } from '../redaction/redaction.ts';
import { type JsonScalar, spliceJsonAt } from './json-splice.ts';
import { newScalar } from './new-names.ts';

/**
 * Top-level members of a body that name its request, by how it asks: `request_id` is vLLM's, `rid` SGLang's, which
 * has one for each prompt of a batch, `id` that of the Open Inference Protocol, of Triton's generate, and of what
 * speaks either at `/invocations`. Elsewhere members of these names are the model's input.
 */
const ID_MEMBERS: Readonly<Partial<Record<PayloadApi, readonly string[]>>> = {
  openai: ['request_id', 'rid'],
  generate: ['id', 'request_id', 'rid'],
  v2: ['id'],
};
const NONE: readonly string[] = [];
/** Also where the name of a model has slashes, which makes another route of it. */
const INFERENCE_TARGET = /^\/v2\/models\/[^?]*\/(?:infer|generate|generate_stream)(?:\?|$)/;
const INFERENCE_MEMBERS: readonly string[] = ['id'];

/** The same for people. */
export const ID_MEMBERS_TEXT = 'request_id and rid of chat, completions and generate, id of v2 and generate';

/** Finds the ids of requests in bodies, and makes them new. */
export class RequestIds {
  /** Of targets as they were recorded: what was to be hidden in them is hidden. */
  readonly #routes = new Routes(new Redaction());

  /** Members of its body that may name a request that goes there. */
  membersOf(method: string, target: string): readonly string[] {
    const api = payloadApiOf(this.#routes.of(method, target));
    if (api === null) return INFERENCE_TARGET.test(target) ? INFERENCE_MEMBERS : NONE;
    return ID_MEMBERS[api] ?? NONE;
  }

  /** The document with other ids, every other byte as it was. An empty id is none, and stays. */
  renew(json: Uint8Array, members: readonly string[], salt: string): Uint8Array {
    let renewed = json;
    const change = (value: JsonScalar) => (value.literal === '""' ? null : newScalar(value, salt));
    for (const member of members) {
      // Prompts are long and ids are rare: what is not there at all is known at the speed of memory.
      if (!asBuffer(renewed).includes(`"${member}"`)) continue;
      renewed = spliceJsonAt(renewed, idsUnder(renewed, member), change) ?? renewed;
    }
    return renewed;
  }
}

/** Where the ids under a member stand, in order, of each repeat of it. */
function* idsUnder(json: Uint8Array, member: string): Generator<number> {
  let at = jsonMember(json, jsonStart(json), member);
  for (; at >= 0; at = jsonMemberAgain(json, at, member)) {
    let element = jsonElement(json, at, 0);
    if (element < 0) yield at;
    for (; element >= 0; element = jsonAfterElement(json, element)) yield element;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
