import { createHash } from 'node:crypto';
import type { IncomingMessage, RequestOptions } from 'node:http';
import type { HeaderPair } from '../core/headers.ts';
import { LIMITS, SERVER_DETAILS } from '../core/limits.ts';
import {
  ASKED_PLACE,
  joinedDetails,
  METRICS_PLACE,
  OTHER_PLACES,
  type ServerDetails,
  V2_PLACE,
} from '../documents/server-details.ts';
import { holdsCredential } from '../redaction/credentials.ts';
import { NameAllowance, SecretNames } from '../redaction/secret-names.ts';
import { holdsUserInfo } from '../redaction/url-secrets.ts';
import { parseExposition } from './metrics-scrape.ts';

/** A server that can be asked. */
export interface AskedServer {
  readonly connect: RequestOptions;
  /** Put in front of every path. */
  readonly basePath: string;
  readonly headers: readonly HeaderPair[];
}

/** The server at a URL. */
export function serverAt(url: string, headers: readonly HeaderPair[] = []): AskedServer {
  const { protocol, hostname, port, pathname, search } = new URL(url);
  return {
    connect: { protocol, hostname: hostname.replace(/^\[|\]$/g, ''), ...(port !== '' && { port }) },
    basePath: pathname.replace(/\/+$/, '') + search,
    headers,
  };
}

/** Places of a server that are asked one after the other. A server answers those of its own software. */
const PLACES = [
  '/version',
  '/info',
  '/v1/models',
  '/get_model_info',
  '/get_server_info',
  V2_PLACE,
  METRICS_PLACE,
] as const;
const STATS_PLACE = '/v2/models/stats';

/** The places, as routes of recorded exchanges. */
const ROUTES: ReadonlySet<string> = new Set([
  ...PLACES.map((place) => `GET ${place}`),
  'GET /v2/models/{model}',
  'GET /v2/models/{model}/config',
]);

/** Whether an exchange asked for one of the places. */
export function isOfPlace({ method, route }: { method: string | null; route: string | null }): boolean {
  return method === 'GET' && route !== null && ROUTES.has(route);
}

/** Reads what servers say of themselves. Values under secret names, and values with credentials, are masked. */
export class DetailReader {
  readonly #names: SecretNames;

  /** @param queryKeys more names whose values are secret */
  constructor(queryKeys: readonly string[] = []) {
    this.#names = new SecretNames({ queryKeys });
  }

  /**
   * Asks a server for everything that it may say of itself, one request at a time.
   * @param models names of models to ask for, besides those that the server names
   * @returns nothing of a server that cannot be reached
   */
  async ask(server: AskedServer, models: readonly string[], signal: AbortSignal): Promise<ServerDetails> {
    const asking = new Asking(server, this, signal);
    for (const place of PLACES) await asking.ask(place);
    if (Object.keys(asking.details).some((place) => place.startsWith(ASKED_PLACE)))
      asking.details = { ...asking.details, [ASKED_PLACE]: {} };
    if (V2_PLACE in asking.details) {
      const named = namesIn(await asking.get(STATS_PLACE));
      for (const model of [...new Set([...named, ...models])].slice(0, SERVER_DETAILS.models)) {
        await asking.ask(`${V2_PLACE}/models/${encodeURIComponent(model)}`);
        await asking.ask(`${V2_PLACE}/models/${encodeURIComponent(model)}/config`);
      }
    }
    return asking.details;
  }

  /** Asks for metrics alone. */
  async askMetrics(server: AskedServer, signal: AbortSignal): Promise<ServerDetails> {
    const asking = new Asking(server, this, signal);
    await asking.ask(METRICS_PLACE, '');
    return asking.details;
  }

  /** What the answer from a place says; null if that is nothing. */
  answer(place: string, text: string): ServerDetails | null {
    if (place === METRICS_PLACE) return this.#metrics(text);
    const value = jsonIn(text);
    if (typeof value !== 'object' || value === null) return null;
    const fields = new Fields((name, told) => this.#shown(name, told));
    if (place === '/v1/models') addModels(value, fields);
    else fields.add('', value);
    return { [place]: fields.values() };
  }

  /** What the name of the server's software in the head of an answer says. */
  software(name: string): ServerDetails {
    return { [OTHER_PLACES.answers]: { Server: [this.#shown('Server', name)] } };
  }

  #metrics(text: string): ServerDetails | null {
    const { samples, unknown } = parseExposition(text, (name) => INFO.test(name) || name in GPU_LABELS);
    if (samples.length + unknown === 0) return null;
    let details: ServerDetails = { [METRICS_PLACE]: {} };
    const gpus = new Set<string>();
    for (const { name, labels } of samples) {
      const label = GPU_LABELS[name];
      const fields = new Fields((of, told) => this.#shown(of, told));
      if (label === undefined) fields.add('', labels);
      else {
        gpus.add(labels[label] ?? '');
        if (labels['modelName'] !== undefined) fields.add('model', labels['modelName']);
      }
      details = joinedDetails(details, { [label === undefined ? name : GPU_PLACE]: fields.values() });
    }
    return gpus.size === 0
      ? details
      : joinedDetails(details, { [GPU_PLACE]: { count: [String(gpus.size)] } });
  }

  #shown(name: string, stated: string): string {
    const value = stated.replace(CONTROLS, ' ');
    const allowance = new NameAllowance();
    const isSecret = (part: string) => this.#names.isSecret(part, allowance);
    const bytes = Buffer.from(value);
    if (
      name.split('.').some(isSecret) ||
      holdsCredential(value, isSecret) ||
      holdsUserInfo(bytes) ||
      this.#names.within(bytes, allowance) !== 'keep' ||
      this.#names.hiddenIn(bytes, allowance) !== 'keep'
    )
      return '(masked)';
    if (value.length <= SERVER_DETAILS.valueChars) return value;
    const digest = createHash('sha256').update(value).digest('hex').slice(0, 8);
    return `${value.slice(0, SERVER_DETAILS.valueChars)}… (sha256 ${digest})`;
  }
}

/** They would steer a terminal. */
const CONTROLS = /\p{Cc}+/gu;
/** Metrics whose labels say what a server is, such as `vllm:cache_config_info` and `tgi_build_info`. */
const INFO = /(?:^|[_:])(?:build|version|config|model|server|engine|python)_info$/;
/** Metrics with a series for each GPU, and the label that tells them apart. */
const GPU_LABELS: Readonly<Record<string, string>> = {
  DCGM_FI_DEV_GPU_UTIL: 'UUID',
  nv_gpu_utilization: 'gpu_uuid',
};
const GPU_PLACE = 'gpu';

/** Names of what differs between two copies of one server, or between two looks at it. */
const VOLATILE =
  /^(?:created(?:_at)?|permissions?|internal_states|up_?time.*|.*timestamp|start(?:ed)?(?:_at|_time)?|pid|pod(?:_name)?|host(?:_?name)?|instance|node|port|nccl_port|.*random_seed)$/i;

/** The fields of an answer by name, bounded in number, depth and length. */
class Fields {
  readonly #shown: (name: string, value: string) => string;
  readonly #values = new Map<string, readonly string[]>();
  #more = 0;

  constructor(shown: (name: string, value: string) => string) {
    this.#shown = shown;
  }

  add(name: string, value: unknown, depth = 0): void {
    if (value === null || value === undefined) return;
    if (typeof value !== 'object') this.#put(name, String(value));
    else if (depth >= SERVER_DETAILS.depth) this.#more += 1;
    else if (Array.isArray(value) && value.every((each) => typeof each !== 'object'))
      this.#put(name, value.join(', '));
    else {
      for (const [key, member] of Object.entries(value)) {
        // An entry of a list goes by its name, so that another order is no difference.
        const called = Array.isArray(value) ? (nameIn(member) ?? key) : key;
        if (!VOLATILE.test(called)) this.add(name === '' ? called : `${name}.${called}`, member, depth + 1);
      }
    }
  }

  #put(name: string, value: string): void {
    if (value === '') return;
    const called = name.replace(CONTROLS, ' ').slice(0, SERVER_DETAILS.valueChars);
    if (this.#values.size >= SERVER_DETAILS.fields) this.#more += 1;
    else this.#values.set(called, [this.#shown(name, value)]);
  }

  values(): Readonly<Record<string, readonly string[]>> {
    const more = this.#more > 0 ? { 'fields that were left out': [String(this.#more)] } : {};
    return { ...Object.fromEntries(this.#values), ...more };
  }
}

/** The models by their names. With one model, its fields go by their own names, so that another model can be compared. */
function addModels(answer: object, fields: Fields): void {
  const { data } = answer as { readonly data?: unknown };
  const models = Array.isArray(data) ? data : [];
  fields.add(
    'models',
    models
      .map(nameIn)
      .filter((name) => name !== null)
      .sort(),
  );
  if (models.length === 1) fields.add('', models[0]);
  else fields.add('', models);
}

function nameIn(entry: unknown): string | null {
  const { name, id } = (entry ?? {}) as { readonly name?: unknown; readonly id?: unknown };
  const called = typeof name === 'string' ? name : id;
  return typeof called === 'string' && called !== '' ? called : null;
}

/** The models in the statistics of Triton. */
function namesIn(text: string | null): string[] {
  const { model_stats: stats } = (jsonIn(text ?? '') ?? {}) as { readonly model_stats?: unknown };
  return Array.isArray(stats) ? [...new Set(stats.map(nameIn).filter((name) => name !== null))] : [];
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Something else may answer at such a path, such as a page.
    return null;
  }
}

/** One look at a server. After a request without an answer, nothing more is asked of it. */
class Asking {
  details: ServerDetails = {};
  readonly #server: AskedServer;
  readonly #reader: DetailReader;
  readonly #signal: AbortSignal;
  #isGone = false;

  constructor(server: AskedServer, reader: DetailReader, signal: AbortSignal) {
    this.#server = server;
    this.#reader = reader;
    this.#signal = AbortSignal.any([signal, AbortSignal.timeout(SERVER_DETAILS.lookMs)]);
  }

  async ask(place: string, path: string = place): Promise<void> {
    const text = await this.get(path);
    const found = text === null ? null : this.#reader.answer(place, text);
    if (found !== null) this.details = joinedDetails(this.details, found);
  }

  /** The body of a complete 200; null for anything else. */
  async get(path: string): Promise<string | null> {
    if (this.#isGone || this.#signal.aborted) return null;
    try {
      const response = await this.#send(path);
      const { server } = response.headers;
      if (typeof server === 'string')
        this.details = joinedDetails(this.details, this.#reader.software(server));
      if (response.statusCode === 200) return await textOf(response);
      response.destroy();
    } catch {
      // A server that does not answer here says nothing of itself. The traffic shows whether it serves.
      this.#isGone = true;
    }
    return null;
  }

  async #send(path: string): Promise<IncomingMessage> {
    const { connect, basePath, headers } = this.#server;
    const { request } =
      connect.protocol === 'https:' ? await import('node:https') : await import('node:http');
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(SERVER_DETAILS.requestMs)]);
    return new Promise((resolve, reject) => {
      request({
        ...connect,
        path: `${basePath}${path}` || '/',
        headers: { accept: 'application/json, text/plain;q=0.5', ...Object.fromEntries(headers) },
        agent: false,
        maxHeaderSize: LIMITS.headBytes,
        signal,
      })
        .on('response', resolve)
        .on('error', reject)
        .on('upgrade', (_, socket) => {
          socket.destroy();
          reject(new Error('it upgraded the connection'));
        })
        .end();
    });
  }
}

/** Null for a body over the limit. */
async function textOf(response: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > SERVER_DETAILS.answerBytes) return null;
    chunks.push(chunk);
  }
  return response.complete ? Buffer.concat(chunks).toString() : null;
}
