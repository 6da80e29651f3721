import { STRENGTH, type Treatment } from './treatment.ts';

/** Rules for the protocols that model servers speak. */
export const BODY_PRESETS = ['chat', 'v1', 'v2'] as const;
export type BodyPreset = (typeof BODY_PRESETS)[number];

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
export function presetTreatments(preset: BodyPreset): Treatment[] {
  return Object.entries(PRESETS[preset]).flatMap(([covering, pointers]) =>
    pointers.map((name) => ({
      covering: covering as PresetCovering,
      strength: STRENGTH.preset[covering as PresetCovering],
      name,
    })),
  );
}
