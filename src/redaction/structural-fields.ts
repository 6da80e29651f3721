/**
 * What the preset `llm` leaves readable in a body. It masks everything else, including unknown fields. The list in the
 * guide is generated from here (`npm run document-readable`).
 */

const split = (text: string): string[] => text.split(' ');

/** Words that stay, by the name of their member, at any depth. Any other text is masked. */
export const STRUCTURAL_WORDS: Readonly<Record<string, readonly string[]>> = {
  role: split('system developer user assistant tool function model human CHATBOT SYSTEM USER TOOL'),
  type: [
    ...split('text image_url input_audio file refusal function custom message input_text output_text'),
    ...split('input_image input_file reasoning reasoning_text summary_text function_call item_reference'),
    ...split('function_call_output custom_tool_call custom_tool_call_output mcp mcp_call mcp_list_tools'),
    ...split(
      'web_search web_search_preview web_search_call file_search code_interpreter computer_use_preview',
    ),
    ...split('image_generation local_shell tool_use tool_result tool_calls thinking redacted_thinking image'),
    ...split('document base64 url content ephemeral enabled disabled adaptive auto any none tool json'),
    ...split('json_object json_schema regex grammar structural_tag output_audio file_citation url_citation'),
    ...split('azure_search azure_cosmos_db elasticsearch pinecone api_key access_token deployment_name'),
    ...split('string number integer boolean object array null'),
    ...split('message_start message_delta message_stop content_block_start content_block_delta ping error'),
    ...split('content_block_stop text_delta input_json_delta thinking_delta signature_delta citations_delta'),
    ...split('response.created response.in_progress response.completed response.failed response.incomplete'),
    ...split('response.output_item.added response.output_item.done response.content_part.added'),
    ...split('response.content_part.done response.output_text.delta response.output_text.done'),
    ...split('response.refusal.delta response.refusal.done response.function_call_arguments.delta'),
    ...split('response.function_call_arguments.done response.reasoning_summary_text.delta'),
    ...split('response.reasoning_summary_text.done response.output_text.annotation.added'),
    ...split('content-start content-delta content-end message-start message-end tool-plan-delta'),
    ...split('invalid_request_error authentication_error permission_error not_found_error rate_limit_error'),
    ...split('api_error overloaded_error server_error succeeded errored canceled expired message_batch'),
  ],
  object: [
    ...split('chat.completion chat.completion.chunk text_completion list embedding model response thread'),
    ...split(
      'thread.message thread.run thread.run.step error batch file score rerank classify realtime.session',
    ),
  ],
  finish_reason: split(
    'stop length tool_calls content_filter function_call eos_token stop_sequence abort error COMPLETE MAX_TOKENS TOOL_CALL ERROR',
  ),
  stop_reason: split('end_turn max_tokens stop_sequence tool_use pause_turn refusal'),
  done_reason: split('stop length load unload'),
  status: split('completed in_progress failed cancelled incomplete queued requires_action expired'),
  processing_status: split('in_progress canceling ended'),
  tool_choice: split('auto none required any'),
  function_call: split('auto none'),
  reasoning_effort: split('none minimal low medium high xhigh'),
  effort: split('none minimal low medium high xhigh max'),
  verbosity: split('low medium high'),
  summary: split('auto concise detailed'),
  service_tier: split('auto default flex scale priority standard standard_only batch'),
  encoding_format: split('float base64'),
  response_format: split(
    'json text srt verbose_json vtt diarized_json mp3 opus aac flac wav pcm url b64_json',
  ),
  format: split('wav mp3 flac opus pcm16 aac pcm json text date-time date time email uuid uri'),
  detail: split('auto low high'),
  truncation: split('auto disabled'),
  truncate: split('none start end NONE START END left right'),
  truncation_side: split('left right'),
  input_type: split('query passage document search_query search_document classification clustering image'),
  media_type: split(
    'image/jpeg image/png image/gif image/webp application/pdf text/plain audio/wav audio/mpeg',
  ),
  datatype: split('BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BF16 BYTES'),
  size: split('auto 256x256 512x512 1024x1024 1024x1536 1536x1024 1024x1792 1792x1024'),
  quality: split('auto low medium high standard hd'),
  voice: split('alloy ash ballad coral echo fable onyx nova sage shimmer verse'),
  modalities: split('text audio image'),
  timestamp_granularities: split('word segment'),
  channel: split('analysis commentary final'),
};

/** Members whose numbers stay, at any depth: settings, sizes and counts. A list of numbers is masked. */
export const STRUCTURAL_NUMBERS: readonly string[] = [
  ...split('max_tokens max_completion_tokens max_output_tokens max_new_tokens min_tokens min_new_tokens'),
  ...split('max_length min_length n best_of temperature top_p top_k min_p typical_p top_a epsilon_cutoff'),
  ...split(
    'frequency_penalty presence_penalty repetition_penalty repeat_penalty length_penalty seed logprobs',
  ),
  ...split('top_logprobs prompt_logprobs top_n_tokens num_predict num_ctx num_beams beam_width n_predict'),
  ...split(
    'no_repeat_ngram_size num_return_sequences truncate_prompt_tokens dimensions budget_tokens priority',
  ),
  ...split('top_n timeout speed index output_index content_index summary_index sequence_number created'),
  ...split('created_at completed_at prompt_tokens completion_tokens total_tokens input_tokens output_tokens'),
  ...split('cached_tokens reasoning_tokens audio_tokens text_tokens image_tokens cache_read_input_tokens'),
  ...split(
    'cache_creation_input_tokens accepted_prediction_tokens rejected_prediction_tokens prompt_eval_count',
  ),
  ...split('eval_count total_duration load_duration prompt_eval_duration eval_duration binary_data_size'),
  ...split('minItems maxItems minLength maxLength minimum maximum partial_images output_compression'),
];

/** Members whose lists of numbers also stay. A server needs them to read its input or to end an answer. */
export const STRUCTURAL_LISTS: readonly string[] = ['shape', 'stop_token_ids'];

/** Where a request can be: alone, in a batch of Anthropic's API, or in a batch of OpenAI's API. */
export const REQUESTS = ['', '/requests/*/params', '/body'];
const CALLS = ['id', 'function/name', 'custom/name'].map((name) => `tool_calls/*/${name}`);
const PARTS = ['id', 'call_id', 'tool_use_id', 'tool_call_id', 'name'];

/** The pointers to each of these members of each of these values. */
export function membersOf(values: readonly string[], members: readonly string[]): string[] {
  return values.flatMap((value) => members.map((member) => `${value}/${member}`));
}

/**
 * Pointers of labels: names of models, tools and tensors, and ids. They stay as they are if they are one word of
 * up to 64 letters, digits and `_.:/-`.
 */
export const STRUCTURAL_LABELS: readonly string[] = [
  ...membersOf(
    REQUESTS,
    split('model system_fingerprint language keep_alive previous_response_id assistant_id'),
  ),
  ...membersOf(REQUESTS, [
    'tools/*/name',
    'tools/*/function/name',
    'tools/*/custom/name',
    'functions/*/name',
  ]),
  ...membersOf(REQUESTS, ['tool_choice/name', 'tool_choice/function/name', 'function_call/name']),
  ...membersOf(REQUESTS, ['tools/*/function/parameters/required/*', 'tools/*/parameters/required/*']),
  ...membersOf(REQUESTS, ['tools/*/input_schema/required/*', 'response_format/json_schema/name']),
  ...membersOf(REQUESTS, ['response_format/json_schema/schema/required/*', 'text/format/name']),
  ...membersOf(REQUESTS, ['text/format/schema/required/*', 'messages/*/tool_call_id']),
  ...membersOf(membersOf(REQUESTS, ['messages/*']), [...CALLS, 'function_call/name']),
  ...membersOf(membersOf(REQUESTS, ['messages/*/content/*', 'input/*']), PARTS),
  ...['/id', '/model_name', '/model_version', '/signature_name', '/adapter_id', '/parameters/adapter_id'],
  ...['/inputs/*/name', '/outputs/*/name', '/output_filter/*'],
  ...membersOf(['/infer_response'], ['id', 'model_name', 'model_version', 'outputs/*/name']),
  ...membersOf(['/model_spec'], ['name', 'version', 'version_label', 'signature_name']),
  ...['/tool_outputs/*/tool_call_id', '/thread_id', '/run_id'],
  ...membersOf(
    ['/choices/*/message', '/choices/*/delta', '/message'],
    [...CALLS, 'function_call/name', 'id', 'model'],
  ),
  ...membersOf(
    ['/response', '/response/output/*', '/output/*', '/item', '/content/*', '/content_block'],
    PARTS,
  ),
  ...['/response/model', '/item_id'],
];

/** Words that stay in the head of a multipart form's part: types, their parameters, and extensions of files. */
export const PART_WORDS: readonly string[] = [
  ...split('application audio image text video model font multipart message'),
  ...split(
    'octet-stream json jsonl x-ndjson ndjson x-jsonlines pdf xml yaml x-yaml zip gzip x-gzip gz tar x-tar',
  ),
  ...split('plain txt csv tsv tab-separated-values html htm css javascript js markdown md rtf srt vtt'),
  ...split('msword doc docx xls xlsx ppt pptx parquet npy npz pb pt onnx safetensors'),
  ...split(
    'wav x-wav wave vnd.wave mpeg mpga mp3 mp4 m4a x-m4a aac flac x-flac ogg oga opus webm amr basic pcm',
  ),
  ...split('l16 pcm16 s16le f32le pcmu pcma mulaw alaw vorbis mp4a.40.2 avc1 vp8 vp9 av1'),
  ...split(
    'png jpeg jpg gif webp bmp tiff tif svg svg+xml heic heif avif quicktime mov avi x-msvideo mkv x-matroska',
  ),
  ...split(
    'mixed related form-data alternative utf-8 utf8 utf-16 utf-16le utf-16be us-ascii ascii iso-8859-1 latin1',
  ),
  ...split('windows-1252 shift_jis euc-jp euc-kr gb2312 gbk gb18030 big5 koi8-r'),
  ...split('little-endian big-endian little big int16 int32 float32'),
];
const PART_WORD: ReadonlySet<string> = new Set(PART_WORDS);
const PART_NUMBER = /^[0-9]{1,6}(?:\.[0-9]{1,3})?$/;

/** Whether a word or number in the head of a part stays. */
export function isPartWord(text: string): boolean {
  return PART_WORD.has(text.toLowerCase()) || PART_NUMBER.test(text);
}

const WORDS: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  Object.entries(STRUCTURAL_WORDS).map(([name, words]) => [name, new Set(words)]),
);
const ANY_WORD: ReadonlySet<string> = new Set(Object.values(STRUCTURAL_WORDS).flat());
const LONGEST_WORD = Math.max(...[...ANY_WORD].map((word) => word.length));
const NUMBERS: ReadonlySet<string> = new Set([...STRUCTURAL_NUMBERS, ...STRUCTURAL_LISTS]);
const LISTS: ReadonlySet<string> = new Set(STRUCTURAL_LISTS);
const FORM_NUMBER = /^-?\d{1,16}(?:\.\d{1,16})?$/;

/** Whether a text may be one of the words. Few are, so member names are read only for those. */
export function mayBeWord(text: Buffer, from: number, to: number): boolean {
  return to - from <= LONGEST_WORD && ANY_WORD.has(text.toString('latin1', from, to));
}

export function isStructuralWord(name: string, text: string): boolean {
  return WORDS.get(name)?.has(text) ?? false;
}

/** @param listed whether the number is an element of a list with this name */
export function isStructuralNumber(name: string, listed: boolean): boolean {
  return (listed ? LISTS : NUMBERS).has(name);
}

/** Whether a form's field stays. In a form, words and numbers are both texts, and a list's name ends in brackets. */
export function isStructuralField(name: string, text: string): boolean {
  const bare = name.endsWith('[]') ? name.slice(0, -2) : name;
  return isStructuralWord(bare, text) || (NUMBERS.has(bare) && FORM_NUMBER.test(text));
}
