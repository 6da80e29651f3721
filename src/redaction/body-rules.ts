import { AppError } from '../core/errors.ts';
import { parseJsonPointer } from '../core/json-pointer.ts';

/** What becomes of a value that a pointer names, from the least hiding to the most. */
export const BODY_ACTIONS = ['hash', 'mask', 'drop'] as const;
type BodyAction = (typeof BODY_ACTIONS)[number];

/** One rule as it was written: `pointer` is a JSON pointer (RFC 6901) in which `*` stands for any member. */
interface BodyRule {
  readonly pointer: string;
  readonly action: BodyAction;
}

/** What is to be hidden in bodies; plain data, because it travels between processes and into the capture. */
export interface BodyRules {
  readonly rules: readonly BodyRule[];
  readonly presets: readonly BodyPreset[];
}

/** Bodies are stored as they came. */
export const NO_BODY_RULES: BodyRules = Object.freeze({ rules: [], presets: [] });

/** More than a service's payloads can need, and few enough to be tried on every value. */
const MAX_RULES = 64;

/**
 * Reads rules as the command line and the configuration write them.
 * @param texts `pointer=action`, such as `/prompt=mask`
 * @param presets names of presets
 * @throws AppError OPTION_INVALID saying which text is wrong, and how
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
 * @param text `pointer=action`; the last `=` divides, so that keys may hold one.
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

/** What the rules say about values, the presets' rules included. */
export function bodyTreatments({ rules, presets }: BodyRules): Treatment[] {
  const asked = rules.map(({ pointer, action }) => ({
    covering: action,
    strength: STRENGTH.user[action],
    name: pointer,
  }));
  return [...asked, ...presets.flatMap(presetTreatments)];
}

function parsePreset(text: string): BodyPreset {
  const preset = BODY_PRESETS.find((known) => known === text);
  if (preset === undefined) {
    throw new AppError('OPTION_INVALID', `${JSON.stringify(text)} is no redaction preset`, {
      hint: `there are ${BODY_PRESETS.join(', ')}`,
    });
  }
  return preset;
}

/** Rules for the protocols that model servers speak. */
const BODY_PRESETS = ['chat', 'v1', 'v2'] as const;
type BodyPreset = (typeof BODY_PRESETS)[number];

type PresetCovering = keyof typeof STRENGTH.preset;

/** A preset's pointers by what becomes of the values they name. */
type PresetRules = Readonly<Partial<Record<PresetCovering, readonly string[]>>>;

/** What a part of a message is, and which call it answers: without these a server refuses the request. */
const PART_LABELS = [
  ...['type', 'id', 'call_id', 'tool_use_id', 'name', 'status', 'role'],
  ...['image_url/detail', 'input_audio/format', 'source/type', 'source/media_type', 'cache_control/type'],
];

/** Likewise of a message. Its own name may be a person's. */
const MESSAGE_LABELS = [
  ...['role', 'channel', 'tool_call_id', 'audio/id', 'function_call/name', 'cache_control/type'],
  ...['type', 'id', 'index', 'function/name', 'custom/name'].map((label) => `tool_calls/*/${label}`),
  ...['type', 'id', 'index', 'format'].map((label) => `reasoning_details/*/${label}`),
  'annotations/*/type',
];

/** The members of an answer's message, or of a piece of one, that hold what a model said. */
const SAID = [
  ...['content', 'reasoning', 'reasoning_content', 'reasoning_details', 'thinking', 'refusal', 'audio'],
  ...['name', 'images', 'annotations', 'citations', 'tool_plan', 'executed_tools', 'token_id'],
  'tool_calls/*/custom/input',
];

const CALL_ARGUMENTS = ['tool_calls/*/function/arguments', 'function_call/arguments'];

/** Each of these members of each of these values. */
function membersOf(values: readonly string[], members: readonly string[]): string[] {
  return values.flatMap((value) => members.map((member) => `${value}/${member}`));
}

/** What users wrote or sent, by the member of a request; for forms, by the field. */
const ASKED = [
  ...['/messages/*', '/prompt', '/suffix', '/input', '/instructions', '/system', '/metadata', '/items'],
  ...['/prediction', '/query', '/queries', '/documents', '/texts', '/text_1', '/text_2', '/prompt_embeds'],
  ...['/file', '/image', '/image[]', '/images', '/mask', '/input_reference'],
  ...['/known_speaker_names[]', '/known_speaker_references[]'],
  // Definitions of tools stay, but for what lets a server in elsewhere.
  ...['/tools/*/headers', '/tools/*/authorization', '/mcp_servers/*/authorization_token'],
];

/**
 * What models answered. The members of a choice are named one by one: where answers are compared later, what is
 * around a covered value would not be.
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
 * Chat completions, completions, responses, conversations, embeddings, reranking, speech and pictures as OpenAI's
 * API has them, with what vLLM and others add to it; the messages of Anthropic's, and what Ollama has of its own.
 * What users wrote and what models answered is masked, whoever the user is becomes a hash.
 */
const CHAT: PresetRules = {
  mask: [...ASKED, ...ANSWERED],
  mask_json: [...membersOf(['/messages/*', '/choices/*/message'], CALL_ARGUMENTS), '/input/*/arguments'],
  hash: ['/user', '/safety_identifier', '/prompt_cache_key'],
  drop: [
    ...['/data/*/embedding', '/data/*/data', '/embedding', '/embeddings'],
    // A mask is no country and no time zone, and a server does without either.
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
    // Parameters of requests whose names are those of something said in a response.
    ...['/audio/voice', '/audio/voice/id', '/audio/format', '/thinking/*'],
    ...['/text/verbosity', '/text/format/type'],
  ],
};

/** TensorFlow Serving, KServe V1 and what follows them. */
const V1: PresetRules = { mask: ['/instances', '/inputs', '/predictions', '/outputs', '/error'] };

/** The Open Inference Protocol: tensors in JSON and, by the same pointers, in Triton's binary part. */
const V2: PresetRules = { mask: ['/inputs/*/data', '/outputs/*/data', '/error'] };

const PRESETS: Readonly<Record<BodyPreset, PresetRules>> = { chat: CHAT, v1: V1, v2: V2 };

/** The rules of a preset. */
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
 * How a value is covered. Beside what a user can ask for, presets know `keep`, which leaves a short word (the
 * `type` of a message's part) as it is inside of something masked, and `mask_json`, whose mask is itself JSON.
 */
type Covering = 'keep' | 'hash' | 'mask' | 'mask_json' | 'drop';

/** What a rule says about the values its pointer names. */
export interface Treatment {
  readonly covering: Covering;
  /** Where several rules name a value, or something around it, the strongest holds. */
  readonly strength: number;
  /** The rule's pointer, as it is noted beside a message. */
  readonly name: string;
}

/**
 * What a user asks for is stronger than any preset, and more hiding is stronger than less; but a preset that says
 * how a value within a masked one is to be masked, or that it is kept, means it.
 */
const STRENGTH = {
  preset: { hash: 1, mask: 2, mask_json: 3, drop: 4, keep: 5 },
  user: { hash: 6, mask: 7, drop: 8 },
} as const;

/** The stronger of two treatments; null is none. */
export function strongerOf(one: Treatment | null, other: Treatment | null): Treatment | null {
  if (one === null || other === null) return one ?? other;
  return other.strength > one.strength ? other : one;
}
