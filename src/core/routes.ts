import { decodePercent, ownText } from './text.ts';

/** A request's method and path with its variable parts named, and the model if the path names one. */
export interface Route {
  readonly route: string;
  readonly model: string | null;
}

/** Masks secrets of a request target before it is used in a name; implemented by `Redaction`. */
interface NameableTargets {
  nameable(target: string): string;
}

/** Longer targets are not cached. */
const CACHED_TARGET_CHARS = 1_024;

/** Longer paths are cut at a segment. A route is a name for people; the payload keeps the raw target. */
const ROUTE_PATH_CHARS = 200;
const MODEL_CHARS = 200;
const CACHED_TARGETS = 4_096;

const NUMERIC = /^\d+$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const LONG_HEX = /^[0-9a-f]{16,}$/i;
/** Letters and digits that look like a key, token or id: digits and both cases, or digits in four places. */
const RANDOM_TEXT =
  /(?<![A-Za-z0-9])(?:(?=[A-Za-z]*[0-9])(?=[A-Z0-9]*[a-z])(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{16,}|(?=[a-z]*[0-9]+(?:[a-z]+[0-9]+){3}|[A-Z]*[0-9]+(?:[A-Z]+[0-9]+){3})[A-Za-z0-9]{20,})/;

/** A known protocol: its path pattern and its route name. Groups: prefix, then those that `name` needs. */
interface KnownPath {
  readonly pattern: RegExp;
  readonly name: (groups: Readonly<Record<string, string | undefined>>) => string;
}

const version = (groups: Readonly<Record<string, string | undefined>>): string =>
  groups['version'] === undefined ? '' : `/${groups['kind'] ?? 'versions'}/{version}`;

const place = (groups: Readonly<Record<string, string | undefined>>): string =>
  groups['place'] === undefined ? '' : '/projects/{project}/locations/{location}';

const operation = (groups: Readonly<Record<string, string | undefined>>): string =>
  groups['operation'] === undefined ? '' : '/operations/{id}';

const KNOWN_PATHS: readonly KnownPath[] = [
  {
    // Open Inference Protocol (KServe v2, Triton, MLServer), with Triton's repository and generate
    // extensions.
    pattern:
      /^(?<prefix>.*?)\/v2\/(?<repository>repository\/)?models\/(?<model>[^/]+)(?:\/versions\/(?<version>[^/]+))?(?<rest>\/.*)?$/,
    name: (groups) =>
      `/v2/${groups['repository'] ?? ''}models/{model}${version(groups)}${generic(groups['rest'] ?? '')}`,
  },
  {
    // TensorFlow Serving, KServe v1 and Gemini; also OpenAI's GET /v1/models/{model}, whose names may contain
    // a slash.
    pattern:
      /^(?<prefix>.*?)\/(?<api>v1(?:(?:alpha|beta)\d*)?)\/(?<models>models|tunedModels)\/(?<model>.+?)(?:\/(?<kind>versions|labels)\/(?<version>[^/:]+))?(?:(?<rest>:[A-Za-z]+|\/metadata)|\/operations\/(?<operation>[^/]+))?$/,
    name: (groups) =>
      `/${groups['api']}/${groups['models']}/{model}${version(groups)}${groups['rest'] ?? operation(groups)}`,
  },
  {
    // Vertex AI's hosted models, with a project or without.
    pattern:
      /^(?<prefix>.*?)\/(?<api>v1(?:(?:alpha|beta)\d*)?)(?<place>\/projects\/[^/]+\/locations\/[^/]+)?\/publishers\/(?<publisher>[^/]+)\/models\/(?<model>[^/:]+)(?:(?<rest>:[A-Za-z]+)|\/operations\/(?<operation>[^/]+))?$/,
    name: (groups) =>
      `/${groups['api']}${place(groups)}/publishers/${groups['publisher']}/models/{model}${groups['rest'] ?? operation(groups)}`,
  },
  {
    // Vertex AI's endpoints. One that is called by a verb serves one model; below others the body names it.
    pattern:
      /^(?<prefix>.*?)\/(?<api>v1(?:(?:alpha|beta)\d*)?)(?<place>\/projects\/[^/]+\/locations\/[^/]+)\/endpoints\/(?:(?<model>[^/:]+)(?<verb>:[A-Za-z]+)|[^/:]+(?<rest>\/.*)?)$/,
    name: (groups) =>
      `/${groups['api']}${place(groups)}/endpoints/${
        groups['verb'] === undefined
          ? `{endpoint}${generic(groups['rest'] ?? '')}`
          : `{model}${groups['verb']}`
      }`,
  },
  {
    // Amazon Bedrock.
    pattern:
      /^(?<prefix>.*?)\/model\/(?<model>[^/]+)\/(?<verb>converse|converse-stream|invoke|invoke-with-[a-z-]+|count-tokens)$/,
    name: (groups) => `/model/{model}/${groups['verb']}`,
  },
  {
    // Azure's form of the OpenAI API.
    pattern: /^(?<prefix>.*?)\/openai\/deployments\/(?<model>[^/]+)(?<rest>\/.*)?$/,
    name: (groups) => `/openai/deployments/{model}${generic(groups['rest'] ?? '')}`,
  },
  {
    // OpenAI's stored objects: their ids are neither numbers nor UUIDs (`resp_…`, `file-…`).
    pattern:
      /^(?<prefix>.*?)\/v1\/(?<collection>responses|files|batches|threads|assistants|conversations|vector_stores|chat\/completions|fine_tuning\/jobs)\/(?<id>(?!(?:compact|input_tokens)$)[^/]+)(?<rest>\/.*)?$/,
    name: (groups) => `/v1/${groups['collection']}/{id}${generic(groups['rest'] ?? '')}`,
  },
  {
    // TorchServe's inference API.
    pattern:
      /^(?<prefix>)\/(?<verb>predictions|explanations|wfpredict)\/(?<model>[^/]+)(?:\/(?<version>[^/]+))?$/,
    name: (groups) => `/${groups['verb']}/{model}${groups['version'] === undefined ? '' : '/{version}'}`,
  },
  {
    // SageMaker's multi-model containers.
    pattern: /^(?<prefix>)\/models\/(?<model>[^/]+)\/invoke$/,
    name: () => '/models/{model}/invoke',
  },
];

/**
 * Names the route of a request. `target` is the raw request target in any of its four forms; query and
 * fragment are ignored. Masked parts become `*`, so requests that differ only in a secret share a route.
 * Every text has a route.
 */
export function routeOf(method: string, target: string, targets: NameableTargets): Route {
  const path = pathOf(method, targets.nameable(target));
  for (const { pattern, name } of KNOWN_PATHS) {
    const groups = pattern.exec(path)?.groups;
    if (groups === undefined) continue;
    const route = `${method} ${bounded(generic(groups['prefix'] ?? '') + name(groups))}`;
    return { route, model: groups['model'] === undefined ? null : decoded(groups['model']) };
  }
  return { route: `${method} ${bounded(generic(path))}`, model: null };
}

/** The route of a gRPC call: its service and method have no variable parts. */
function routeOfCall(method: string, target: string, targets: NameableTargets): Route {
  return { route: `${method} ${bounded(pathOf(method, targets.nameable(target)))}`, model: null };
}

/** `routeOf` with a cache: a service has a handful of targets, and matching patterns costs microseconds. */
export class Routes {
  readonly #targets: NameableTargets;
  #known = new Map<string, Route>();

  constructor(targets: NameableTargets) {
    this.#targets = targets;
  }

  /** Number of cached targets. */
  get size(): number {
    return this.#known.size;
  }

  /** @param isCall whether it is a gRPC call */
  of(method: string, target: string, isCall = false): Route {
    const end = target.search(/[?#]/);
    const path = end < 0 ? target : target.slice(0, end);
    const key = `${isCall ? 'call ' : ''}${method} ${path}`;
    let route = this.#known.get(key);
    if (route === undefined) {
      route = (isCall ? routeOfCall : routeOf)(method, ownText(path), this.#targets);
      // Replaced when full, so that a scanner's million paths do not block the cache for ever. Not cleared,
      // because V8 keeps cleared entries until the next full collection.
      if (this.#known.size >= CACHED_TARGETS) this.#known = new Map();
      if (key.length <= CACHED_TARGET_CHARS) this.#known.set(ownText(key), route);
    }
    return route;
  }
}

/** Path of a target: `http://host/path` loses its authority. `*` and CONNECT's `host:port` are kept. */
export function pathOf(method: string, target: string): string {
  if (method === 'CONNECT') return '{authority}';
  const end = target.search(/[?#]/);
  const bare = end < 0 ? target : target.slice(0, end);
  const absolute = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/]*(.*)$/s.exec(bare);
  return absolute === null ? bare : absolute[1] || '/';
}

/** Replaces segments by `{id}` if they are numbers or ids, or contain text that looks like a key. */
function generic(path: string): string {
  if (!/\d|[0-9a-f]{16}/i.test(path)) return path;
  return path
    .split('/')
    .map((segment) => (isId(segment) ? '{id}' : segment))
    .join('/');
}

function isId(segment: string): boolean {
  const plain = decodePercent(segment);
  return [NUMERIC, UUID, LONG_HEX, RANDOM_TEXT].some((pattern) => pattern.test(plain));
}

function bounded(path: string): string {
  if (path.length <= ROUTE_PATH_CHARS) return path;
  const cut = path.lastIndexOf('/', ROUTE_PATH_CHARS - 2);
  return `${path.slice(0, cut > 0 ? cut : ROUTE_PATH_CHARS - 2)}/…`;
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment).slice(0, MODEL_CHARS);
  } catch {
    // Its percent encoding is not UTF-8. Use the name as sent.
    return segment.slice(0, MODEL_CHARS);
  }
}
