import { AppError, Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { type Asked, list, type ResolvedOptions, readOptions, text, toggle, value } from '../core/options.ts';
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

export const FAULTS_OPTIONS = {
  listen: list(
    '--listen <address>',
    'address for the clients of a dependency, or NAME=ADDRESS; the n-th --listen leads to the n-th --upstream',
  ),
  upstream: list('--upstream <address>', 'address of the dependency'),
  control: text('--control <address>', 'address of the control API', { default: DEFAULT_CONTROL }),
  seed: value('--seed <number>', 'random seed of the faults', parseSeed, { default: '1' }),
  maxFaults: value('--max-faults <count>', 'most faults that may be on at once', parseCount, {
    default: String(LIMITS.faults),
  }),
  maxConnections: value(
    '--max-connections <count>',
    'most client connections at once; others are refused',
    parseCount,
    {
      default: String(LIMITS.connections),
    },
  ),
  tlsCert: text('--tls-cert <file>', 'certificate chain (PEM) for a --listen with https://'),
  tlsKey: text('--tls-key <file>', 'private key (PEM) of --tls-cert'),
  upstreamCa: text('--upstream-ca <file>', 'CA certificates (PEM) to verify an https:// upstream with'),
  upstreamServerName: text(
    '--upstream-server-name <name>',
    'server name (SNI) sent to an https:// upstream and verified in its certificate',
  ),
  upstreamInsecure: toggle('--upstream-insecure', 'accept any certificate of an upstream'),
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
  const hasCert = flags.tlsCert !== null;
  if (hasCert !== (flags.tlsKey !== null)) {
    problems.add('--tls-cert and --tls-key belong together', 'Give both, or neither.');
  }
  if (!hasCert && proxies.some(({ listen }) => speaksTls(listen))) {
    problems.add('--listen: https:// needs a certificate', 'Give --tls-cert and --tls-key.');
  }
  problems.throwIfAny();
  const { seed, maxFaults, maxConnections, tlsCert, tlsKey } = flags;
  return {
    control: control as Endpoint,
    relay: {
      proxies,
      seed,
      maxFaults,
      maxConnections,
      tls: tlsCert === null || tlsKey === null ? null : { certPath: tlsCert, keyPath: tlsKey },
      upstreamTls: {
        caPath: flags.upstreamCa,
        serverName: flags.upstreamServerName,
        verify: !flags.upstreamInsecure,
      },
    },
  };
}

/** The pairs of `--listen` and `--upstream`. Without any, proxies are created over the control API. */
function pairsOf({ listen, upstream }: ResolvedOptions<typeof FAULTS_OPTIONS>): NamedPair[] {
  if (listen.length !== upstream.length) {
    throw new AppError(
      'OPTION_INVALID',
      `${listen.length} --listen and ${upstream.length} --upstream do not pair up`,
      { hint: 'Give one --upstream for each --listen, in the same order.' },
    );
  }
  const pairs = listen.map((stated, index) => {
    const [, name = `proxy-${index + 1}`, address = stated] = NAMED.exec(stated) ?? [];
    return {
      name,
      listen: parseEndpoint(address, '--listen', { anyPort: true }),
      upstream: parseEndpoint(upstream[index] as string, '--upstream'),
    };
  });
  const twice = pairs.find(({ name }, index) => pairs.findIndex((each) => each.name === name) < index);
  if (twice === undefined) return pairs;
  throw new AppError('OPTION_INVALID', `--listen: the name ${twice.name} is given twice`, {
    hint: 'Give each dependency a name of its own: --listen NAME=ADDRESS.',
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
