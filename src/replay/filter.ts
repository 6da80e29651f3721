import { AppError } from '../core/errors.ts';
import type { ExchangePayload, ExchangeRow } from '../core/exchange.ts';
import { parseRequestHead } from '../core/headers.ts';
import { pathOf } from '../core/routes.ts';
import { grpcStatusName } from '../inference/grpc.ts';
import type { Filters } from './options/window-options.ts';

/** Paths whose answer is remembered; a service answers on a handful of routes. */
const REMEMBERED = 4_096;

/** More names are not listed. */
const LISTED_NAMES = 20;

/** What exchanges have of what filters ask for, for who asked for something that none has. */
export class PresentNames {
  readonly #names = {
    methods: new Set<string>(),
    paths: new Set<string>(),
    statuses: new Set<string>(),
    models: new Set<string>(),
    clients: new Set<string>(),
  };

  add({ method, route, status, grpcStatus = null, model, client }: ExchangeRow): void {
    const { methods, paths, statuses, models, clients } = this.#names;
    addTo(methods, method);
    addTo(paths, routePath({ route }));
    addTo(statuses, status === null ? 'none' : String(status));
    addTo(statuses, grpcStatus === null ? null : grpcStatusName(grpcStatus));
    addTo(models, model);
    if (client !== null && clients.size < LISTED_NAMES) clients.add(Buffer.from(client).toString('hex'));
  }

  /** Of each kind that the filters ask for; null where nothing is known. */
  describe(filters: Filters): string | null {
    const kinds = ['methods', 'paths', 'statuses', 'models', 'clients'] as const;
    const parts = kinds
      .filter((kind) => filters[kind].length > 0)
      .map((kind) => {
        const names = [...this.#names[kind]].sort();
        const more = names.length === LISTED_NAMES ? ' …' : '';
        return names.length === 0 ? `no ${kind}` : `${kind} ${names.join(', ')}${more}`;
      });
    return parts.length === 0 ? null : `The window has ${parts.join('; ')}.`;
  }
}

function addTo(names: Set<string>, name: string | null): void {
  if (name !== null && names.size < LISTED_NAMES) names.add(name);
}

/** Tells whether a row passes every filter. */
export type RowFilter = (row: ExchangeRow) => boolean;

/** Null where everything passes. `payloadOf` is asked where a route does not give a path away. */
export function rowFilterOf(
  { methods, paths, statuses, models, clients, minRequestBytes: min, maxRequestBytes: max }: Filters,
  payloadOf: (row: ExchangeRow) => ExchangePayload | null,
): RowFilter | null {
  const tests: RowFilter[] = [];
  // The cheapest first: whatever fails there is not held against the rest.
  if (methods.length > 0) tests.push(({ method }) => method !== null && methods.includes(method));
  if (statuses.length > 0) tests.push((row) => statuses.some((asked) => isStatus(row, asked)));
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
  return tests.length === 0 ? null : (row) => tests.every((test) => test(row));
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

function isStatus({ status, grpcStatus = null }: ExchangeRow, asked: string): boolean {
  if (/^[A-Z]/.test(asked)) return grpcStatus !== null && grpcStatusName(grpcStatus) === asked;
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

function routePath({ route }: Pick<ExchangeRow, 'route'>): string | null {
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
  throw new AppError(
    'OPTION_INVALID',
    `--filter recorder: the capture has no recorder ${missing.join(', ')}`,
    {
      hint: `It has ${known.map(({ id, host }) => `${id} (${host})`).join(', ') || 'none'}.`,
    },
  );
}

/** `*`: any characters but the separator. `**`: any characters at all. */
type Part = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'star' | 'stars' };

/**
 * A pattern of literal text, `*` and `**`, for names that clients write: matching takes time in proportion to the
 * lengths of pattern and name, whatever they are.
 */
export class Glob {
  readonly #parts: readonly Part[];
  readonly #separator: string;

  /** @param separator what `*` stops at; empty for nothing */
  constructor(pattern: string, separator: string) {
    this.#separator = separator;
    this.#parts = pattern
      .split(/(\*+)/)
      .filter((piece) => piece !== '')
      .map((piece): Part => {
        if (!piece.startsWith('*')) return { kind: 'text', text: piece };
        return { kind: piece.length === 1 ? 'star' : 'stars' };
      });
  }

  matches(name: string): boolean {
    // Offsets of the name that the parts so far may end at.
    let ends = new Uint8Array(name.length + 1);
    ends[0] = 1;
    for (const part of this.#parts) ends = this.#after(part, ends, name);
    return ends[name.length] === 1;
  }

  #after(part: Part, ends: Uint8Array, name: string): Uint8Array<ArrayBuffer> {
    const next = new Uint8Array(name.length + 1);
    let open = false;
    for (let at = 0; at <= name.length; at += 1) {
      if (part.kind === 'text') {
        if (ends[at] === 1 && name.startsWith(part.text, at)) next[at + part.text.length] = 1;
        continue;
      }
      if (ends[at] === 1) open = true;
      if (open) next[at] = 1;
      if (part.kind === 'star' && this.#separator !== '' && name.startsWith(this.#separator, at))
        open = false;
    }
    return next;
  }
}
