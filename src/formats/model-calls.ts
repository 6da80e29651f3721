import { asObject, type JsonObject } from './input.ts';

/** Attributes of a span as plain values. */
export type Attributes = ReadonlyMap<string, unknown>;

/** What a span says about a model call. Times are epoch microseconds. */
interface Span {
  readonly attributes: Attributes;
  readonly startUs: number;
  /** Null if the span has no end, or ends before it starts. */
  readonly endUs: number | null;
  readonly isError: boolean;
  readonly events: readonly {
    readonly name: string;
    readonly timeUs: number;
    readonly attributes: Attributes;
  }[];
}

export type Operation = 'chat' | 'completion' | 'embeddings';

/** A call of a model. Offsets are microseconds after its start. */
export interface ModelCall {
  readonly operation: Operation;
  readonly model: string | null;
  readonly promptTokens: number | null;
  readonly outputTokens: number | null;
  readonly firstTokenOffsetUs: number | null;
  readonly streamed: boolean | null;
  readonly isError: boolean;
  /** 200 for a call without an error; null for an error that names no status. */
  readonly status: number | null;
  readonly conversation: string | null;
  readonly user: string | null;
  /** Host, with its port if known. */
  readonly server: string | null;
  /** A body for an OpenAI-compatible server; null if the span has no messages. */
  readonly body: Buffer | null;
  /** Contents of the span that the call cannot express. */
  readonly lacking: readonly string[];
}

/**
 * The model call that a span describes; null for any other span. Known are the conventions of OpenTelemetry GenAI,
 * OpenLLMetry and OpenInference, and the spans of vLLM and SGLang.
 * @see https://github.com/open-telemetry/semantic-conventions-genai
 * @see https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
 */
export function modelCallOf(span: Span): ModelCall | null {
  const { attributes, isError } = span;
  const operation = operationOf(attributes);
  if (operation === null) return null;
  const lacking: string[] = [];
  const model = textOf(attributes, MODEL);
  const firstTokenOffsetUs = firstTokenOf(span, lacking);
  const saysStreamed = [...STREAMED.map((key) => attributes.get(key))].find(
    (said) => typeof said === 'boolean',
  );
  const streamed = saysStreamed ?? (firstTokenOffsetUs === null ? null : true);
  const content = contentOf(attributes, operation, lacking);
  return {
    operation,
    model,
    promptTokens: countOf(attributes, PROMPT_TOKENS),
    outputTokens: countOf(attributes, OUTPUT_TOKENS),
    firstTokenOffsetUs,
    streamed: streamed as boolean | null,
    isError,
    status: statusOf(span),
    conversation: textOf(attributes, CONVERSATION),
    user: textOf(attributes, USER),
    server: serverOf(attributes),
    body:
      content &&
      Buffer.from(
        JSON.stringify({
          model: model ?? undefined,
          ...parametersOf(attributes),
          ...(streamed === true ? { stream: true } : {}),
          ...content,
        }),
      ),
    lacking,
  };
}

/** Whether a span describes agents, tools or chains, and not only the transport of a message. */
export function isOfModels(attributes: Attributes): boolean {
  return [...attributes.keys()].some((key) => /^(?:gen_ai|openinference|traceloop|llm)\./.test(key));
}

const OPERATIONS: ReadonlyMap<string, Operation> = new Map([
  ['chat', 'chat'],
  ['generate_content', 'chat'],
  ['text_completion', 'completion'],
  ['completion', 'completion'],
  ['embeddings', 'embeddings'],
  ['embedding', 'embeddings'],
  ['LLM', 'chat'],
  ['EMBEDDING', 'embeddings'],
]);
const NAMES_OPERATION = [
  'gen_ai.operation.name',
  'llm.request.type',
  'openinference.span.kind',
  'traceloop.span.kind',
];
const MODEL = ['gen_ai.request.model', 'llm.model_name', 'embedding.model_name', 'gen_ai.response.model'];
const PROMPT_TOKENS = [
  'gen_ai.usage.input_tokens',
  'gen_ai.usage.prompt_tokens',
  'llm.usage.prompt_tokens',
  'llm.token_count.prompt',
];
const OUTPUT_TOKENS = [
  'gen_ai.usage.output_tokens',
  'gen_ai.usage.completion_tokens',
  'llm.usage.completion_tokens',
  'llm.token_count.completion',
];
const CONVERSATION = ['gen_ai.conversation.id', 'session.id', 'traceloop.association.properties.session_id'];
const USER = ['user.id', 'enduser.id', 'traceloop.association.properties.user_id'];
const STREAMED = ['gen_ai.request.stream', 'llm.is_streaming', 'gen_ai.is_streaming'];
/** Each with its unit in microseconds. */
const FIRST_TOKEN: readonly (readonly [key: string, us: number])[] = [
  ['gen_ai.response.time_to_first_chunk', 1e6],
  ['gen_ai.latency.time_to_first_token', 1e6],
  ['ai.response.msToFirstChunk', 1e3],
];
const FIRST_TOKEN_EVENTS: ReadonlySet<string> = new Set([
  'First Token Stream Event',
  'gen_ai.content.completion.chunk',
  'llm.content.completion.chunk',
  'reprise.first_token',
]);
const PARAMETERS: readonly (readonly [key: string, member: string])[] = [
  ['max_tokens', 'max_tokens'],
  ['temperature', 'temperature'],
  ['top_p', 'top_p'],
  ['top_k', 'top_k'],
  ['frequency_penalty', 'frequency_penalty'],
  ['presence_penalty', 'presence_penalty'],
  ['stop_sequences', 'stop'],
  ['seed', 'seed'],
  ['choice.count', 'n'],
];
/** Errors of the OpenAI and Anthropic SDKs, each with the status for which it is raised. */
const STATUS_OF_ERROR: ReadonlyMap<string, number> = new Map([
  ['BadRequestError', 400],
  ['AuthenticationError', 401],
  ['PermissionDeniedError', 403],
  ['NotFoundError', 404],
  ['ConflictError', 409],
  ['UnprocessableEntityError', 422],
  ['RateLimitError', 429],
  ['InternalServerError', 500],
]);

function operationOf(attributes: Attributes): Operation | null {
  const named = textOf(attributes, NAMES_OPERATION);
  if (named !== null) return OPERATIONS.get(named) ?? null;
  // Servers' own spans name no operation.
  return [...MODEL, ...OUTPUT_TOKENS].some((key) => attributes.has(key)) ? 'chat' : null;
}

function firstTokenOf({ attributes, events, startUs, endUs }: Span, lacking: string[]): number | null {
  const event = events.find(({ name }) => FIRST_TOKEN_EVENTS.has(name));
  const [key, us] = FIRST_TOKEN.find(([name]) => typeof attributes.get(name) === 'number') ?? [];
  const offsetUs =
    key === undefined ? event && event.timeUs - startUs : Math.round(Number(attributes.get(key)) * (us ?? 1));
  if (offsetUs === undefined) return null;
  if (offsetUs >= 0 && startUs + offsetUs <= (endUs ?? 0)) return offsetUs;
  lacking.push('a first token that is not within its call: unknown');
  return null;
}

function statusOf({ attributes, isError, events }: Span): number | null {
  const code = ['http.response.status_code', 'http.status_code']
    .map((key) => attributes.get(key))
    .find(isStatus);
  if (code !== undefined) return code;
  if (!isError) return 200;
  const exception = events.find(({ name }) => name === 'exception')?.attributes ?? new Map();
  const error = textOf(attributes, ['error.type']) ?? textOf(exception, ['exception.type']) ?? '';
  const status = STATUS_OF_ERROR.get(error.slice(error.lastIndexOf('.') + 1)) ?? Number(error);
  return isStatus(status) ? status : null;
}

function isStatus(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 100 && Number(value) <= 999;
}

function serverOf(attributes: Attributes): string | null {
  const address = textOf(attributes, ['server.address']);
  if (address === null || !/^[\w.:-]+$/.test(address)) return null;
  const port = attributes.get('server.port');
  const host = address.includes(':') ? `[${address}]` : address;
  return Number.isInteger(port) ? `${host}:${port}` : host;
}

function parametersOf(attributes: Attributes): JsonObject {
  const stated = PARAMETERS.flatMap(([key, member]) => {
    const value = attributes.get(`gen_ai.request.${key}`);
    return value === undefined ? [] : [[member, value]];
  });
  const { system: _, ...invoked } = asObject(jsonOf(attributes.get('llm.invocation_parameters'))) ?? {};
  return { ...invoked, ...Object.fromEntries(stated) };
}

/** The prompt, as members of a request body; null if the span does not have it. */
function contentOf(attributes: Attributes, operation: Operation, lacking: string[]): JsonObject | null {
  const whole = wholeRequestOf(attributes, operation);
  if (whole !== null) return whole;
  const messages = messagesOf(attributes, lacking);
  if (operation === 'chat' && messages.length > 0) return { ...toolsOf(attributes, lacking), messages };
  const texts = [
    ...itemsOf(treeOf(attributes, 'llm.prompts')).map((each) => asObject(each['prompt'])?.['text']),
    ...itemsOf(treeOf(attributes, 'embedding.embeddings')).map(
      (each) => asObject(each['embedding'])?.['text'],
    ),
    ...messages.map(({ content }) => content),
  ].filter((text) => typeof text === 'string' && text !== '');
  if (texts.length === 0) return null;
  const [only] = texts;
  return { [operation === 'embeddings' ? 'input' : 'prompt']: texts.length === 1 ? only : texts };
}

/** The request in OpenInference's `input.value`, if it is a body for an OpenAI-compatible server. */
function wholeRequestOf(attributes: Attributes, operation: Operation): JsonObject | null {
  const value = asObject(jsonOf(attributes.get('input.value')));
  if (value === null) return null;
  if (operation === 'embeddings') return 'input' in value ? value : null;
  if ('system' in value || attributes.get('llm.system') === 'anthropic') return null;
  const { messages, prompt } = value;
  const isChat =
    Array.isArray(messages) && messages.every((each) => typeof asObject(each)?.['role'] === 'string');
  return isChat || typeof prompt === 'string' ? value : null;
}

/** Turns of a chat in OpenAI's format. The span may follow any of the conventions. */
function messagesOf(attributes: Attributes, lacking: string[]): JsonObject[] {
  const input = jsonOf(attributes.get('gen_ai.input.messages'));
  if (Array.isArray(input)) {
    const instructions = jsonOf(attributes.get('gen_ai.system_instructions'));
    const system = Array.isArray(instructions) ? [{ role: 'system', parts: instructions }] : [];
    return [...system, ...input].flatMap((each) => messagesOfParts(asObject(each) ?? {}, lacking));
  }
  const numbered = itemsOf(treeOf(attributes, 'gen_ai.prompt'));
  const wrapped = itemsOf(treeOf(attributes, 'llm.input_messages')).map(
    (each) => asObject(each['message']) ?? {},
  );
  return [...(numbered.length > 0 ? numbered : wrapped)].map(messageOfTree);
}

/** Converts a message with typed parts (GenAI). Tool results become separate messages. */
function messagesOfParts({ role, parts, content }: JsonObject, lacking: string[]): JsonObject[] {
  const contents: JsonObject[] = [];
  const calls: JsonObject[] = [];
  const answers: JsonObject[] = [];
  for (const part of (Array.isArray(parts) ? parts : [{ type: 'text', content }]).map(
    (each) => asObject(each) ?? {},
  )) {
    const { type, id, uri, data = part['content'] } = part;
    if (type === 'text' && typeof part['content'] === 'string')
      contents.push({ type, text: part['content'] });
    else if (type === 'tool_call') calls.push(callOf(id, part['name'], part['arguments']));
    else if (type === 'tool_call_response')
      answers.push({ role: 'tool', tool_call_id: id, content: written(part['response'] ?? part['result']) });
    else if (part['modality'] === 'image' && (type === 'uri' || type === 'blob'))
      contents.push({
        type: 'image_url',
        image_url: { url: type === 'uri' ? uri : `data:${part['mime_type'] ?? 'image/png'};base64,${data}` },
      });
    else lacking.push('a part of a message that is no text, image or tool call: left out');
  }
  const tool_calls = calls.length === 0 ? undefined : calls;
  const said = contents.length + calls.length === 0 ? [] : [{ role, content: plain(contents), tool_calls }];
  return [...said, ...answers];
}

/** Converts a message from numbered attributes (OpenLLMetry, OpenInference). */
function messageOfTree(tree: JsonObject): JsonObject {
  const calls = itemsOf(tree['tool_calls']).map((each) => {
    const call = asObject(each['tool_call']) ?? each;
    const { name, arguments: given } = asObject(call['function']) ?? call;
    return callOf(call['id'], name, given);
  });
  const contents = itemsOf(tree['contents']).map((each) => {
    const { type, text, image } = asObject(each['message_content']) ?? {};
    const url = asObject(asObject(image)?.['image'])?.['url'];
    return url === undefined ? { type, text } : { type: 'image_url', image_url: { url } };
  });
  const listed = jsonOf(tree['content']);
  const isParts =
    Array.isArray(listed) && listed.every((each) => typeof asObject(each)?.['type'] === 'string');
  return {
    role: tree['role'] ?? 'user',
    content: contents.length > 0 ? plain(contents) : isParts ? listed : (tree['content'] ?? null),
    tool_call_id: tree['tool_call_id'],
    tool_calls: calls.length === 0 ? undefined : calls,
  };
}

/** Tools in OpenAI's format. The span may follow any of the conventions. */
function toolsOf(attributes: Attributes, lacking: string[]): JsonObject {
  const defined = jsonOf(attributes.get('gen_ai.tool.definitions'));
  const tools = [
    ...(Array.isArray(defined) ? defined : []),
    ...itemsOf(treeOf(attributes, 'llm.request.functions')),
    ...itemsOf(treeOf(attributes, 'llm.tools')).map((each) =>
      jsonOf(asObject(each['tool'])?.['json_schema']),
    ),
  ].flatMap((each) => {
    const { type = 'function', function: named, input_schema, parameters, ...rest } = asObject(each) ?? {};
    if (named !== undefined || rest['name'] !== undefined)
      return [{ type, function: named ?? { ...rest, parameters: jsonOf(parameters ?? input_schema) } }];
    lacking.push('a tool without a name: left out');
    return [];
  });
  return tools.length === 0 ? {} : { tools };
}

function callOf(id: unknown, name: unknown, given: unknown): JsonObject {
  return { id, type: 'function', function: { name, arguments: written(given) } };
}

/** A single text stays a string; any other content becomes a list of parts. */
function plain(contents: readonly JsonObject[]): unknown {
  const [only] = contents;
  if (contents.length === 1 && only?.['type'] === 'text') return only['text'];
  return contents.length === 0 ? null : contents;
}

function written(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}

/** The first of these attributes that is a non-empty text. */
function textOf(attributes: Attributes, keys: readonly string[]): string | null {
  const value = keys
    .map((key) => attributes.get(key))
    .find((each) => typeof each === 'string' && each !== '');
  return value === undefined ? null : (value as string);
}

function countOf(attributes: Attributes, keys: readonly string[]): number | null {
  const value = keys
    .map((key) => attributes.get(key))
    .find((each) => Number.isSafeInteger(each) && Number(each) >= 0);
  return value === undefined ? null : (value as number);
}

/** Parses a value that an exporter may have written as JSON text. Undefined if a text is not JSON. */
function jsonOf(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}

/** Attributes `prefix.0.role`, `prefix.0.content` … as an object of objects. */
function treeOf(attributes: Attributes, prefix: string): JsonObject {
  const root = Object.create(null);
  for (const [key, value] of attributes) {
    if (!key.startsWith(`${prefix}.`)) continue;
    const path = key.slice(prefix.length + 1).split('.');
    const last = path.pop() ?? '';
    let node = root;
    for (const step of path) {
      if (asObject(node[step]) === null) node[step] = Object.create(null);
      node = node[step];
    }
    node[last] = value;
  }
  return root;
}

/** The objects whose keys are whole numbers, in ascending order. */
function itemsOf(tree: unknown): JsonObject[] {
  return Object.values(asObject(tree) ?? {})
    .map(asObject)
    .filter((each) => each !== null);
}
