import { type Command, Option } from 'commander';
import { z } from 'zod';
import { LIMITS, SUPERVISION } from '../core/limits.ts';
import { formatBytes } from '../core/units.ts';
import { GATEWAY_DEFAULTS, GATEWAY_TIMEOUTS } from '../proxy/gateway/options.ts';
import { DEFAULT_CLIENT_KEYS, DEFAULT_SKIP_RULES } from '../redaction/recording-policy.ts';
import { acceptStructured } from './config-schema.ts';
import { RepeatableOption } from './repeatable.ts';

/** Where probes and metrics are answered unless something else is said. */
export const PROBE_LISTEN = ':9464';

/** The flags of `record` as commander hands them over: texts, not yet read. */
export interface RecordFlags {
  readonly target: readonly string[];
  readonly listen: readonly string[];
  readonly dir: string;
  readonly mode: 'wire' | 'gateway';
  readonly forwarders: string;
  readonly maxConnections: string;
  readonly refused: 'reset' | '502';
  readonly drainDelay: string;
  readonly drainDeadline: string;
  readonly probeListen: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly upstreamCa?: string;
  readonly upstreamServerName?: string;
  readonly upstreamInsecure?: boolean;
  readonly acceptProxyProtocol?: boolean;
  readonly sendProxyProtocol?: 'v1' | 'v2';
  readonly bodies: 'requests' | 'all' | 'none';
  readonly maxRequestBody: string;
  readonly maxResponseBody: string;
  readonly session?: readonly string[];
  readonly client: readonly string[];
  readonly sample: string;
  readonly skip: readonly string[];
  readonly hashKeyFile?: string;
  readonly redact?: readonly string[];
  readonly redactPreset?: readonly string[];
  readonly redactHeader?: readonly string[];
  readonly redactQuery?: readonly string[];
  readonly encryptionKeyFile?: string;
  readonly maxDisk?: string;
  readonly retain?: string;
  readonly onSeal?: string;
  readonly fleetSize?: string;
  readonly estimate?: boolean;
  readonly forwardedHeaders?: boolean;
  readonly websocket?: boolean;
  readonly refuseMarked?: boolean;
  readonly maxInFlight: string;
  readonly connectTimeout: string;
  readonly firstByteTimeout: string;
  readonly idleTimeout: string;
  readonly totalTimeout: string;
  readonly upstreamReuse: 'on' | 'off';
  /** Only a configuration file can give these. */
  readonly routes?: readonly RouteSetting[];
}

/** Where a gateway sends the requests of some paths. */
const routeSetting = z.strictObject({
  path: z.string().describe('a path, or with a trailing * all that begin with it'),
  target: z.string().describe('the model server, such as http://127.0.0.1:8001'),
  'strip-prefix': z.boolean().optional().describe('take the prefix off the path that the server sees'),
});
export type RouteSetting = z.infer<typeof routeSetting>;

type Adder = (command: Command) => void;

/** Adds every flag, in the order in which help prints them. */
export function addRecordFlags(command: Command): Command {
  for (const add of [traffic, transport, stored, privacy, disk, operation, gateway]) add(command);
  return acceptStructured(command, {
    routes: z.array(routeSetting).describe('which paths a gateway sends to other servers'),
  });
}

const traffic: Adder = (command) => {
  command
    .addOption(
      new RepeatableOption(
        '--target <url>',
        'the model server, such as http://127.0.0.1:8085, https://host:443 or unix:/path',
      )
        .makeNeverEmpty()
        .makeOptionMandatory(),
    )
    .addOption(
      new RepeatableOption(
        '--listen <address>',
        'where clients connect; the first belongs to the first target …',
      )
        .makeNeverEmpty()
        .default([':8080']),
    )
    .requiredOption('--dir <directory>', 'where the capture is kept')
    .addOption(
      new Option('--mode <plane>', 'pass bytes on untouched, or be an HTTP proxy')
        .choices(['wire', 'gateway'])
        .default('wire'),
    )
    .option('--forwarders <n>', 'processes that share the port, for more than one core', '1')
    .option(
      '--max-connections <n>',
      'for each forwarder: clients at most, as the limit of open files allows; more are turned away and counted',
      String(LIMITS.connections),
    );
};

const transport: Adder = (command) => {
  command
    .addOption(
      new Option('--refused <how>', 'how a client learns that the server is not there')
        .choices(['reset', '502'])
        .default('reset'),
    )
    .option('--tls-cert <file>', 'certificates (PEM): end TLS here')
    .option('--tls-key <file>', 'their private key (PEM)')
    .option('--upstream-ca <file>', 'certificates (PEM) an https target is trusted by')
    .option('--upstream-server-name <name>', 'the name an https target is asked for and verified as')
    .option('--upstream-insecure', 'accept any certificate of the target')
    .option('--accept-proxy-protocol', 'expect a PROXY protocol header on each client connection')
    .addOption(
      new Option(
        '--send-proxy-protocol <version>',
        'tell the server the client by a PROXY protocol header',
      ).choices(['v1', 'v2']),
    );
};

const stored: Adder = (command) => {
  command
    .addOption(
      new Option('--bodies <which>', 'bodies to keep')
        .choices(['requests', 'all', 'none'])
        .default('requests'),
    )
    .option(
      '--max-request-body <size>',
      'kept of a request body at most',
      formatBytes(LIMITS.requestBodyBytes),
    )
    .option(
      '--max-response-body <size>',
      'kept of a response body at most',
      formatBytes(LIMITS.responseBodyBytes),
    )
    .addOption(
      new RepeatableOption(
        '--session <key>',
        'which requests belong together: header:NAME, json:POINTER, a preset',
      ),
    )
    .addOption(
      new RepeatableOption('--client <key>', 'who sent a request: the first of these that it has').default(
        DEFAULT_CLIENT_KEYS,
      ),
    )
    .option('--sample <share>', 'record this share of the sessions, or of the exchanges without one', '100%')
    .addOption(
      new RepeatableOption(
        '--skip <rule>',
        'leave these out: health, path:/prefix*, route:GET /x, none',
      ).default(DEFAULT_SKIP_RULES),
    )
    .option('--hash-key-file <file>', 'key of the hashes of bodies, clients and sessions, a fleet’s own');
};

const privacy: Adder = (command) => {
  command
    .addOption(
      new RepeatableOption(
        '--redact <rule>',
        'POINTER=mask, =hash or =drop in JSON bodies, such as /prompt=mask',
      ),
    )
    .addOption(new RepeatableOption('--redact-preset <name>', 'rules for known bodies: chat, v1, v2'))
    .addOption(new RepeatableOption('--redact-header <name>', 'mask this header beside those always masked'))
    .addOption(new RepeatableOption('--redact-query <key>', 'mask this query key beside those always masked'))
    .option('--encryption-key-file <file>', 'encrypt what is stored of heads and bodies with this key');
};

const disk: Adder = (command) => {
  command
    .option(
      '--max-disk <size>',
      'all files of the capture together (default: 10 GiB, or half the free space if less)',
    )
    .option('--retain <time>', 'let go of segments that are older, such as 28d')
    .option('--on-seal <command>', 'run for each finished segment: its path is $1, its manifest $2')
    .option('--fleet-size <n>', 'how many recorders there are, so that a missing one is noticed')
    .option('--estimate', 'print what a minute of traffic says about the disk, then go on');
};

const operation: Adder = (command) => {
  command
    .option('--probe-listen <address>', 'livez, readyz and metrics; off for none', PROBE_LISTEN)
    .option(
      '--drain-delay <time>',
      'how long a stop goes on accepting',
      `${SUPERVISION.drainDelayMs / 1000}s`,
    )
    .option(
      '--drain-deadline <time>',
      'how long a stop then waits for open connections',
      `${SUPERVISION.drainDeadlineMs / 1000}s`,
    );
};

const gateway: Adder = (command) => {
  const seconds = (ms: number) => (ms === 0 ? 'off' : `${ms / 1000}s`);
  command
    .option(
      '--forwarded-headers',
      'gateway: set X-Forwarded-For, -Proto, -Host, X-Real-IP and Forwarded, replacing the client’s',
    )
    .option('--websocket', 'gateway: let connections be upgraded to WebSocket')
    .option('--refuse-marked', 'gateway: answer 403 to replayed traffic')
    .option(
      '--max-in-flight <n>',
      'gateway: for each forwarder, more requests at once are answered 503',
      String(GATEWAY_DEFAULTS.maxInFlight),
    )
    .option(
      '--connect-timeout <time>',
      'gateway: for a connection to the server',
      seconds(GATEWAY_TIMEOUTS.connectMs),
    )
    .option(
      '--first-byte-timeout <time>',
      'gateway: from the request’s end to the answer; off for none',
      seconds(GATEWAY_TIMEOUTS.firstByteMs),
    )
    .option(
      '--idle-timeout <time>',
      'gateway: between two pieces; off for none',
      seconds(GATEWAY_TIMEOUTS.idleMs),
    )
    .option(
      '--total-timeout <time>',
      'gateway: for an exchange; off for none',
      seconds(GATEWAY_TIMEOUTS.totalMs),
    )
    .addOption(
      new Option(
        '--upstream-reuse <which>',
        'gateway: whether a connection to the server serves several requests',
      )
        .choices(['on', 'off'])
        .default('on'),
    );
};
