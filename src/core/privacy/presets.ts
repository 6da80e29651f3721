import { STRENGTH, type Treatment } from './treatment.ts';

/** Rules for the protocols that model servers speak. */
export const BODY_PRESETS = ['chat', 'v1', 'v2'] as const;
export type BodyPreset = (typeof BODY_PRESETS)[number];

type PresetCovering = keyof typeof STRENGTH.preset;

/** A preset's pointers by what becomes of the values they name. */
type PresetRules = Readonly<Partial<Record<PresetCovering, readonly string[]>>>;

/** What a part of a message is, and which call it answers: without these a server refuses the request. */
const PART_LABELS = ['type', 'id', 'call_id', 'tool_use_id', 'name', 'status', 'role'];
const PART_FORMATS = [
  'image_url/detail',
  'input_audio/format',
  'source/type',
  'source/media_type',
  'cache_control/type',
];

function labelsOf(...parts: readonly string[]): string[] {
  return parts.flatMap((part) => [...PART_LABELS, ...PART_FORMATS].map((label) => `${part}/${label}`));
}

/** The text fields of a message, in a request, in a response and in a piece of a streamed one. */
function messageTexts(message: string): string[] {
  const fields = ['content', 'reasoning', 'reasoning_content', 'refusal', 'audio', 'name'];
  return fields.map((field) => `${message}/${field}`);
}

function callArguments(message: string): string[] {
  return [`${message}/tool_calls/*/function/arguments`, `${message}/function_call/arguments`];
}

/**
 * Chat completions, completions, responses, embeddings and reranking as OpenAI's API has them, and the messages
 * of Anthropic's, and the files of its forms for sound and pictures. What users wrote and what models answered is masked, whoever the user is becomes a hash.
 */
const CHAT: PresetRules = {
  mask: [
    ...messageTexts('/messages/*'),
    ...['/prompt', '/suffix', '/input', '/instructions', '/system', '/query', '/documents', '/metadata'],
    ...['/choices/*/message', '/choices/*/delta'].flatMap(messageTexts),
    ...['/choices/*/delta'].flatMap(callArguments),
    ...['/choices/*/text', '/choices/*/logprobs', '/choices/*/prompt_logprobs', '/prompt_logprobs'],
    ...['/output', '/output_text', '/text', '/delta', '/part', '/item', '/content', '/content_block'],
    ...['/file', '/image', '/image[]', '/mask', '/input_reference'],
    ...['/message', '/response', '/error', '/detail', '/arguments', '/results/*/document'],
  ],
  mask_json: [...callArguments('/messages/*'), ...callArguments('/choices/*/message'), '/input/*/arguments'],
  hash: ['/user', '/safety_identifier', '/prompt_cache_key'],
  drop: ['/data/*/embedding'],
  keep: [
    ...labelsOf('/messages/*/content/*', '/system/*', '/input/*', '/input/*/content/*'),
    ...labelsOf('/output/*', '/output/*/content/*', '/item', '/item/content/*', '/part', '/delta'),
    ...labelsOf('/content/*', '/content_block', '/message', '/message/content/*'),
    ...['/delta/stop_reason', '/message/model', '/message/stop_reason', '/error/type', '/error/code'],
    ...['id', 'object', 'status', 'model', 'created_at'].map((field) => `/response/${field}`),
    ...['input_tokens', 'output_tokens', 'total_tokens'].flatMap((field) => [
      `/response/usage/${field}`,
      `/message/usage/${field}`,
    ]),
    ...labelsOf('/response/output/*', '/response/output/*/content/*'),
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
