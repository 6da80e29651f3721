import { AppError, type Problems } from '../core/errors.ts';
import type { Pair } from '../proxy/data-plane.ts';
import { parseEndpoint } from '../proxy/endpoint.ts';
import type { GatewayRoute } from '../proxy/http/options.ts';
import type { RouteSetting } from './record-flags.ts';
import { mustLeadOn } from './record-pairs.ts';

/** The routes of a configuration; those that can be of no effect add to the problems, and are left out. */
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
    throw new AppError('OPTION_INVALID', `${what}.strip-prefix: ${setting.path} is no prefix`, {
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
      hint: 'Give a path such as /v2/models/a, or with a trailing * all that begin with it.',
    });
  }
  // Compared is what clients send, and a request with any other byte is answered 400.
  if (!/^[!-~]*$/.test(path)) {
    throw new AppError('OPTION_INVALID', `${name} holds characters that no request line can hold`, {
      hint: 'Write the path as clients send it, percent-encoded, such as /%C3%A9.',
    });
  }
}

/** Of two that take the same paths the second would never be asked. */
function mustBeTheFirst(
  { match, path }: GatewayRoute,
  stated: { readonly what: string; readonly path: string },
  names: Map<string, string>,
): void {
  const text = JSON.stringify(stated.path);
  const first = names.get(`${match} ${path}`);
  if (first !== undefined) {
    const same = `${stated.what}.path: ${text} takes the same paths as ${first}`;
    throw new AppError('OPTION_INVALID', `${same}, and would never be asked`, {
      hint: 'Leave one of the two routes out, or give it a path of its own; /a* and /a/* are the same.',
    });
  }
  names.set(`${match} ${path}`, `${stated.what}, ${text}`);
}
