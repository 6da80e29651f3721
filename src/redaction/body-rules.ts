import { AppError } from '../core/errors.ts';
import { parseJsonPointer } from '../core/json-cursor.ts';
import { membersOf, REQUESTS, STRUCTURAL_LABELS } from './structural-fields.ts';

/** Actions on a named value, from the weakest to the strongest. */
export const BODY_ACTIONS = ['hash', 'mask', 'drop'] as const;
type BodyAction = (typeof BODY_ACTIONS)[number];

/** One rule as written. `pointer` is a JSON pointer (RFC 6901) in which `*` matches any member. */
interface BodyRule {
  readonly pointer: string;
  readonly action: BodyAction;
}

/** What to hide in bodies. Plain data: it is sent between processes and stored in the capture. */
export interface BodyRules {
  readonly rules: readonly BodyRule[];
  readonly presets: readonly BodyPreset[];
}

/** Bodies are stored unchanged. */
export const NO_BODY_RULES: BodyRules = Object.freeze({ rules: [], presets: [] });

/** More than any service needs, and few enough to try on every value. */
const MAX_RULES = 64;

/**
 * Reads rules in the format of the command line and the configuration.
 * @param texts `pointer=action`, such as `/prompt=mask`
 * @param presets names of presets
 * @throws AppError OPTION_INVALID naming the wrong text and the problem
 */
export function parseBodyRules(texts: readonly string[], presets: readonly string[] = []): BodyRules {
  if (texts.length > MAX_RULES) {
    throw new AppError('OPTION_INVALID', `${texts.length} redaction rules are more than ${MAX_RULES}`, {
      hint: 'name a value that holds the others: a rule covers everything below its pointer',
    });
  }
  return { rules: texts.map(parseBodyRule), presets: [...new Set(presets.map(parsePreset))] };
}

/**
 * @param text `pointer=action`; the last `=` divides, because keys may contain one
 * @throws AppError OPTION_INVALID
 */
function parseBodyRule(text: string): BodyRule {
  const equals = text.lastIndexOf('=');
  const action = BODY_ACTIONS.find((known) => known === text.slice(equals + 1));
  if (equals < 0 || action === undefined) {
    throw new AppError('OPTION_INVALID', `redaction rule ${JSON.stringify(text)} names no action`, {
      hint: `write POINTER=ACTION with ${BODY_ACTIONS.join(', ')}, such as /messages/*/content=mask`,
    });
  }
  const pointer = text.slice(0, equals);
  parseJsonPointer(pointer);
  return { pointer, action };
}

/** Treatments for all rules, including those of presets. */
export function bodyTreatments({ rules, presets }: BodyRules): Treatment[] {
  const asked = rules.map(({ pointer, action }) => ({
    covering: action,
    strength: STRENGTH.user[action],
    name: pointer,
  }));
  // `llm` masks everything that it does not keep. Alone it leaves less readable than together with what other presets
  // keep.
  const used = presets.includes('llm') ? (['llm'] as const) : presets;
  return [...asked, ...used.flatMap(presetTreatments)];
}

function parsePreset(text: string): BodyPreset {
  const preset = BODY_PRESETS.find((known) => known === text);
  if (preset === undefined) {
    throw new AppError('OPTION_INVALID', `${JSON.stringify(text)} is not a redaction preset`, {
      hint: `the presets are ${BODY_PRESETS.join(', ')}`,
    });
  }
  return preset;
}

/** Rules for the protocols of model servers. */
const BODY_PRESETS = ['llm', 'chat', 'v1', 'v2'] as const;
type BodyPreset = (typeof BODY_PRESETS)[number];

type PresetCovering = keyof typeof STRENGTH.preset;

/** A preset's pointers by treatment. */
type PresetRules = Readonly<Partial<Record<PresetCovering, readonly string[]>>>;

/** The kind of a message's part, and the call it answers. Servers refuse requests without them. */
const PART_LABELS = [
  ...['type', 'id', 'call_id', 'tool_use_id', 'name', 'status', 'role'],
  ...['image_url/detail', 'input_audio/format', 'source/type', 'source/media_type', 'cache_control/type'],
];

/** The same for a message. Its `name` may be a person's. */
const MESSAGE_LABELS = [
  ...['role', 'channel', 'tool_call_id', 'audio/id', 'function_call/name', 'cache_control/type'],
  ...['type', 'id', 'index', 'function/name', 'custom/name'].map((label) => `tool_calls/*/${label}`),
  ...['type', 'id', 'index', 'format'].map((label) => `reasoning_details/*/${label}`),
  'annotations/*/type',
];

/** Members of an answer's message, complete or streamed, with the model's text. */
const SAID = [
  ...['content', 'reasoning', 'reasoning_content', 'reasoning_details', 'thinking', 'refusal', 'audio'],
  ...['name', 'images', 'annotations', 'citations', 'tool_plan', 'executed_tools', 'token_id'],
  'tool_calls/*/custom/input',
];

const CALL_ARGUMENTS = ['tool_calls/*/function/arguments', 'function_call/arguments'];

/** User input, by the member of a request or the field of a form. */
const ASKED = [
  ...['/messages/*', '/prompt', '/suffix', '/input', '/instructions', '/system', '/metadata', '/items'],
  ...['/prediction', '/query', '/queries', '/documents', '/texts', '/text_1', '/text_2', '/prompt_embeds'],
  ...['/file', '/image', '/image[]', '/images', '/mask', '/input_reference'],
  ...['/known_speaker_names[]', '/known_speaker_references[]'],
  // Definitions of tools stay, except for their credentials.
  ...['/tools/*/headers', '/tools/*/authorization', '/mcp_servers/*/authorization_token'],
  ...['/tools/*/container/network_policy/domain_secrets', '/data_sources/*/parameters/authentication'],
];

/**
 * Model output. The members of a choice are listed one by one. A later comparison of answers skips everything
 * around a masked value.
 */
const ANSWERED = [
  ...membersOf(['/choices/*/message', '/choices/*/delta'], SAID),
  ...membersOf(['/choices/*/delta'], CALL_ARGUMENTS),
  ...membersOf(['/choices/*', ''], ['prompt_logprobs', 'token_ids', 'prompt_token_ids', 'text']),
  // At the root of a request this is a number or `true`.
  ...['/choices/*/logprobs', '/logprobs/*'],
  ...['/output', '/output_text', '/delta', '/part', '/item', '/content', '/content_block', '/arguments'],
  ...['/refusal', '/code', '/annotation', '/transcript', '/speaker', '/audio', '/thinking'],
  ...['/partial_image_b64', '/b64_json', '/results/*/document'],
  ...membersOf(['/data/*'], ['content', 'revised_prompt', 'b64_json', 'url']),
  ...['/words/*/word', ...membersOf(['/segments/*'], ['text', 'tokens', 'speaker'])],
  ...['/message', '/response', '/context', '/tokens', '/token_strs', '/token_strings', '/error', '/detail'],
];

/**
 * Chat completions, completions, responses, conversations, embeddings, reranking, speech and pictures of
 * OpenAI's API, with extensions of vLLM and others. Also Anthropic's messages and Ollama's own API. User
 * input and model output are masked; user ids are hashed.
 */
const CHAT: PresetRules = {
  mask: [...ASKED, ...ANSWERED],
  mask_json: [...membersOf(['/messages/*', '/choices/*/message'], CALL_ARGUMENTS), '/input/*/arguments'],
  hash: ['/user', '/safety_identifier', '/prompt_cache_key'],
  drop: [
    ...['/data/*/embedding', '/data/*/data', '/embedding', '/embeddings'],
    // A mask is no valid country or time zone, and servers work without either.
    ...['/web_search_options/user_location', '/tools/*/user_location'],
  ],
  keep: [
    ...membersOf(['/messages/*', '/choices/*/message', '/choices/*/delta', '/message'], MESSAGE_LABELS),
    ...membersOf(
      [
        ...['/messages/*/content/*', '/system/*', '/input/*', '/input/*/content/*', '/prediction'],
        ...['/prediction/content/*', '/items/*', '/items/*/content/*'],
        ...['/output/*', '/output/*/content/*', '/item', '/item/content/*', '/part', '/delta', '/content/*'],
        ...['/content_block', '/message', '/message/content/*', '/data/*/content/*'],
        ...['/response/output/*', '/response/output/*/content/*'],
      ],
      PART_LABELS,
    ),
    ...membersOf(['/messages/*/content/*/content/*'], ['type', 'source/type', 'source/media_type']),
    ...['/annotation/type', '/delta/stop_reason', '/message/model', '/message/stop_reason'],
    ...['/error/type', '/error/code'],
    ...membersOf(['/response'], ['id', 'object', 'status', 'model', 'created_at']),
    ...membersOf(['/response/usage', '/message/usage'], ['input_tokens', 'output_tokens', 'total_tokens']),
    // Request parameters with the same names as model output in responses.
    ...['/audio/voice', '/audio/voice/id', '/audio/format', '/thinking/*'],
    ...['/text/verbosity', '/text/format/type'],
  ],
};

/** TensorFlow Serving, KServe V1 and compatible servers; over gRPC also examples and their results. */
const V1: PresetRules = {
  mask: [
    ...['/instances', '/inputs', '/predictions', '/outputs', '/error', '/examples', '/context', '/input'],
    ...['/result', '/results', '/client_id', '/request_options/client_id'],
  ],
};

/**
 * The Open Inference Protocol: tensors in JSON and, by the same pointers, in Triton's binary part and in the messages of
 * gRPC.
 */
const V2: PresetRules = {
  mask: [
    ...['/inputs/*/data', '/outputs/*/data', '/error', '/error_message', '/infer_response/outputs/*/data'],
  ],
};

/**
 * All protocols of language models, even unknown ones: everything that is not on the list of readable fields is masked.
 * A value is dropped if its mask would be invalid, or would end an answer.
 */
const LLM: PresetRules = {
  mask_unlisted: [''],
  mask_json: [
    ...membersOf(membersOf(REQUESTS, ['messages/*']), CALL_ARGUMENTS),
    ...membersOf(['/choices/*/message'], CALL_ARGUMENTS),
    ...membersOf(REQUESTS, ['input/*/arguments']),
  ],
  hash: [
    ...membersOf(REQUESTS, ['user', 'safety_identifier', 'prompt_cache_key', 'metadata/user_id']),
    ...['/custom_id', '/requests/*/custom_id'],
  ],
  drop: [
    ...membersOf(REQUESTS, ['stop', 'stop_sequences', 'stop_words', 'bad_words', 'chat_template', 'grammar']),
    ...membersOf(REQUESTS, [
      'guided_grammar',
      'structured_outputs/grammar',
      'structured_outputs/structural_tag',
    ]),
    ...membersOf(REQUESTS, ['web_search_options/user_location', 'tools/*/user_location']),
    ...['/parameters/stop', '/parameters/stop_sequences', '/parameters/grammar', '/options/stop'],
    ...['/data/*/embedding', '/data/*/data', '/embedding', '/embeddings'],
  ],
  keep: STRUCTURAL_LABELS,
};

const PRESETS: Readonly<Record<BodyPreset, PresetRules>> = { llm: LLM, chat: CHAT, v1: V1, v2: V2 };

function presetTreatments(preset: BodyPreset): Treatment[] {
  return Object.entries(PRESETS[preset]).flatMap(([covering, pointers]) =>
    pointers.map((name) => ({
      covering: covering as PresetCovering,
      strength: STRENGTH.preset[covering as PresetCovering],
      name,
    })),
  );
}

/**
 * How to mask a value. Presets have three more actions. `mask_unlisted` masks all texts and numbers except those on the
 * list of structural fields. `keep` keeps a short word inside a masked value (the `type` of a message's part).
 * `mask_json` writes a mask that is itself JSON.
 */
type Covering = 'mask_unlisted' | 'keep' | 'hash' | 'mask' | 'mask_json' | 'drop';

/** A rule's treatment of the values that its pointer names. */
export interface Treatment {
  readonly covering: Covering;
  /** If several rules name a value, or a value around it, the strongest applies. */
  readonly strength: number;
  /** The rule's pointer, as noted beside a message. */
  readonly name: string;
}

/**
 * User rules are stronger than presets, and more hiding is stronger than less. But a preset's rule for a
 * value inside a masked one (its kind of mask, or keep) takes precedence.
 */
const STRENGTH = {
  preset: { mask_unlisted: 0, hash: 1, mask: 2, mask_json: 3, drop: 4, keep: 5 },
  user: { hash: 6, mask: 7, drop: 8 },
} as const;

/** Whether a treatment is a preset's, and not of a rule that names the value or one around it. */
export function isPresets({ strength }: Treatment): boolean {
  return strength < STRENGTH.user.hash;
}

/** The stronger of two treatments; null means none. */
export function strongerOf(one: Treatment | null, other: Treatment | null): Treatment | null {
  if (one === null || other === null) return one ?? other;
  return other.strength > one.strength ? other : one;
}
