import { z } from 'zod';
import { LIMITS, SUPERVISION } from '../core/limits.ts';
import { choice, list, type ResolvedOptions, structure, text, toggle } from '../core/options.ts';
import { formatBytes } from '../core/units.ts';
import { GATEWAY_DEFAULTS, GATEWAY_TIMEOUTS } from '../proxy/http/options.ts';
import { DEFAULT_CLIENT_KEYS, DEFAULT_SKIP_RULES } from '../redaction/recording-policy.ts';

/** Where probes and metrics are answered unless something else is said. */
export const PROBE_LISTEN = ':9464';

/** Without it nothing is recorded, which is loud, and traffic flows: an empty name keeps no traffic away. */
const RECORDING_ONLY = { mayBeEmpty: true } as const;

const seconds = (ms: number) => (ms === 0 ? 'off' : `${ms / 1000}s`);

/** Where a gateway sends the requests of some paths. */
const routeSetting = z.strictObject({
  path: z.string().describe('a path, or with a trailing * all that begin with it'),
  target: z.string().describe('the model server, such as http://127.0.0.1:8001'),
  'strip-prefix': z.boolean().optional().describe('take the prefix off the path that the server sees'),
});
export type RouteSetting = z.infer<typeof routeSetting>;

const TRAFFIC_OPTIONS = {
  target: list(
    '--target <url>',
    'the model server, such as http://127.0.0.1:8085, https://host:443 or unix:/path',
    {
      required: true,
    },
  ),
  listen: list('--listen <address>', 'where clients connect; the first belongs to the first target …', {
    default: [':8080'],
    required: true,
  }),
  dir: text('--dir <directory>', 'where the capture is kept', { required: true, ...RECORDING_ONLY }),
  mode: choice('--mode <plane>', 'pass bytes on untouched, or be an HTTP proxy', ['wire', 'gateway'], {
    default: 'wire',
  }),
  maxConnections: text(
    '--max-connections <n>',
    'clients at most, as the limit of open files allows; more are turned away and counted',
    { default: String(LIMITS.connections) },
  ),
};

const TRANSPORT_OPTIONS = {
  refused: choice('--refused <how>', 'how a client learns that the server is not there', ['reset', '502'], {
    default: 'reset',
  }),
  tlsCert: text('--tls-cert <file>', 'certificates (PEM): end TLS here'),
  tlsKey: text('--tls-key <file>', 'their private key (PEM)'),
  upstreamCa: text('--upstream-ca <file>', 'certificates (PEM) an https target is trusted by'),
  upstreamServerName: text(
    '--upstream-server-name <name>',
    'the name an https target is asked for and verified as',
  ),
  upstreamInsecure: toggle('--upstream-insecure', 'accept any certificate of the target'),
  acceptProxyProtocol: toggle(
    '--accept-proxy-protocol',
    'expect a PROXY protocol header on each client connection',
  ),
  sendProxyProtocol: choice(
    '--send-proxy-protocol <version>',
    'tell the server the client by a PROXY protocol header',
    ['v1', 'v2'],
  ),
};

const STORED_OPTIONS = {
  bodies: choice('--bodies <which>', 'bodies to keep', ['requests', 'all', 'none'], { default: 'requests' }),
  maxRequestBody: text('--max-request-body <size>', 'kept of a request body at most', {
    default: formatBytes(LIMITS.requestBodyBytes),
  }),
  maxResponseBody: text('--max-response-body <size>', 'kept of a response body at most', {
    default: formatBytes(LIMITS.responseBodyBytes),
  }),
  session: list('--session <key>', 'which requests belong together: header:NAME, json:POINTER, a preset'),
  client: list('--client <key>', 'who sent a request: the first of these that it has', {
    default: DEFAULT_CLIENT_KEYS,
  }),
  sample: text('--sample <share>', 'record this share of the sessions, or of the exchanges without one', {
    default: '100%',
  }),
  skip: list('--skip <rule>', 'leave these out: health, path:/prefix*, route:GET /x, none', {
    default: DEFAULT_SKIP_RULES,
  }),
  hashKeyFile: text(
    '--hash-key-file <file>',
    'key of the hashes of bodies, clients and sessions, a fleet’s own',
    RECORDING_ONLY,
  ),
};

const PRIVACY_OPTIONS = {
  redact: list('--redact <rule>', 'POINTER=mask, =hash or =drop in JSON bodies, such as /prompt=mask'),
  redactPreset: list('--redact-preset <name>', 'rules for known bodies: chat, v1, v2'),
  redactHeader: list('--redact-header <name>', 'mask this header beside those always masked'),
  redactQuery: list('--redact-query <key>', 'mask this query key beside those always masked'),
  encryptionKeyFile: text(
    '--encryption-key-file <file>',
    'encrypt what is stored of heads and bodies with this key',
    RECORDING_ONLY,
  ),
};

const DISK_OPTIONS = {
  maxDisk: text(
    '--max-disk <size>',
    'all files of the capture together (default: 10 GiB, or half the free space if less)',
  ),
  retain: text('--retain <time>', 'let go of segments that are older, such as 28d'),
  onSeal: text('--on-seal <command>', 'run for each finished segment: its path is $1, its manifest $2'),
  fleetSize: text('--fleet-size <n>', 'how many recorders there are, so that a missing one is noticed'),
  estimate: toggle('--estimate', 'print what a minute of traffic says about the disk, then go on'),
};

const OPERATION_OPTIONS = {
  probeListen: text('--probe-listen <address>', 'livez, readyz and metrics; off for none', {
    default: PROBE_LISTEN,
  }),
  drainDelay: text('--drain-delay <time>', 'how long a stop goes on accepting', {
    default: `${SUPERVISION.drainDelayMs / 1000}s`,
  }),
  drainDeadline: text('--drain-deadline <time>', 'how long a stop then waits for open connections', {
    default: `${SUPERVISION.drainDeadlineMs / 1000}s`,
  }),
};

const GATEWAY_OPTIONS = {
  forwardedHeaders: toggle(
    '--forwarded-headers',
    'gateway: set X-Forwarded-For, -Proto, -Host, X-Real-IP and Forwarded, replacing the client’s',
  ),
  websocket: toggle('--websocket', 'gateway: let connections be upgraded to WebSocket'),
  refuseMarked: toggle('--refuse-marked', 'gateway: answer 403 to replayed traffic'),
  maxInFlight: text(
    '--max-in-flight <n>',
    'gateway: for each forwarder, more requests at once are answered 503',
    { default: String(GATEWAY_DEFAULTS.maxInFlight) },
  ),
  connectTimeout: text('--connect-timeout <time>', 'gateway: for a connection to the server', {
    default: seconds(GATEWAY_TIMEOUTS.connectMs),
  }),
  firstByteTimeout: text(
    '--first-byte-timeout <time>',
    'gateway: from the request’s end to the answer; off for none',
    { default: seconds(GATEWAY_TIMEOUTS.firstByteMs) },
  ),
  idleTimeout: text('--idle-timeout <time>', 'gateway: between two pieces; off for none', {
    default: seconds(GATEWAY_TIMEOUTS.idleMs),
  }),
  totalTimeout: text('--total-timeout <time>', 'gateway: for an exchange; off for none', {
    default: seconds(GATEWAY_TIMEOUTS.totalMs),
  }),
  upstreamReuse: choice(
    '--upstream-reuse <which>',
    'gateway: whether a connection to the server serves several requests',
    ['on', 'off'],
    { default: 'on' },
  ),
  routes: structure(
    z.array(routeSetting).describe('which paths a gateway sends to other servers'),
    'which paths a gateway sends to other servers',
  ),
};

/** Everything that can be asked of a recording, in the order in which help prints it. */
export const RECORD_OPTIONS = {
  ...TRAFFIC_OPTIONS,
  ...TRANSPORT_OPTIONS,
  ...STORED_OPTIONS,
  ...PRIVACY_OPTIONS,
  ...DISK_OPTIONS,
  ...OPERATION_OPTIONS,
  ...GATEWAY_OPTIONS,
};

/** What was asked for: most of it texts, not yet read. */
export type RecordFlags = ResolvedOptions<typeof RECORD_OPTIONS>;
