import { AppError } from '../core/errors.ts';

/** Paths that begin with `from` are sent with `to` in its place. */
export interface PathMapping {
  readonly from: string;
  readonly to: string;
}

/** Characters of a request target. */
const PATH = /^\/[!$-;=@-Z\\[\]^_a-z|~]*$/;

/**
 * Reads `FROM=TO`, two path prefixes.
 * @throws AppError OPTION_INVALID
 */
export function parsePathMapping(text: string): PathMapping {
  const equals = text.indexOf('=');
  const [from, to] = [text.slice(0, Math.max(0, equals)), text.slice(equals + 1)];
  if (equals > 0 && PATH.test(from) && (to === '' || PATH.test(to))) return { from, to };
  throw new AppError('OPTION_INVALID', `--map-path: ${JSON.stringify(text)} is not FROM=TO`, {
    hint: 'Both are beginnings of a path without a query, such as /v1/models=/v2/models.',
  });
}

/**
 * The target a recorded one is sent to: the first mapping that fits is applied, once. A prefix ends where a part
 * of the path does: `/v1` fits `/v1`, `/v1/x` and `/v1?x`, and not `/v10`.
 */
export function mapPath(target: string, mappings: readonly PathMapping[]): string {
  for (const { from, to } of mappings) {
    if (!target.startsWith(from)) continue;
    const rest = target.slice(from.length);
    if (!from.endsWith('/') && !/^(?:$|[/?])/.test(rest)) continue;
    const mapped = to + rest;
    return mapped.startsWith('/') ? mapped : `/${mapped}`;
  }
  return target;
}
