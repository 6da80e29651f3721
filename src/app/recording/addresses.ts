import { z } from 'zod';
import { AppError, type Problems } from '../../core/errors.ts';
import type { Pair } from '../../proxy/data-plane.ts';
import type { GatewayRoute } from '../../proxy/http/options.ts';
import {
  type Endpoint,
  formatEndpoint,
  isReachedAs,
  parseEndpoint,
  placeText,
} from '../../proxy/net/endpoint.ts';

/** The default address for clients. */
export const LISTEN = { host: '127.0.0.1', port: 8080 };

/** A route: the target for some paths of a gateway. */
export const routeSetting = z.strictObject({
  path: z.string().describe('a path; with a trailing *, all paths with this prefix'),
  target: z.string().describe('the model server, such as http://127.0.0.1:8001'),
  'strip-prefix': z.boolean().optional().describe('remove the prefix from the path sent to the target'),
});
export type RouteSetting = z.infer<typeof routeSetting>;

interface AddressFlags {
  readonly listen: readonly string[];
  readonly target: readonly string[];
  readonly listenTls: object | null;
}

/**
 * The listen addresses and targets by their order; one target may serve them all.
 * @throws AppError OPTION_INVALID if an address is invalid, is given twice, or is its own target
 */
export function pairsOf({ listen, target: targets, listenTls }: AddressFlags): Pair[] {
  if (listen.length === 0) {
    throw new AppError('OPTION_INVALID', '--listen: no address is given', {
      hint: 'Give an address to listen on, such as :8080.',
    });
  }
  if (targets.length === 0) {
    throw new AppError('OPTION_INVALID', '--target is missing', {
      hint: 'Give the model server, such as --target http://127.0.0.1:8000, or start it: reprise record --dir captures/today -- python3 server.py.',
    });
  }
  if (targets.length !== listen.length && targets.length !== 1) {
    throw new AppError(
      'OPTION_INVALID',
      `${listen.length} --listen and ${targets.length} --target do not pair up`,
      { hint: 'Give one --target for each --listen, in the same order, or one --target for all.' },
    );
  }
  const tls = listenTls !== null;
  const pairs = listen.map((address, index) => ({
    listen: parseEndpoint(address, '--listen', { anyPort: true, tls }),
    target: parseEndpoint((targets[index] ?? targets[0]) as string, '--target'),
  }));
  for (const [index, pair] of pairs.entries()) {
    mustBeOnce(pair.listen, pairs.slice(0, index));
    mustLeadOn(pair.listen, pair.target, '--target');
  }
  return pairs;
}

/** Refuses repeats: processes can bind a shared port silently, and clients would then reach either target. */
function mustBeOnce(listen: Endpoint, before: readonly Pair[]): void {
  if (listen.kind === 'tcp' && listen.port === 0) return;
  if (!before.some((pair) => placeText(pair.listen) === placeText(listen))) return;
  throw new AppError('OPTION_INVALID', `--listen: ${formatEndpoint(listen)} is given twice`, {
    hint: 'Give each --listen its own address.',
  });
}

/**
 * Refuses a target that is our own listen address: the first request would loop until descriptors run out.
 * @throws AppError OPTION_INVALID naming `what`
 */
function mustLeadOn(listen: Endpoint, target: Endpoint, what: string): void {
  if (!isReachedAs(listen, target)) return;
  throw new AppError(
    'OPTION_INVALID',
    `${what}: ${formatEndpoint(target)} is the address of --listen itself`,
    {
      hint: 'Give the address of the model server.',
    },
  );
}

/** The routes of a configuration. Routes without effect are added to the problems and left out. */
export function routesOf(
  settings: readonly RouteSetting[],
  pairs: readonly Pair[],
  problems: Problems,
): GatewayRoute[] {
  const routes: GatewayRoute[] = [];
  const names = new Map<string, string>();
  for (const [index, setting] of settings.entries()) {
    const what = `routes[${index}]`;
    problems.attempt(() => {
      const route = routeOf(setting, what, pairs);
      mustBeTheFirst(route, { what, path: setting.path }, names);
      routes.push(route);
    }, undefined);
  }
  return routes;
}

function routeOf(setting: RouteSetting, what: string, pairs: readonly Pair[]): GatewayRoute {
  const prefix = setting.path.endsWith('*');
  const path = prefix ? setting.path.slice(0, -1).replace(/(?<=.)\/$/, '') : setting.path;
  mustBePath(path, setting.path, what);
  if (setting['strip-prefix'] && !prefix) {
    throw new AppError('OPTION_INVALID', `${what}.strip-prefix: ${setting.path} is not a prefix`, {
      hint: 'End the path with *.',
    });
  }
  const target = parseEndpoint(setting.target, `${what}.target`);
  for (const { listen } of pairs) mustLeadOn(listen, target, `${what}.target`);
  return { match: prefix ? 'prefix' : 'exact', path, target, stripPrefix: setting['strip-prefix'] ?? false };
}

function mustBePath(path: string, stated: string, what: string): void {
  const name = `${what}.path: ${JSON.stringify(stated)}`;
  if (!/^\/[^\s?#*]*$/.test(path)) {
    throw new AppError('OPTION_INVALID', `${name} is not a path`, {
      hint: 'Give a path such as /v2/models/a, or a prefix such as /v2/models/*.',
    });
  }
  // Paths are compared with the bytes that clients send. A request with any other byte gets a 400.
  if (!/^[!-~]*$/.test(path)) {
    throw new AppError('OPTION_INVALID', `${name} holds characters that are not allowed in a request line`, {
      hint: 'Write the path as clients send it, percent-encoded, such as /%C3%A9.',
    });
  }
}

/** If two routes match the same paths, the second is never used. */
function mustBeTheFirst(
  { match, path }: GatewayRoute,
  stated: { readonly what: string; readonly path: string },
  names: Map<string, string>,
): void {
  const text = JSON.stringify(stated.path);
  const first = names.get(`${match} ${path}`);
  if (first !== undefined) {
    const same = `${stated.what}.path: ${text} matches the same paths as ${first}`;
    throw new AppError('OPTION_INVALID', `${same}, so it would never be used`, {
      hint: 'Remove one of the two routes or change its path; /a* and /a/* are the same.',
    });
  }
  names.set(`${match} ${path}`, `${stated.what}, ${text}`);
}
