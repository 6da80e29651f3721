import { AppError, Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { type Asked, list, type ResolvedOptions, readOptions, text, value } from '../core/options.ts';
import type { Logger } from '../core/ports.ts';
import { parseCount, parseSeed } from '../core/units.ts';
import { ControlApi } from '../proxy/faults/control-api.ts';
import { FaultRelay, type NamedPair, type RelayOptions } from '../proxy/faults/relay.ts';
import {
  type Endpoint,
  formatEndpoint,
  isLoopback,
  parseEndpoint,
  speaksTls,
} from '../proxy/net/endpoint.ts';
import { listenOn } from '../proxy/net/listen.ts';
import { DEFAULT_CONTROL } from './fault-control.ts';
import { VERSION } from './package.ts';
import { LISTEN_TLS_OPTION, listenerTls, TARGET_TLS_OPTION, upstreamTls } from './tls-options.ts';

export const FAULTS_OPTIONS = {
  listen: list(
    '--listen <address>',
    'address for the clients of a dependency, or NAME=ADDRESS; the n-th --listen leads to the n-th --target',
  ),
  target: list('--target <address>', 'address of the dependency'),
  control: text('--control <address>', 'address of the control API', { default: DEFAULT_CONTROL }),
  seed: value('--seed <number>', 'random seed of the faults', parseSeed, { default: '1' }),
  maxFaults: value('--max-faults <count>', 'most faults that may be on together', parseCount, {
    default: String(LIMITS.faults),
  }),
  maxConnections: value(
    '--max-connections <count>',
    'most concurrent client connections; others are refused',
    parseCount,
    {
      default: String(LIMITS.connections),
    },
  ),
  ...LISTEN_TLS_OPTION,
  ...TARGET_TLS_OPTION,
};

/** The options of a relay. */
interface FaultsOptions {
  readonly relay: RelayOptions;
  readonly control: Endpoint;
}

const NAMED = /^([A-Za-z0-9][\w.-]{0,99})=(.+)$/;

/** @throws AppError OPTION_INVALID listing every problem */
export function resolveFaultsOptions(asked: Asked<typeof FAULTS_OPTIONS>): FaultsOptions {
  const problems = new Problems();
  const flags = readOptions(FAULTS_OPTIONS, asked, problems);
  const proxies = problems.attempt(() => pairsOf(flags), []);
  const control = problems.attempt(() => parseEndpoint(flags.control, '--control', { anyPort: true }), null);
  if (flags.listenTls === null && proxies.some(({ listen }) => speaksTls(listen)))
    problems.add('--listen: https:// needs a certificate', 'Give --listen-tls cert=FILE,key=FILE.');
  problems.throwIfAny();
  const { seed, maxFaults, maxConnections } = flags;
  return {
    control: control as Endpoint,
    relay: {
      proxies,
      seed,
      maxFaults,
      maxConnections,
      tls: listenerTls(flags.listenTls),
      upstreamTls: upstreamTls(flags.targetTls) ?? { caPath: null, serverName: null, verify: true },
    },
  };
}

/** The pairs of `--listen` and `--target`. Without any, proxies are created over the control API. */
function pairsOf({ listen, target }: ResolvedOptions<typeof FAULTS_OPTIONS>): NamedPair[] {
  if (listen.length !== target.length) {
    throw new AppError(
      'OPTION_INVALID',
      `${listen.length} --listen and ${target.length} --target do not pair up`,
      { hint: 'Give one --target for each --listen, in the same order.' },
    );
  }
  const pairs = listen.map((stated, index) => {
    const [, name = `proxy-${index + 1}`, address = stated] = NAMED.exec(stated) ?? [];
    return {
      name,
      listen: parseEndpoint(address, '--listen', { anyPort: true }),
      upstream: parseEndpoint(target[index] as string, '--target'),
    };
  });
  const twice = pairs.find(({ name }, index) => pairs.findIndex((each) => each.name === name) < index);
  if (twice === undefined) return pairs;
  throw new AppError('OPTION_INVALID', `--listen: the name ${twice.name} is given twice`, {
    hint: 'Give each dependency its own name: --listen NAME=ADDRESS.',
  });
}

/** A running relay. */
export interface RunningFaults {
  /** The address of its control API. */
  readonly control: string;
  readonly proxies: readonly { readonly name: string; readonly listen: string; readonly upstream: string }[];
  /** Stops it and closes all client connections. */
  stop(): Promise<void>;
}

/** @throws AppError LISTEN_FAILED, or OPTION_INVALID for a certificate that cannot be used */
export async function startFaults(
  { relay: options, control }: FaultsOptions,
  logger: Logger,
): Promise<RunningFaults> {
  const relay = new FaultRelay(options, ({ level, message, fields }) => logger[level](fields, message));
  await relay.start();
  const { server } = new ControlApi(relay, VERSION);
  const listening = await listenOn(server, control).catch((error: unknown) => {
    relay.stop();
    throw error;
  });
  const { endpoint } = listening;
  if (endpoint.kind === 'tcp' && !isLoopback(endpoint.host)) {
    const fields = { control: formatEndpoint(endpoint) };
    logger.warn(fields, 'other hosts can reach the control API, which asks for no password');
  }
  return {
    control: formatEndpoint(endpoint),
    proxies: relay.proxies.map(({ name, listen, upstream }) => ({
      name,
      listen: formatEndpoint(listen),
      upstream: formatEndpoint(upstream),
    })),
    stop: async () => {
      relay.stop();
      listening.remove();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
