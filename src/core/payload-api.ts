import type { Route } from './routes.ts';

/** The known ways of asking a model, told by where a request goes. */
export type PayloadApi =
  /** OpenAI's chat, completions, embeddings, responses and what serves them: vLLM, TGI, KServe. */
  | 'openai'
  /** Anthropic's messages. */
  | 'anthropic'
  /** Ollama's generate and chat. */
  | 'ollama'
  /** The generate endpoints of TGI, Triton and llama.cpp. */
  | 'generate'
  /** `:predict` of TensorFlow Serving and KServe. */
  | 'v1'
  /** The Open Inference Protocol. */
  | 'v2';

const ENDINGS: readonly (readonly [RegExp, PayloadApi])[] = [
  [/\/v2\/models\/\{model\}(?:\/versions\/\{version\})?\/infer$/, 'v2'],
  [/\/v2\/models\/\{model\}(?:\/versions\/\{version\})?\/generate(?:_stream)?$/, 'generate'],
  [
    /\/v1\/models\/\{model\}(?:\/(?:versions|labels)\/\{version\})?:(?:predict|explain|classify|regress)$/,
    'v1',
  ],
  [/\/v1\/messages$/, 'anthropic'],
  [/\/api\/(?:chat|generate|embed|embeddings)$/, 'ollama'],
  [
    /\/(?:chat\/completions|completions|embeddings|responses|rerank|score|classify|audio\/[a-z]+|images\/[a-z]+)$/,
    'openai',
  ],
  [/^[A-Z]+ \/(?:generate|generate_stream|completion|invocations)$/, 'generate'],
];

const KNOWN = new WeakMap<Route, { readonly api: PayloadApi | null }>();

/** How a request asks, told by its route; null where that is none of the known ways. Remembered with the route. */
export function payloadApiOf(route: Route): PayloadApi | null {
  let known = KNOWN.get(route);
  if (known === undefined) {
    known = { api: ENDINGS.find(([ending]) => ending.test(route.route))?.[1] ?? null };
    KNOWN.set(route, known);
  }
  return known.api;
}
