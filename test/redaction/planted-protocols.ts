import { gzipSync } from 'node:zlib';
import { SeededRandom } from '../../src/core/random.ts';
import type { PlantedExchange } from './planted-secrets.ts';

/** The row of the guide's table that describes how a secret is handled. */
export type Place = 'request bodies' | 'response bodies' | 'credentials' | 'other headers, paths';

/** Makes a new secret. */
type Secret = () => string;

/** Request and answer of one API. A text is sent unchanged, anything else as JSON. */
interface Protocol {
  readonly target: string;
  readonly request: (secret: Secret) => unknown;
  readonly answer: (secret: Secret) => unknown;
  readonly type?: string;
  readonly answerType?: string;
  readonly headers?: readonly string[];
}

export interface PlantedProtocol extends PlantedExchange {
  readonly places: ReadonlyMap<string, Place>;
}

const CRLF = '\r\n';
const EVENTS = 'text/event-stream';
const LINES = 'application/x-ndjson';

const events = (...documents: readonly unknown[]): string =>
  `${documents.map((document) => `data: ${JSON.stringify(document)}\n\n`).join('')}data: [DONE]\n\n`;
const named = (...documents: readonly { type: string }[]): string =>
  documents.map((document) => `event: ${document.type}\ndata: ${JSON.stringify(document)}\n\n`).join('');
const lines = (...documents: readonly unknown[]): string =>
  documents.map((document) => `${JSON.stringify(document)}\n`).join('');

const user = (s: Secret) => ({ role: 'user', content: [{ type: 'text', text: `I am ${s()}` }], name: s() });
const call = (s: Secret) => ({
  id: 'call_1',
  type: 'function',
  function: { name: 'find', arguments: JSON.stringify({ who: s() }) },
});
const tool = (s: Secret) => ({
  type: 'function',
  function: {
    name: 'find',
    description: s(),
    parameters: { type: 'object', properties: { who: { type: 'string', enum: [s()], default: s() } } },
  },
});
const choice = (message: object) => ({ index: 0, finish_reason: 'stop', message });

/** Chat in the form of OpenAI's API. */
const chat = (s: Secret, more: object = {}) => ({
  model: 'm',
  messages: [{ role: 'system', content: s() }, user(s), { role: 'assistant', tool_calls: [call(s)] }],
  ...more,
});
const said = (s: Secret, more: object = {}) => ({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  choices: [choice({ role: 'assistant', content: s(), reasoning_content: s(), refusal: s(), ...more })],
});

const OPENAI: Readonly<Record<string, Protocol>> = {
  'OpenAI chat': {
    target: '/v1/chat/completions',
    request: (s) =>
      chat(s, {
        tools: [tool(s)],
        metadata: { [`of`]: s() },
        user: s(),
        prediction: { type: 'content', content: s() },
      }),
    answer: (s) =>
      said(s, {
        annotations: [{ type: 'url_citation', url_citation: { url: `https://h/${s()}`, title: s() } }],
      }),
  },
  'OpenAI chat streamed': {
    target: '/v1/chat/completions',
    request: (s) =>
      chat(s, {
        stream: true,
        stop: [s()],
        response_format: { type: 'json_schema', json_schema: { name: 'n', schema: { enum: [s()] } } },
      }),
    answer: (s) =>
      events(
        { choices: [{ index: 0, delta: { role: 'assistant', content: s() } }] },
        {
          choices: [
            { index: 0, delta: { content: s(), reasoning: s() }, logprobs: { content: [{ token: s() }] } },
          ],
        },
        { choices: [], unheard: { of: [s()] } },
      ),
    answerType: EVENTS,
  },
  'OpenAI completions': {
    target: '/v1/completions',
    request: (s) => ({ model: 'm', prompt: [s(), s()], suffix: s(), user: s() }),
    answer: (s) => ({ choices: [{ index: 0, text: s(), logprobs: { tokens: [s()] } }] }),
  },
  'OpenAI responses': {
    target: '/v1/responses',
    request: (s) => ({
      model: 'm',
      instructions: s(),
      input: [
        { type: 'message', role: 'user', content: [{ type: 'input_text', text: s() }] },
        { type: 'function_call_output', call_id: 'c', output: s() },
      ],
      tools: [
        {
          type: 'mcp',
          server_label: s(),
          server_url: `https://u:${s()}@h/sse?key=${s()}`,
          headers: { Authorization: s() },
          authorization: s(),
        },
        {
          type: 'code_interpreter',
          container: { network_policy: { domain_secrets: [{ domain: s(), name: s(), value: s() }] } },
        },
        { type: 'web_search', user_location: { city: s() }, filters: { allowed_domains: [s()] } },
      ],
      prompt: { id: s(), variables: { who: s() } },
    }),
    answer: (s) => ({
      id: 'resp_1',
      object: 'response',
      status: 'completed',
      instructions: s(),
      output: [
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: s() }] },
        { type: 'mcp_call', arguments: s(), output: s() },
      ],
    }),
  },
  'OpenAI responses streamed': {
    target: '/v1/responses',
    request: (s) => ({ model: 'm', input: s(), stream: true }),
    answer: (s) =>
      named(
        { type: 'response.created', response: { id: 'resp_1', instructions: s() } } as { type: string },
        { type: 'response.output_text.delta', item_id: 'msg_1', delta: s(), obfuscation: s() } as {
          type: string;
        },
        { type: 'response.unheard_of', of: { it: s() } } as { type: string },
      ),
    answerType: EVENTS,
  },
  'OpenAI embeddings': {
    target: '/v1/embeddings',
    request: (s) => ({ model: 'm', input: [s(), s()], user: s() }),
    answer: (s) => ({ data: [{ index: 0, embedding: s(), object: 'embedding' }], echo: s() }),
  },
  'OpenAI moderations': {
    target: '/v1/moderations',
    request: (s) => ({
      input: [
        { type: 'text', text: s() },
        { type: 'image_url', image_url: { url: `https://h/i?sig=${s()}` } },
      ],
    }),
    answer: (s) => ({ id: 'modr_1', results: [{ categories: {}, explanation: s() }] }),
  },
  'OpenAI images': {
    target: '/v1/images/generations',
    request: (s) => ({ prompt: s(), size: '512x512', user: s() }),
    answer: (s) => ({
      created: 1,
      data: [{ b64_json: s(), revised_prompt: s(), url: `https://h/i?sig=${s()}` }],
    }),
  },
  'OpenAI threads': {
    target: '/v1/threads/runs',
    request: (s) => ({
      assistant_id: 'asst_1',
      thread: { messages: [user(s)], metadata: { who: s() } },
      additional_instructions: s(),
      additional_messages: [{ role: 'user', content: s() }],
    }),
    answer: (s) => ({
      object: 'thread.run',
      status: 'requires_action',
      instructions: s(),
      required_action: { submit_tool_outputs: { tool_calls: [call(s)] } },
    }),
  },
  'OpenAI tool outputs': {
    target: '/v1/threads/t_1/runs/r_1/submit_tool_outputs',
    request: (s) => ({
      tool_outputs: [
        { tool_call_id: 'call_1', output: s() },
        { tool_call_id: 'call_2', output: JSON.stringify({ x: s() }) },
      ],
    }),
    answer: (s) => ({ last_error: { code: s(), message: s() } }),
  },
  'OpenAI batch lines': {
    target: '/v1/batches',
    request: (s) =>
      lines(
        { custom_id: s(), method: s(), url: s(), body: chat(s) },
        { custom_id: s(), body: { input: s() } },
      ),
    answer: (s) => lines({ custom_id: s(), response: { body: said(s) } }),
    type: LINES,
    answerType: LINES,
  },
  'OpenAI audio': {
    target: '/v1/audio/transcriptions',
    request: (s) =>
      multipart([
        ['name="model"', 'whisper-1'],
        ['name="prompt"', s()],
        ['name="hotwords"', s()],
        ['name="unheard"', s()],
        [`name="file"; filename="${s()}.wav"`, `RIFF${s()}`],
      ]),
    answer: (s) => ({
      text: s(),
      segments: [{ id: 0, text: s() }],
      words: [{ word: s() }],
      speakers: { a: s() },
    }),
    type: 'multipart/form-data; boundary=edge',
  },
  'OpenAI speech': {
    target: '/v1/audio/speech',
    request: (s) => ({ model: 'm', input: s(), voice: s(), instructions: s() }),
    answer: (s) => ({ error: { message: s(), type: s(), param: s(), code: s() } }),
  },
};

const OTHERS: Readonly<Record<string, Protocol>> = {
  'Azure chat': {
    target: '/openai/deployments/d/chat/completions?api-version=1',
    request: (s) =>
      chat(s, {
        data_sources: [
          {
            type: 'azure_search',
            parameters: {
              endpoint: `https://${s()}.net`,
              index_name: s(),
              filter: s(),
              authentication: { type: 'api_key', key: s() },
              embedding_dependency: { endpoint: s(), authentication: { key: s() } },
            },
          },
          {
            type: 'elasticsearch',
            parameters: { authentication: { type: 'encoded_api_key', encoded_api_key: s() } },
          },
        ],
      }),
    answer: (s) =>
      said(s, {
        context: {
          citations: [{ content: s(), title: s(), filepath: s(), url: s() }],
          intent: s(),
          all_retrieved_documents: [{ search_queries: [s()] }],
        },
      }),
  },
  'Anthropic messages': {
    target: '/v1/messages',
    request: (s) => ({
      model: 'm',
      max_tokens: 9,
      system: [{ type: 'text', text: s(), cache_control: { type: 'ephemeral' } }],
      messages: [
        user(s),
        { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'f', input: { who: s() } }] },
      ],
      mcp_servers: [
        {
          type: 'url',
          url: `https://h/${s()}?k=${s()}`,
          name: s(),
          authorization_token: s(),
          tool_configuration: { allowed_tools: [s()] },
        },
      ],
      metadata: { user_id: s() },
      stop_sequences: [s()],
      tools: [
        {
          name: 'f',
          description: s(),
          input_schema: { type: 'object', properties: { who: { const: s() } } },
        },
      ],
    }),
    answer: (s) => ({
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      content: [
        { type: 'thinking', thinking: s(), signature: s() },
        { type: 'text', text: s(), citations: [{ cited_text: s() }] },
      ],
      container: { id: s() },
    }),
  },
  'Anthropic streamed': {
    target: '/v1/messages',
    request: (s) => ({ model: 'm', stream: true, messages: [{ role: 'user', content: s() }] }),
    answer: (s) =>
      named(
        { type: 'content_block_delta', delta: { type: 'text_delta', text: s() } } as { type: string },
        { type: 'content_block_delta', delta: { type: 'input_json_delta', partial_json: s() } } as {
          type: string;
        },
        { type: 'error', error: { type: 'api_error', message: s() } } as { type: string },
      ),
    answerType: EVENTS,
  },
  'Anthropic batches': {
    target: '/v1/messages/batches',
    request: (s) => ({
      requests: [s(), s()].map((id) => ({
        custom_id: id,
        params: { model: 'm', system: s(), messages: [user(s)], metadata: { user_id: s() } },
      })),
    }),
    answer: (s) =>
      lines({
        custom_id: s(),
        result: { type: 'succeeded', message: { role: 'assistant', content: [{ type: 'text', text: s() }] } },
      }),
    answerType: LINES,
  },
  'vLLM chat': {
    target: '/v1/chat/completions',
    request: (s) =>
      chat(s, {
        guided_choice: [s(), s()],
        guided_regex: s(),
        guided_json: { properties: { a: { pattern: s() } } },
        guided_grammar: s(),
        structured_outputs: { choice: [s()], regex: s(), json: { title: s() } },
        chat_template: s(),
        chat_template_kwargs: { persona: s(), enable_thinking: false },
        documents: [{ title: s(), text: s() }],
        bad_words: [s()],
        mm_processor_kwargs: { note: s() },
        kv_transfer_params: { remote_host: s() },
      }),
    answer: (s) => said(s, { stop_reason: s() }),
  },
  'vLLM rerank': {
    target: '/v1/rerank',
    request: (s) => ({ model: 'm', query: s(), documents: [s(), { text: s() }], text_1: s(), text_2: [s()] }),
    answer: (s) => ({ results: [{ index: 0, relevance_score: 0.5, document: { text: s() } }] }),
  },
  'vLLM tokenize': {
    target: '/tokenize',
    request: (s) => ({ model: 'm', prompt: s() }),
    answer: (s) => ({ count: 2, token_strs: [s(), s()] }),
  },
  'SGLang generate': {
    target: '/generate',
    request: (s) => ({
      text: [s()],
      sampling_params: { stop: [s()], regex: s(), json_schema: s() },
      image_data: s(),
      lora_path: s(),
    }),
    answer: (s) => ({ text: s(), meta_info: { id: s(), finish_reason: { type: 'stop', matched: s() } } }),
  },
  'TGI generate': {
    target: '/generate',
    request: (s) => ({
      inputs: s(),
      parameters: { stop: [s()], grammar: { type: 'regex', value: s() }, watermark: false },
    }),
    answer: (s) => ({
      generated_text: s(),
      details: { prefill: [{ id: 1, text: s() }], tokens: [{ id: 2, text: s() }] },
    }),
  },
  'TGI streamed': {
    target: '/generate_stream',
    request: (s) => ({ inputs: s() }),
    answer: (s) =>
      named({ type: 'ping' }) + events({ index: 1, token: { id: 1, text: s() }, generated_text: s() }),
    answerType: EVENTS,
  },
  'Triton generate': {
    target: '/v2/models/m/generate',
    request: (s) => ({
      text_input: s(),
      system: s(),
      parameters: { bad_words: [s()], stop_words: [s()], note: s() },
    }),
    answer: (s) => ({ model_name: 'm', text_output: s(), context_logits: s() }),
  },
  'Triton streamed': {
    target: '/v2/models/m/generate_stream',
    request: (s) => ({ id: 'r-1', prompt: s(), images: [s()] }),
    answer: (s) => events({ text_output: s() }, { text_output: s(), sequence_id: s() }),
    answerType: EVENTS,
  },
  'V2 infer': {
    target: '/v2/models/m/infer',
    request: (s) => ({
      id: '1',
      parameters: { who: s() },
      inputs: [
        { name: 't', datatype: 'BYTES', shape: [2], data: [s(), [s()]], parameters: { content_type: s() } },
      ],
    }),
    answer: (s) => ({ outputs: [{ name: 'o', datatype: 'BYTES', shape: [1], data: [s()] }], error: s() }),
  },
  'V2 binary': {
    target: '/v2/models/m/infer',
    request: (s) => binaryTensor(s()),
    answer: (s) => ({ outputs: [{ name: 'o', datatype: 'BYTES', shape: [1], data: [s()] }] }),
    headers: [`Inference-Header-Content-Length: ${tensorJson(30).length}`],
  },
  'TF Serving classify': {
    target: '/v1/models/m:classify',
    request: (s) => ({
      signature_name: 'c',
      context: { who: s() },
      examples: [{ city: s(), tags: [s(), { b64: s() }] }],
    }),
    answer: (s) => ({ results: [[[s(), 0.7]]] }),
  },
  'TF Serving predict': {
    target: '/v1/models/m:predict',
    request: (s) => ({ instances: [{ text: s() }, [s()], { b64: s() }] }),
    answer: (s) => ({ predictions: [s(), { classes: [s()] }] }),
  },
  'Cohere chat': {
    target: '/v1/chat',
    request: (s) => ({
      message: s(),
      preamble: s(),
      chat_history: [
        { role: 'USER', message: s() },
        { role: 'CHATBOT', message: s() },
      ],
      connectors: [{ id: s(), options: { site: s() } }],
      documents: [{ id: s(), snippet: s() }],
      search_queries: [s()],
      conversation_id: s(),
    }),
    answer: (s) => ({
      text: s(),
      generation_id: s(),
      citations: [{ text: s(), document_ids: [s()] }],
      chat_history: [{ role: 'USER', message: s() }],
    }),
  },
  'Cohere chat v2': {
    target: '/v2/chat',
    request: (s) => ({
      model: 'm',
      messages: [user(s)],
      documents: [{ data: { text: s() } }],
      citation_options: { mode: s() },
    }),
    answer: (s) => ({
      message: {
        role: 'assistant',
        content: [{ type: 'text', text: s() }],
        tool_plan: s(),
        citations: [{ sources: [{ document: { text: s() } }] }],
      },
    }),
  },
  Gemini: {
    target: '/v1beta/models/m:generateContent',
    request: (s) => ({
      contents: [
        {
          role: 'user',
          parts: [
            { text: s() },
            { inlineData: { mimeType: s(), data: s() } },
            { fileData: { fileUri: s() } },
          ],
        },
      ],
      systemInstruction: { parts: [{ text: s() }] },
      cachedContent: s(),
      generationConfig: { stopSequences: [s()], responseSchema: { description: s() } },
    }),
    answer: (s) => ({
      candidates: [
        {
          content: { parts: [{ text: s(), thoughtSignature: s() }] },
          groundingMetadata: { webSearchQueries: [s()] },
        },
      ],
      responseId: s(),
    }),
  },
  'Ollama chat': {
    target: '/api/chat',
    request: (s) => ({
      model: 'm',
      messages: [{ role: 'user', content: s(), images: [s()] }],
      options: { stop: [s()] },
      format: { properties: { x: { enum: [s()] } } },
    }),
    answer: (s) =>
      lines(
        { model: 'm', message: { role: 'assistant', content: s(), thinking: s() } },
        { done: true, done_reason: 'stop', context: [1], note: s() },
      ),
    answerType: LINES,
  },
  'Ollama generate': {
    target: '/api/generate',
    request: (s) => ({ model: 'm', prompt: s(), suffix: s(), system: s(), template: s(), raw: true }),
    answer: (s) => ({ response: s(), thinking: s() }),
  },
  'llama.cpp': {
    target: '/completion',
    request: (s) => ({
      prompt: ['x', s()],
      grammar: s(),
      input_prefix: s(),
      input_suffix: s(),
      input_extra: [{ filename: s(), text: s() }],
    }),
    answer: (s) => ({
      content: s(),
      prompt: s(),
      generation_settings: { stop: [s()], grammar: s() },
      stopping_word: s(),
    }),
  },
  'Bedrock converse': {
    target: '/model/m/converse',
    request: (s) => ({
      system: [{ text: s() }],
      messages: [
        { role: 'user', content: [{ text: s() }, { document: { name: s(), source: { bytes: s() } } }] },
      ],
      promptVariables: { a: { text: s() } },
      requestMetadata: { who: s() },
      guardrailConfig: { guardrailIdentifier: s() },
    }),
    answer: (s) => ({
      output: { message: { role: 'assistant', content: [{ text: s() }] } },
      trace: { guardrail: { modelOutput: [s()] } },
    }),
  },
  'HF pipelines': {
    target: '/models/m',
    request: (s) => ({
      inputs: { question: s(), context: s(), table: { city: [s()] } },
      parameters: { candidate_labels: [s()], hypothesis_template: s() },
    }),
    answer: (s) => [{ answer: s(), label: s(), entity_group: s(), word: s() }],
  },
  'SageMaker form': {
    target: '/invocations',
    request: (s) =>
      `model=m&temperature=0.5&prompt=${s()}&who=${s()}&callback=https%3A%2F%2Fh%2F%3Ftoken%3D${s()}`,
    answer: (s) => ({ generated_text: s() }),
    type: 'application/x-www-form-urlencoded',
  },
  'a protocol of tomorrow': {
    target: '/v9/think',
    request: (s) => ({
      thought: { of: [[s()], { by: s() }], role: s(), type: s(), seed: s(), format: [s()] },
      url: `https://h/${s()}`,
    }),
    answer: (s) => ({ status: s(), object: s(), finish_reason: s(), deep: [[[{ x: s() }]]] }),
  },
};

const PROTOCOLS: Readonly<Record<string, Protocol>> = { ...OPENAI, ...OTHERS };
export const PROTOCOL_NAMES: readonly string[] = Object.keys(PROTOCOLS);

/** Headers and targets with a secret each, and the secret's place in the guide. */
const HEADS: readonly (readonly [Place, (secret: string) => { target?: string; header?: string }])[] = [
  ['credentials', (s) => ({ header: `X-Callback: https://h/cb?token=${s}` })],
  ['credentials', (s) => ({ header: `X-Anything: /cb?a=1&api_key=${s}` })],
  ['credentials', (s) => ({ header: `X-Next: https%3A%2F%2Fh%2Fx%3Fsig%3D${s}` })],
  ['credentials', (s) => ({ header: `Referer: https://me:${s}@h/` })],
  ['credentials', (s) => ({ header: `X-Source: see https://me:${s}@h/x` })],
  ['credentials', (s) => ({ header: `Authorization: Bearer ${s}` })],
  ['credentials', (s) => ({ target: `/get/https%3A%2F%2Fh%2Fx%3Ftoken%3D${s}/b` })],
  ['credentials', (s) => ({ target: `/get/https%253A%252F%252Fme%253A${s}%2540h` })],
  ['credentials', (s) => ({ target: `/get/https://me%3A${s}%40h/x` })],
  ['credentials', (s) => ({ target: `/v1/models/https%3A%2F%2Fme%3A${s}%40h` })],
  ['credentials', (s) => ({ target: `/doc;token=${s}/read` })],
  ['credentials', (s) => ({ target: `/p?next=%2Fx%3Fpassword%3D${s}` })],
  ['other headers, paths', (s) => ({ header: `X-Title: ${s}` })],
  ['other headers, paths', (s) => ({ target: `/hook/${s}/send` })],
];

/** Two exchanges of each protocol, one of them compressed, and three of each head. The same for the same seed. */
export function plantedProtocols(seed: number): PlantedProtocol[] {
  const random = new SeededRandom(seed);
  const one = () => `Zq${[0, 0, 0].map(() => random.nextUint32().toString(16).padStart(8, '0')).join('')}`;
  const bodies = PROTOCOL_NAMES.flatMap((name) =>
    [false, true].map((packed) => bodyExchange(name, packed, one)),
  );
  const heads = HEADS.flatMap((head) => [0, 1, 2].map(() => headExchange(head, one())));
  return [...bodies, ...heads];
}

function bodyExchange(name: string, packed: boolean, one: Secret): PlantedProtocol {
  const protocol = PROTOCOLS[name] as Protocol;
  const places = new Map<string, Place>();
  const placed = (place: Place) => () => {
    const secret = one();
    places.set(secret, place);
    return secret;
  };
  const plain = bytesOf(protocol.request(placed('request bodies')));
  const sent = packed ? gzipSync(plain) : plain;
  const answer = bytesOf(protocol.answer(placed('response bodies')));
  const type = protocol.type ?? 'application/json';
  const head = headOf(`POST ${protocol.target} HTTP/1.1`, [
    ...(protocol.headers ?? []),
    ...(packed ? ['Content-Encoding: gzip'] : []),
    `Content-Type: ${type}`,
    `Content-Length: ${sent.length}`,
  ]);
  return {
    kind: name,
    secrets: [...places.keys()],
    places,
    request: [head, sent],
    answer: Buffer.concat([answerHead(answer.length, protocol.answerType ?? 'application/json'), answer]),
    leaves: false,
  };
}

function headExchange([place, make]: (typeof HEADS)[number], secret: string): PlantedProtocol {
  const { target = '/p', header } = make(secret);
  const answer = Buffer.from('{}');
  return {
    kind: place,
    secrets: [secret],
    places: new Map([[secret, place]]),
    request: [headOf(`GET ${target} HTTP/1.1`, header === undefined ? [] : [header])],
    answer: Buffer.concat([answerHead(answer.length, 'application/json'), answer]),
    leaves: false,
  };
}

function bytesOf(body: unknown): Buffer {
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

function headOf(line: string, headers: readonly string[]): Buffer {
  return Buffer.from([line, 'Host: model.internal', 'X-Plain: in-the-open', ...headers, '', ''].join(CRLF));
}

function answerHead(length: number, type: string): Buffer {
  const head = ['HTTP/1.1 200 OK', `Content-Type: ${type}`, `Content-Length: ${length}`, 'Connection: close'];
  return Buffer.from([...head, '', ''].join(CRLF));
}

function multipart(parts: readonly (readonly [string, string])[]): string {
  const written = parts.map(
    ([name, value]) => `--edge${CRLF}Content-Disposition: form-data; ${name}${CRLF}${CRLF}${value}${CRLF}`,
  );
  return `${written.join('')}--edge--${CRLF}`;
}

function tensorJson(bytes: number): string {
  const parameters = { binary_data_size: bytes };
  return JSON.stringify({ inputs: [{ name: 't', datatype: 'BYTES', shape: [1], parameters }] });
}

/** A binary tensor with one element: its length, and the text. */
function binaryTensor(text: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return Buffer.concat([Buffer.from(tensorJson(4 + text.length)), length, Buffer.from(text)]);
}
