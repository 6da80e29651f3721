import { AppError, type Problems } from '../core/errors.ts';
import { parseCount, parseTimeLimitMs } from '../core/units.ts';
import type { Pair } from '../proxy/data-plane.ts';
import { type Endpoint, formatEndpoint } from '../proxy/endpoint.ts';
import { GATEWAY_DEFAULTS, GATEWAY_TIMEOUTS, type GatewayRoute } from '../proxy/http/options.ts';
import type { PlaneOptions } from '../proxy/messages.ts';
import type { ListenerTls, UpstreamTls } from '../proxy/tcp/tcp-proxy.ts';
import type { RecordFlags } from './record-flags.ts';
import { pairsOf } from './record-pairs.ts';
import { routesOf } from './record-routes.ts';

/** Flags that mean something to one plane only; given to the other, they would be silently without effect. */
const GATEWAY_ONLY = [
  'forwardedHeaders',
  'websocket',
  'refuseMarked',
  'maxInFlight',
  'connectTimeout',
  'firstByteTimeout',
  'idleTimeout',
  'totalTimeout',
  'upstreamReuse',
  'routes',
] as const satisfies readonly (keyof RecordFlags)[];
const WIRE_ONLY = [
  'refused',
  'acceptProxyProtocol',
  'sendProxyProtocol',
] as const satisfies readonly (keyof RecordFlags)[];

/**
 * What the forwarders are asked to do; of no use where it adds to the problems.
 * @param given Whether a flag was stated, rather than left at its default.
 */
export function planeOf(
  flags: RecordFlags,
  given: (flag: keyof RecordFlags) => boolean,
  problems: Problems,
): PlaneOptions {
  problems.attempt(() => mustHaveEffect(flags.mode, given), undefined);
  const pairs = problems.attempt(() => pairsOf(flags), []);
  const settings = flags.routes ?? [];
  const routes = routesOf(settings, pairs, problems);
  // Of addresses that could not be read nobody knows what they speak.
  if (pairs.length > 0 && routes.length === settings.length)
    problems.attempt(() => mustServeTls(flags, pairs, routes), undefined);
  const common = {
    pairs,
    maxConnections: problems.attempt(() => parseCount(flags.maxConnections, '--max-connections'), 1),
    tls: problems.attempt(() => listenerTls(flags), null),
    upstreamTls: upstreamTls(flags),
  };
  return flags.mode === 'wire'
    ? {
        mode: 'wire',
        ...common,
        refused: flags.refused,
        acceptProxyProtocol: flags.acceptProxyProtocol,
        sendProxyProtocol: flags.sendProxyProtocol,
      }
    : { mode: 'gateway', ...common, routes, ...gatewayOf(flags, problems) };
}

/** All that is forwarded to, each once: of the pairs, then of a gateway's routes. */
export function targetsOf(plane: PlaneOptions): string[] {
  const routes = plane.mode === 'gateway' ? plane.routes : [];
  return [...new Set([...plane.pairs, ...routes].map(({ target }) => formatEndpoint(target)))];
}

function mustHaveEffect(mode: RecordFlags['mode'], given: (flag: keyof RecordFlags) => boolean): void {
  const other = (mode === 'wire' ? GATEWAY_ONLY : WIRE_ONLY).find(given);
  if (other === undefined) return;
  throw new AppError('OPTION_INVALID', `${flagOf(other)} has no effect with --mode ${mode}`, {
    hint: `Leave it out, or take --mode ${mode === 'wire' ? 'gateway' : 'wire'}.`,
  });
}

/**
 * An address that is to speak TLS has a certificate, or its clients would be served plainly without a word; and a
 * flag about TLS has an address that speaks it, or it would be without effect.
 */
function mustServeTls(flags: RecordFlags, pairs: readonly Pair[], routes: readonly GatewayRoute[]): void {
  const secure = pairs.find(({ listen }) => speaksTls(listen));
  if (secure && flags.tlsCert === null) {
    throw new AppError('OPTION_INVALID', `--listen: ${formatEndpoint(secure.listen)} needs a certificate`, {
      hint: 'Give --tls-cert and --tls-key, or listen without https.',
    });
  }
  if (!secure && flags.tlsCert !== null) {
    throw new AppError('OPTION_INVALID', '--tls-cert has no effect: no --listen address speaks TLS', {
      hint: 'Leave out http:// before --listen; a unix socket speaks no TLS.',
    });
  }
  if ([...pairs, ...routes].some(({ target }) => speaksTls(target))) return;
  const idle = (['upstreamCa', 'upstreamServerName', 'upstreamInsecure'] as const).find(
    (name) => flags[name],
  );
  if (idle === undefined) return;
  throw new AppError('OPTION_INVALID', `${flagOf(idle)} has no effect: no target speaks TLS`, {
    hint: 'Write the target as https://host, or leave the flag out.',
  });
}

function speaksTls(endpoint: Endpoint): boolean {
  return endpoint.kind === 'tcp' && endpoint.tls;
}

function listenerTls({ tlsCert, tlsKey }: RecordFlags): ListenerTls | null {
  if (tlsCert === null && tlsKey === null) return null;
  if (tlsCert === null || tlsKey === null) {
    throw new AppError('OPTION_INVALID', '--tls-cert and --tls-key belong together', {
      hint: 'Give both to end TLS here, or neither.',
    });
  }
  return { certPath: tlsCert, keyPath: tlsKey };
}

function upstreamTls({ upstreamCa, upstreamServerName, upstreamInsecure }: RecordFlags): UpstreamTls | null {
  if (upstreamCa === null && upstreamServerName === null && !upstreamInsecure) return null;
  return {
    caPath: upstreamCa,
    serverName: upstreamServerName,
    verify: !upstreamInsecure,
  };
}

function gatewayOf(flags: RecordFlags, problems: Problems) {
  // To the gateway 0 is no limit, which is not what 0s says: only `off` does.
  const timeMs = (text: string, flag: string) => problems.attempt(() => parseTimeLimitMs(text, flag), 0);
  const limitMs = (text: string, flag: string) => (text === 'off' ? 0 : timeMs(text, flag));
  return {
    forwardedHeaders: flags.forwardedHeaders,
    websocket: flags.websocket,
    maxInFlight: problems.attempt(() => parseCount(flags.maxInFlight, '--max-in-flight'), 1),
    refuseMarked: flags.refuseMarked,
    timeouts: {
      ...GATEWAY_TIMEOUTS,
      connectMs: timeMs(flags.connectTimeout, '--connect-timeout'),
      firstByteMs: limitMs(flags.firstByteTimeout, '--first-byte-timeout'),
      idleMs: limitMs(flags.idleTimeout, '--idle-timeout'),
      totalMs: limitMs(flags.totalTimeout, '--total-timeout'),
    },
    upstreamReuse: flags.upstreamReuse === 'on',
    freeSocketMs: GATEWAY_DEFAULTS.freeSocketMs,
  };
}

function flagOf(name: string): string {
  return name === 'routes' ? 'routes' : `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
