import { AppError, type Problems } from '../core/errors.ts';
import type { ExchangePayload, ExchangeRow } from '../core/exchange.ts';
import { parseRequestHead } from '../core/headers.ts';
import { pathOf } from '../core/routes.ts';
import { parseBytes } from '../core/units.ts';
import { Glob } from './glob.ts';

/** What was asked for: texts as they stand on the command line. */
export interface RawFilterOptions {
  readonly method?: readonly string[] | undefined;
  readonly path?: readonly string[] | undefined;
  readonly status?: readonly string[] | undefined;
  readonly model?: readonly string[] | undefined;
  readonly client?: readonly string[] | undefined;
  readonly minRequestBody?: string | undefined;
  readonly maxRequestBody?: string | undefined;
}

/**
 * Which exchanges of a window are replayed: those that fit one value of every list that has any. Plain data: it
 * travels to a thread.
 */
export interface Filters {
  /** In capitals. */
  readonly methods: readonly string[];
  /** Globs over the path, without its query. */
  readonly paths: readonly string[];
  /** `429`, `2xx`, or `none` for an exchange without an answer. */
  readonly statuses: readonly string[];
  readonly models: readonly string[];
  /** Keyed hashes, 16 hex digits. */
  readonly clients: readonly string[];
  readonly minRequestBytes: number | null;
  readonly maxRequestBytes: number | null;
}

const MAX_VALUES = 64;
const MAX_CHARS = 1_024;
/** Paths whose answer is remembered; a service answers on a handful of routes. */
const REMEMBERED = 4_096;

/** Resolves what was asked for; what is wrong with it goes to `problems`. */
export function resolveFilters(raw: RawFilterOptions, problems: Problems): Filters {
  const list = (flag: string, texts: readonly string[] | undefined, pattern: RegExp, expected: string) => {
    const values = (texts ?? []).flatMap((text) => text.split('|')).map((text) => text.trim());
    if (values.length > MAX_VALUES)
      problems.add(`${flag}: ${values.length} values are more than ${MAX_VALUES}`);
    for (const value of values) {
      if (!pattern.test(value) || value.length > MAX_CHARS) {
        problems.add(`${flag}: ${JSON.stringify(value)} is not ${expected}`);
      }
    }
    return values;
  };
  const bytes = (flag: string, text: string | undefined) =>
    problems.optional(text, (given) => parseBytes(given, flag));
  const filters: Filters = {
    methods: list('--method', raw.method, /^[A-Za-z-]+$/, 'a method such as POST').map((method) =>
      method.toUpperCase(),
    ),
    paths: list('--path', raw.path, /^[/*]/, 'a path such as /v2/models/*/infer'),
    statuses: list(
      '--status',
      raw.status,
      /^([1-5]xx|[1-5]\d\d|none)$/i,
      'a status such as 2xx, 429 or none',
    ).map((status) => status.toLowerCase()),
    models: list('--model', raw.model, /./, 'a model'),
    clients: list('--client', raw.client, /^[0-9a-f]{16}$/i, 'the hash of a client, 16 hex digits').map(
      (hash) => hash.toLowerCase(),
    ),
    minRequestBytes: bytes('--min-request-body', raw.minRequestBody),
    maxRequestBytes: bytes('--max-request-body', raw.maxRequestBody),
  };
  if ((filters.minRequestBytes ?? 0) > (filters.maxRequestBytes ?? Number.POSITIVE_INFINITY)) {
    problems.add('--min-request-body is more than --max-request-body');
  }
  return filters;
}

/** The filters in words, each on its own; empty without any. */
export function describeFilters(filters: Filters): string[] {
  const among = (name: string, values: readonly string[]) =>
    values.length === 0 ? [] : [`${name} ${values.join(' or ')}`];
  return [
    ...among('method', filters.methods),
    ...among('path', filters.paths),
    ...among('status', filters.statuses),
    ...among('model', filters.models),
    ...among('client', filters.clients),
    ...(filters.minRequestBytes === null ? [] : [`request body of at least ${filters.minRequestBytes} B`]),
    ...(filters.maxRequestBytes === null ? [] : [`request body of at most ${filters.maxRequestBytes} B`]),
  ];
}

type Test = (row: ExchangeRow) => boolean;

/** Tells whether a row passes every filter. */
export class RowFilter {
  readonly #tests: readonly Test[];

  private constructor(tests: readonly Test[]) {
    this.#tests = tests;
  }

  /** Null where everything passes. `payloadOf` is asked where a route does not give a path away. */
  static of(filters: Filters, payloadOf: (row: ExchangeRow) => ExchangePayload | null): RowFilter | null {
    const { methods, paths, statuses, models, clients, minRequestBytes: min, maxRequestBytes: max } = filters;
    const tests: Test[] = [];
    // The cheapest first: whatever fails there is not held against the rest.
    if (methods.length > 0) tests.push(({ method }) => method !== null && methods.includes(method));
    if (statuses.length > 0) tests.push(({ status }) => statuses.some((asked) => isStatus(status, asked)));
    if (min !== null) tests.push(({ requestBytes: bytes }) => bytes !== null && bytes >= min);
    if (max !== null) tests.push(({ requestBytes: bytes }) => bytes !== null && bytes <= max);
    if (clients.length > 0) {
      tests.push(({ client }) => client !== null && clients.includes(Buffer.from(client).toString('hex')));
    }
    if (models.length > 0) {
      const known = new KnownNames(models, '');
      tests.push(({ model }) => model !== null && known.matches(model));
    }
    if (paths.length > 0) {
      const known = new KnownNames(paths, '/');
      tests.push((row) => {
        const path = pathOfRow(row) ?? recordedPath(payloadOf(row)) ?? routePath(row);
        return path !== null && known.matches(path);
      });
    }
    return tests.length === 0 ? null : new RowFilter(tests);
  }

  selects(row: ExchangeRow): boolean {
    return this.#tests.every((test) => test(row));
  }
}

/** Globs with a memory. */
class KnownNames {
  readonly #globs: readonly Glob[];
  readonly #known = new Map<string, boolean>();

  constructor(patterns: readonly string[], separator: string) {
    this.#globs = patterns.map((pattern) => new Glob(pattern, separator));
  }

  matches(name: string): boolean {
    let matched = this.#known.get(name);
    if (matched === undefined) {
      matched = this.#globs.some((glob) => glob.matches(name));
      if (this.#known.size >= REMEMBERED) this.#known.clear();
      this.#known.set(name, matched);
    }
    return matched;
  }
}

function isStatus(status: number | null, asked: string): boolean {
  if (status === null || asked === 'none') return status === null && asked === 'none';
  return asked.endsWith('xx') ? Math.floor(status / 100) === Number(asked[0]) : status === Number(asked);
}

/** The path where route and model say all of it; null where a part of it has only a name. */
function pathOfRow(row: ExchangeRow): string | null {
  const path = routePath(row);
  // A `*` stands for what is masked in the path, or is the whole of one.
  if (path === null || path.endsWith('…') || path.includes('*')) return null;
  if (!path.includes('{')) return path;
  // A name with other characters may have been written in more than one way.
  if (row.model === null || !/^[\w.~-]+$/.test(row.model)) return null;
  const filled = path.replace('{model}', row.model);
  return filled.includes('{') ? null : filled;
}

function routePath({ route }: ExchangeRow): string | null {
  return route === null ? null : route.slice(route.indexOf(' ') + 1);
}

function recordedPath(payload: ExchangePayload | null): string | null {
  if (payload?.request == null) return null;
  const { method, target } = parseRequestHead(payload.request.head);
  return pathOf(method, target);
}

/** @throws AppError OPTION_INVALID where a capture knows none of the recorders that were asked for */
export function assertRecorders(
  asked: readonly string[],
  known: readonly { readonly id: string; readonly host: string }[],
): void {
  const missing = asked.filter((id) => !known.some((recorder) => recorder.id === id));
  if (missing.length === 0) return;
  throw new AppError('OPTION_INVALID', `--recorder: the capture has no recorder ${missing.join(', ')}`, {
    hint: `It has ${known.map(({ id, host }) => `${id} (${host})`).join(', ') || 'none'}.`,
  });
}
