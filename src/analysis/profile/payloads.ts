import type { ExchangePayload, ExchangeRow } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import type { PayloadFigures, PayloadKind, PayloadKindFigures } from '../../documents/profile.ts';
import { payloadApiOf, requestFeatures } from '../../inference/features.ts';
import { Tally } from '../stats/tally.ts';
import { distributionOf, distributionsOf } from './distribution.ts';
import {
  answerTokens,
  batchOfShapes,
  formOf,
  imagesOf,
  maxTokensOf,
  promptWeight,
  type ReadableRequest,
  readableRequest,
  tensorShapes,
} from './payload-contents.ts';

const TOKEN_ESTIMATE =
  'reported: as the server counted them; counted: sent as token ids; estimated: from the shapes of words, within a quarter of real vocabularies';

/**
 * Statistics of payloads, one by one, at constant memory. Invalid bytes never throw. Errors of reading the capture are
 * passed on.
 */
export class PayloadStatistics {
  readonly #kinds = new Map<PayloadKind, KindStatistics>();
  readonly #unread = { not_stored: 0, no_body_kept: 0, truncated: 0, unreadable_coding: 0 };
  readonly #bodyBytes = new Histogram();
  readonly #deadlineUs = new Histogram();
  #sampled = 0;
  #read = 0;
  #sayRetry = 0;

  /**
   * @param payload null if the capture has no payload of the exchange
   * @returns the request, or null if it could not be read
   */
  add(row: ExchangeRow, payload: ExchangePayload | null): ReadableRequest | null {
    this.#sampled += 1;
    if (payload === null) {
      this.#unread.not_stored += 1;
      return null;
    }
    const request = readableRequest(row, payload);
    if (typeof request === 'string') {
      this.#unread[request] += 1;
      return null;
    }
    this.#read += 1;
    if (request.saysRetry) this.#sayRetry += 1;
    this.#bodyBytes.record(request.body.length);
    if (request.deadlineUs !== null) this.#deadlineUs.record(Math.round(request.deadlineUs));
    const kind = kindOf(request);
    let statistics = this.#kinds.get(kind);
    if (statistics === undefined) {
      statistics = new KindStatistics(kind);
      this.#kinds.set(kind, statistics);
    }
    statistics.add(request, payload);
    return request;
  }

  figures(complete: boolean): PayloadFigures {
    return {
      sampled: this.#sampled,
      read: this.#read,
      complete,
      unread: { ...this.#unread },
      sayRetry: this.#sayRetry,
      bodyBytes: distributionOf(this.#bodyBytes),
      ...(this.#deadlineUs.count > 0 && { deadlineMs: distributionOf(this.#deadlineUs, 1e-3) }),
      protocols: [...this.#kinds.values()]
        .map((kind) => kind.figures(this.#read))
        .sort((a, b) => b.requests - a.requests),
      tokenEstimate: TOKEN_ESTIMATE,
    };
  }
}

/** Most shapes that are counted, and most that are listed. */
const MAX_SHAPES = 1_000;
const LISTED_SHAPES = 20;

function tokenCounts() {
  return { reported: new Histogram(), counted: new Histogram(), estimated: new Histogram() };
}

/** Sums up requests of one protocol. */
class KindStatistics {
  readonly #kind: PayloadKind;
  readonly #sizes = { bodyBytes: new Histogram(), batch: new Histogram(), maxTokens: new Histogram() };
  readonly #tensors = new Histogram();
  readonly #shapes = new Tally<string>();
  readonly #prompt = tokenCounts();
  readonly #output = tokenCounts();
  readonly #images = {
    perRequest: new Histogram(),
    bytes: new Histogram(),
    width: new Histogram(),
    height: new Histogram(),
  };
  readonly #formats = new Tally<string>();
  readonly #form = { parts: new Histogram(), partBytes: new Histogram() };
  #requests = 0;
  #streams = 0;
  #totalShapes = 0;
  #byAddress = 0;

  constructor(kind: PayloadKind) {
    this.#kind = kind;
  }

  add(request: ReadableRequest, payload: ExchangePayload): void {
    this.#requests += 1;
    this.#sizes.bodyBytes.record(request.body.length);
    const { row } = request;
    const features = requestFeatures(payloadApiOf({ route: row.route ?? '', model: null }), request.body);
    if (features.stream) this.#streams += 1;
    const batch = row.batch ?? features.batch ?? batchOfShapes(request);
    if (batch !== null) this.#sizes.batch.record(Math.max(0, batch));
    this.#addShapes(tensorShapes(request));
    this.#addTokens(request, payload);
    this.#addImages(request);
    const form = formOf(request);
    if (form !== null) {
      this.#form.parts.record(form.parts);
      for (const bytes of form.partBytes) this.#form.partBytes.record(bytes);
    }
  }

  figures(of: number): PayloadKindFigures {
    const shapes = [...this.#shapes].sort((a, b) => b[1] - a[1]);
    const listed = shapes.slice(0, LISTED_SHAPES);
    const listedCount = listed.reduce((sum, [, count]) => sum + count, 0);
    const requests = this.#requests;
    return {
      protocol: this.#kind,
      requests,
      share: of === 0 ? 0 : requests / of,
      ...distributionsOf(this.#sizes),
      tensors: {
        perRequest: distributionOf(this.#tensors),
        shapes: listed.map(([shape, tensors]) => ({ shape, tensors, share: tensors / this.#totalShapes })),
        otherShapes: this.#totalShapes - listedCount,
      },
      promptTokens: distributionsOf(this.#prompt),
      outputTokens: distributionsOf(this.#output),
      stream: { asked: this.#streams, share: requests === 0 ? 0 : this.#streams / requests },
      images: {
        requests: this.#images.perRequest.count,
        total: this.#images.bytes.count + this.#byAddress,
        byAddress: this.#byAddress,
        ...distributionsOf(this.#images),
        formats: Object.fromEntries(this.#formats),
      },
      form: distributionsOf(this.#form),
    };
  }

  #addShapes(shapes: readonly string[]): void {
    if (shapes.length > 0) this.#tensors.record(shapes.length);
    for (const shape of shapes) {
      this.#totalShapes += 1;
      if (this.#shapes.has(shape) || this.#shapes.size < MAX_SHAPES) this.#shapes.count(shape);
    }
  }

  #addTokens({ row, json }: ReadableRequest, payload: ExchangePayload): void {
    const isTensor = this.#kind.startsWith('v1') || this.#kind.startsWith('v2');
    if (row.promptTokens !== null) this.#prompt.reported.record(Math.max(0, row.promptTokens));
    else if (!isTensor) {
      const weight = promptWeight(json);
      if (weight !== null)
        (weight.counted ? this.#prompt.counted : this.#prompt.estimated).record(weight.tokens);
    }
    if (row.outputTokens !== null) this.#output.reported.record(Math.max(0, row.outputTokens));
    else if (!isTensor && this.#kind !== 'openai embeddings') {
      const tokens = answerTokens(payload);
      if (tokens !== null) this.#output.estimated.record(tokens);
    }
    const maxTokens = maxTokensOf(json);
    if (maxTokens !== null) this.#sizes.maxTokens.record(maxTokens);
  }

  #addImages(request: ReadableRequest): void {
    const images = imagesOf(request);
    if (images.length === 0) return;
    const { perRequest, bytes: imageBytes, width, height } = this.#images;
    perRequest.record(images.length);
    for (const { bytes, header } of images) {
      if (bytes === null) this.#byAddress += 1;
      else imageBytes.record(bytes);
      if (header === null) continue;
      this.#formats.count(header.format);
      if (header.width !== null) width.record(header.width);
      if (header.height !== null) height.record(header.height);
    }
  }
}

const OPENAI: readonly (readonly [RegExp, PayloadKind])[] = [
  [/\/chat\/completions$/, 'openai chat'],
  [/\/completions$/, 'openai completions'],
  [/\/embeddings$/, 'openai embeddings'],
  [/\/responses$/, 'openai responses'],
  [/\/audio\/[a-z]+$/, 'openai audio'],
  [/\/images\/[a-z]+$/, 'openai images'],
];

/** Paths that only servers of OpenAI's API have. `/v1/rerank` and the like could be of any service. */
const OPENAI_PATH =
  /\/chat\/completions$|(?:\/v1\/|\/openai\/|\/deployments\/)(?!.*(?:rerank|score|classify)$)/;

/** Whether a request on a path of OpenAI's API is one: by the path, or because it names a model. */
function isOpenAi({ row, json }: ReadableRequest, route: string): boolean {
  if (OPENAI_PATH.test(route) || row.model !== null) return true;
  return typeof json === 'object' && json !== null && 'model' in json && typeof json.model === 'string';
}

function kindOf(request: ReadableRequest): PayloadKind {
  const route = request.row.route ?? '';
  const api = payloadApiOf({ route, model: null });
  if (api === 'openai') {
    const known = OPENAI.find(([ending]) => ending.test(route))?.[1] ?? 'openai other';
    return isOpenAi(request, route) ? known : kindOfType(request);
  }
  if (api === 'anthropic') return 'anthropic messages';
  if (api === 'ollama' || api === 'generate') return api;
  if (request.isCall) return api === 'v1' || api === 'v2' ? `${api} gRPC` : 'other gRPC';
  if (api === 'v1') return 'v1 predict';
  if (api === 'v2') return request.tensors === null && request.json !== undefined ? 'v2 JSON' : 'v2 binary';
  return kindOfType(request);
}

function kindOfType({ mediaType, json, body }: ReadableRequest): PayloadKind {
  if (body.length === 0) return 'no body';
  if (mediaType === 'multipart/form-data') return 'multipart form';
  if (mediaType.startsWith('image/')) return 'image';
  if (mediaType.startsWith('audio/')) return 'audio';
  if (json !== undefined) return 'other JSON';
  if (mediaType === 'text/csv') return 'CSV';
  return mediaType.startsWith('text/') || mediaType === 'application/x-www-form-urlencoded'
    ? 'other text'
    : 'other binary';
}
