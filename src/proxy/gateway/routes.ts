import type { Endpoint } from '../endpoint.ts';
import type { GatewayRoute } from './options.ts';

/** Where a request goes: the target, and the request target that it is asked for. */
export interface Destination<Target> {
  readonly target: Target;
  readonly requestTarget: string;
}

interface Rule<Target> {
  readonly route: GatewayRoute;
  readonly target: Target;
}

/**
 * Paths to targets. Compared is the path as it was sent, byte for byte: nothing is decoded or resolved, so that
 * no other spelling of a path leads elsewhere than the server would take it.
 */
export class RouteTable<Target> {
  readonly #rules: readonly Rule<Target>[];

  /** @param targetOf Makes, or finds, what stands for an endpoint. */
  constructor(routes: readonly GatewayRoute[], targetOf: (endpoint: Endpoint) => Target) {
    const rank = (route: GatewayRoute): number => route.path.length * 2 + (route.match === 'exact' ? 1 : 0);
    this.#rules = [...routes]
      .sort((a, b) => rank(b) - rank(a))
      .map((route) => ({ route, target: targetOf(route.target) }));
  }

  /** @returns null where no route takes the request */
  find(requestTarget: string): Destination<Target> | null {
    if (this.#rules.length === 0) return null;
    const query = requestTarget.indexOf('?');
    const path = query < 0 ? requestTarget : requestTarget.slice(0, query);
    for (const { route, target } of this.#rules) {
      if (!matches(route, path)) continue;
      return { target, requestTarget: route.stripPrefix ? stripped(requestTarget, route) : requestTarget };
    }
    return null;
  }
}

function matches({ match, path: wanted }: GatewayRoute, path: string): boolean {
  if (match === 'exact') return path === wanted;
  return (
    path.startsWith(wanted) &&
    (path.length === wanted.length || wanted.endsWith('/') || path[wanted.length] === '/')
  );
}

/** What is left of a request target, which always begins with a slash. */
function stripped(requestTarget: string, { path }: GatewayRoute): string {
  const rest = requestTarget.slice(path.endsWith('/') ? path.length - 1 : path.length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}
