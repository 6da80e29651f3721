import { z } from 'zod';
import { AppError, Problems } from '../../core/errors.ts';
import { KeyedHash } from '../../core/keyed-hash.ts';
import { LIMITS, SUPERVISION, WIRE } from '../../core/limits.ts';
import {
  type Asked,
  choice,
  fileName,
  grouped,
  kebab,
  list,
  listOf,
  part,
  partDefaults,
  partSwitch,
  partsOf,
  type ResolvedOptions,
  readOptions,
  structure,
  text,
  toggle,
  value,
  word,
} from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import {
  formatBytes,
  parseBytes,
  parseCount,
  parsePositiveMs,
  parseShare,
  parseTimeLimitMs,
  parseWaitMs,
  refused,
} from '../../core/units.ts';
import type { HostLimits } from '../../monitors/host.ts';
import type { ProbeAddress } from '../../proxy/control/admin-server.ts';
import type { PlaneOptions } from '../../proxy/control/messages.ts';
import type { Pair } from '../../proxy/data-plane.ts';
import { GATEWAY_DEFAULTS, GATEWAY_TIMEOUTS, type GatewayRoute } from '../../proxy/http/options.ts';
import { type Endpoint, formatEndpoint, parseEndpoint, speaksTls } from '../../proxy/net/endpoint.ts';
import { parseBodyRules } from '../../redaction/body-rules.ts';
import {
  DEFAULT_CLIENT_KEYS,
  DEFAULT_RECORDING_POLICY,
  DEFAULT_SKIP_RULES,
  type RecordingPolicy,
  recordingParts,
} from '../../redaction/recording-policy.ts';
import { LABEL_OPTIONS, labelsOf } from '../labels.ts';
import { LISTEN_TLS_OPTION, listenerTls, TARGET_TLS_OPTION, upstreamTls } from '../tls-options.ts';
import { LISTEN, pairsOf, routeSetting, routesOf } from './addresses.ts';
import type { RecorderSettings } from './capture.ts';
import { MIRROR_OPTIONS, mirrorOf } from './mirror-options.ts';
import { loadCallSchema } from './proto-files.ts';

/** The default address of probes and metrics. */
export const PROBE_LISTEN = '127.0.0.1:9464';
/** An empty value is an error of the recording, not of the command line. With --fail-open traffic still flows. */
const RECORDING_ONLY = { mayBeEmpty: true } as const;

/** For the gateway 0 means no limit. A user writes `off` for it; `0s` is an error. */
function limitMs(text: string, what: string): number {
  return text === 'off' ? 0 : parseTimeLimitMs(text, what);
}

const seconds = (ms: number) => (ms === 0 ? 'off' : `${ms / 1000}s`);

const TRAFFIC_OPTIONS = grouped('Traffic', {
  target: list('--target <url>', 'the model server, such as 127.0.0.1:8085, https://host:443 or unix:/path'),
  listen: list(
    '--listen <address>',
    'address to listen on, :8080 for every interface; the n-th forwards to the n-th --target',
    { default: [`${LISTEN.host}:${LISTEN.port}`], required: true },
  ),
  dir: text('--dir <directory>', 'directory of the capture, such as captures/today', {
    required: true,
    ...RECORDING_ONLY,
  }),
  mode: choice(
    '--mode <plane>',
    'wire forwards bytes unchanged; gateway is an HTTP proxy',
    ['wire', 'gateway'],
    { default: 'wire' },
  ),
  maxConnections: value(
    '--max-connections <n>',
    'most concurrent client connections, capped by the limit of open files; others are refused and counted',
    parseCount,
    { default: String(LIMITS.connections) },
  ),
});

const TRANSPORT_OPTIONS = grouped('Connections and TLS', {
  refused: choice('--refused <how>', 'what a client gets if the target is unreachable', ['reset', '502'], {
    default: 'reset',
  }),
  connectRetry: value(
    '--connect-retry <time>',
    'wire: how long a client waits for a target that refuses connections, or off',
    limitMs,
    { default: seconds(WIRE.connectRetryMs) },
  ),
  refuseWhenDown: toggle(
    '--refuse-when-down',
    'wire: do not listen while the target refuses connections; it is asked once a second',
  ),
  ...LISTEN_TLS_OPTION,
  ...TARGET_TLS_OPTION,
  acceptProxyProtocol: toggle(
    '--accept-proxy-protocol',
    'expect a PROXY protocol header on each client connection',
  ),
  sendProxyProtocol: choice(
    '--send-proxy-protocol <version>',
    'send the client address to the target in a PROXY protocol header',
    ['v1', 'v2'],
  ),
});

const STORED_BODIES = ['requests', 'all', 'none'] as const;
const BODY_PARTS = {
  store: part(word(STORED_BODIES), 'requests'),
  maxRequest: part(parseBytes, formatBytes(LIMITS.requestBodyBytes)),
  maxResponse: part(parseBytes, formatBytes(LIMITS.responseBodyBytes)),
  proto: part(fileName),
};

const STORED_OPTIONS = grouped('What is stored', {
  bodies: value(
    '--bodies <which|parts>',
    `which bodies to store: ${STORED_BODIES.join(', ')}; at most max-request=SIZE of a request body and max-response=SIZE of a response body; proto=FILE is the descriptor set of gRPC services that are not known`,
    partsOf(BODY_PARTS, 'store'),
    { default: partDefaults(BODY_PARTS) },
  ),
  identifySession: list(
    '--identify-session <key>',
    'what identifies a session: header:NAME, json:POINTER or a preset',
  ),
  identifyClient: list(
    '--identify-client <key>',
    'what identifies a client; the first key found in the request is used',
    {
      default: DEFAULT_CLIENT_KEYS,
    },
  ),
  sample: value(
    '--sample <share>',
    'record this share of the sessions, and of the exchanges without a session',
    parseShare,
    {
      default: '100%',
    },
  ),
  skip: list('--skip <rule>', 'do not record these: health, path:/prefix*, route:GET /x, none', {
    default: DEFAULT_SKIP_RULES,
  }),
  hashKeyFile: text(
    '--hash-key-file <file>',
    'key for the hashes of bodies, clients and sessions; use one key for a fleet',
    RECORDING_ONLY,
  ),
});

/** What is redacted besides credentials: a place in bodies, a header or a query key. */
interface Redacted {
  readonly of: 'body' | 'header' | 'query';
  readonly text: string;
}

function redactionOf(given: string): Redacted {
  const [, of, text = ''] = /^(header|query):(.+)$/s.exec(given.trim()) ?? [];
  return of === 'header' || of === 'query' ? { of, text } : { of: 'body', text: given };
}

const PRIVACY_OPTIONS = grouped('Privacy', {
  redact: listOf(
    '--redact <rule>',
    'POINTER=mask, =hash or =drop in JSON bodies, such as /prompt=mask; header:NAME and query:KEY mask more than the ' +
      'headers and query keys of credentials, which are always masked',
    redactionOf,
  ),
  redactPreset: list('--redact-preset <name>', 'rules for known bodies: llm (all but a list), chat, v1, v2'),
  encryptionKeyFile: text(
    '--encryption-key-file <file>',
    'encrypt stored heads and bodies with this key',
    RECORDING_ONLY,
  ),
});

const DISK_OPTIONS = grouped('Disk', {
  maxDisk: value(
    '--max-disk <size>',
    'most disk space for the capture (default: 10 GiB, or half the free space if less)',
    maxDiskOf,
  ),
  retain: value('--retain <time>', 'delete segments older than this, such as 28d', parsePositiveMs),
  onSeal: text(
    '--on-seal <command>',
    'command to run for each sealed segment; $1 is its path, $2 its manifest',
  ),
  append: toggle('--append', 'add to a capture even if its target, policy or key was another'),
  fleetSize: value(
    '--fleet-size <n>',
    'number of recorders in the fleet, to detect a missing one',
    parseCount,
  ),
  estimate: toggle('--estimate', 'after a minute of traffic, print an estimate of disk use, then continue'),
});

/** The kernel's range of niceness. */
const NICENESS_MAX = 19;
const NICENESS_MIN = -20;

const NICENESS_PARTS = {
  proxy: part(nicenessFrom(NICENESS_MIN), String(SUPERVISION.proxyNiceness)),
  recorder: part(nicenessFrom(0), String(SUPERVISION.recorderNiceness)),
};

const OPERATION_OPTIONS = grouped('Operation', {
  failOpen: toggle(
    '--fail-open',
    'listen before the capture is open, and forward even if it cannot be opened; without it, that is an error',
  ),
  probeListen: value(
    '--probe-listen <address>',
    'address that serves /livez, /readyz and /metrics, :9464 for every interface, or off',
    probeAddressOf,
    {
      default: PROBE_LISTEN,
    },
  ),
  drainDelay: value(
    '--drain-delay <time>',
    'after a stop, keep accepting connections for this long',
    parseWaitMs,
    {
      default: `${SUPERVISION.drainDelayMs / 1000}s`,
    },
  ),
  drainDeadline: value(
    '--drain-deadline <time>',
    'then wait this long for open connections to end',
    parseWaitMs,
    {
      default: `${SUPERVISION.drainDeadlineMs / 1000}s`,
    },
  ),
  niceness: value(
    '--niceness <parts>',
    'niceness of the process that forwards (proxy, -20 to 19, if the system allows it; below 0, clients wait less beside a model server that takes every processor) and of the recorder process (0 to 19; it eases to 0 as the queue fills)',
    partsOf(NICENESS_PARTS),
    { default: partDefaults(NICENESS_PARTS) },
  ),
});

const TIMEOUT_PARTS = {
  total: part(limitMs, seconds(GATEWAY_TIMEOUTS.totalMs)),
  connect: part(parseTimeLimitMs, seconds(GATEWAY_TIMEOUTS.connectMs)),
  firstByte: part(limitMs, seconds(GATEWAY_TIMEOUTS.firstByteMs)),
  idle: part(limitMs, seconds(GATEWAY_TIMEOUTS.idleMs)),
};

const GATEWAY_OPTIONS = grouped('Gateway (--mode gateway)', {
  gateway: value(
    '--gateway <parts>',
    'gateway: forwarded-headers (set X-Forwarded-For, -Proto, -Host, X-Real-IP and Forwarded in place of those of the client), ' +
      'websocket (allow upgrades), refuse-marked (answer 403 to replayed traffic), reuse=off (a connection to the target for each request)',
    partsOf({
      forwardedHeaders: partSwitch(),
      websocket: partSwitch(),
      refuseMarked: partSwitch(),
      reuse: partSwitch('on'),
    }),
    { default: 'reuse=on' },
  ),
  maxInFlight: value('--max-in-flight <n>', 'gateway: most requests in flight; others get 503', parseCount, {
    default: String(GATEWAY_DEFAULTS.maxInFlight),
  }),
  timeout: value(
    '--timeout <time|parts>',
    'gateway: limits for the whole exchange (total), for connecting to the target (connect), from the end of the request to the ' +
      'first byte of the response (first-byte), and for a pause in the request or response (idle); a time or off',
    partsOf(TIMEOUT_PARTS, 'total'),
    { default: partDefaults(TIMEOUT_PARTS) },
  ),
  routes: structure(
    z.array(routeSetting).describe('paths that a gateway forwards to other targets'),
    'paths that a gateway forwards to other targets',
  ),
});

/** Whom the recorder asks what serves: the targets, or a URL of metrics. */
function parseDetailSource(text: string, what: string): 'target' | URL {
  const given = text.trim();
  if (given === 'target') return given;
  const url = /^https?:\/\//.test(given) ? URL.parse(given) : null;
  if (url !== null && url.username + url.password === '') return url;
  throw refused(what, text, 'is no source', 'Give target, or the URL of metrics without credentials.');
}

const SERVER_OPTIONS = grouped('The build that serves', {
  serverDetails: listOf(
    '--server-details <source>',
    'whom to ask once an hour what serves (version, models, configuration): target, or a URL of metrics; without it, only what passes by is kept',
    parseDetailSource,
  ),
});

/** All options of a recording, in the order of the help text. */
export const RECORD_OPTIONS = {
  ...TRAFFIC_OPTIONS,
  ...TRANSPORT_OPTIONS,
  ...STORED_OPTIONS,
  ...PRIVACY_OPTIONS,
  ...DISK_OPTIONS,
  ...OPERATION_OPTIONS,
  ...LABEL_OPTIONS,
  ...SERVER_OPTIONS,
  ...MIRROR_OPTIONS,
  ...GATEWAY_OPTIONS,
};

/** The resolved flags; most are strings that are not parsed yet. */
type RecordFlags = ResolvedOptions<typeof RECORD_OPTIONS>;

/** Flags of one plane only. With the other plane they would silently have no effect. */
const ONLY_IN = {
  gateway: Object.keys(GATEWAY_OPTIONS) as (keyof typeof GATEWAY_OPTIONS)[],
  wire: ['refused', 'connectRetry', 'refuseWhenDown', 'acceptProxyProtocol', 'sendProxyProtocol'] as const,
};

/**
 * The options of the data plane. They are unusable if problems were added.
 * @param given Whether a flag was stated, rather than left at its default.
 */
function planeOf(
  flags: RecordFlags,
  given: (flag: keyof RecordFlags) => boolean,
  problems: Problems,
): PlaneOptions {
  problems.attempt(() => mustHaveEffect(flags.mode, given), undefined);
  const pairs = problems.attempt(() => pairsOf(flags), []);
  const settings = flags.routes ?? [];
  const routes = routesOf(settings, pairs, problems);
  // If an address is invalid, it is unknown whether it uses TLS.
  if (pairs.length > 0 && routes.length === settings.length)
    problems.attempt(() => mustServeTls(flags, pairs, routes), undefined);
  const { mode, maxConnections, refused, refuseWhenDown, acceptProxyProtocol, sendProxyProtocol } = flags;
  const ofWire = { refused, refuseWhenDown, connectRetryMs: flags.connectRetry };
  const tls = listenerTls(flags.listenTls);
  const common = { pairs, maxConnections, tls, upstreamTls: upstreamTls(flags.targetTls) };
  return mode === 'wire'
    ? { mode, ...common, ...ofWire, acceptProxyProtocol, sendProxyProtocol }
    : { mode, ...common, routes, ...gatewayOf(flags) };
}

/** All targets: those of the pairs, then those of a gateway's routes. */
function endpointsOf(plane: PlaneOptions): Endpoint[] {
  const routes = plane.mode === 'gateway' ? plane.routes : [];
  return [...plane.pairs, ...routes].map(({ target }) => target);
}

/** The targets as text, without duplicates. */
function targetsOf(plane: PlaneOptions): string[] {
  return [...new Set(endpointsOf(plane).map(formatEndpoint))];
}

function mustHaveEffect(mode: RecordFlags['mode'], given: (flag: keyof RecordFlags) => boolean): void {
  const otherMode = mode === 'wire' ? 'gateway' : 'wire';
  const other = ONLY_IN[otherMode].find(given);
  if (other === undefined) return;
  throw new AppError('OPTION_INVALID', `${flagOf(other)} has no effect with --mode ${mode}`, {
    hint: `Remove the flag, or use --mode ${otherMode}.`,
  });
}

/**
 * A TLS address needs a certificate, or its clients would silently be served in plain text. A TLS flag needs an
 * address that uses TLS, or it would have no effect.
 */
function mustServeTls(flags: RecordFlags, pairs: readonly Pair[], routes: readonly GatewayRoute[]): void {
  const secure = pairs.find(({ listen }) => speaksTls(listen));
  if (secure && flags.listenTls === null) {
    throw new AppError('OPTION_INVALID', `--listen: ${formatEndpoint(secure.listen)} needs a certificate`, {
      hint: 'Give --listen-tls cert=FILE,key=FILE, or listen without https.',
    });
  }
  if (!secure && flags.listenTls !== null) {
    throw new AppError('OPTION_INVALID', '--listen-tls has no effect: no --listen address uses TLS', {
      hint: 'Remove http:// from --listen; a unix socket cannot use TLS.',
    });
  }
  if ([...pairs, ...routes].some(({ target }) => speaksTls(target))) return;
  if (flags.targetTls === null) return;
  throw new AppError('OPTION_INVALID', `--target-tls has no effect: no target uses TLS`, {
    hint: 'Write the target as https://host, or remove the flag.',
  });
}

function gatewayOf({ gateway, maxInFlight, timeout }: RecordFlags) {
  const { reuse: upstreamReuse, ...switches } = gateway;
  return {
    ...switches,
    maxInFlight,
    timeouts: {
      ...GATEWAY_TIMEOUTS,
      connectMs: timeout.connect,
      firstByteMs: timeout.firstByte,
      idleMs: timeout.idle,
      totalMs: timeout.total,
    },
    upstreamReuse,
    freeSocketMs: GATEWAY_DEFAULTS.freeSocketMs,
  };
}

function flagOf(name: string): string {
  return name === 'routes' ? name : `--${kebab(name)}`;
}

/**
 * Descriptors of the proxy that are not for clients. These are about 28 of the runtime and its pipe, a few for files,
 * and those of probes and control.
 */
const KEPT_FREE = 40 + LIMITS.probeConnections + LIMITS.controlConnections;

/**
 * The number of client connections that the proxy can hold within the limit of open files; null without a limit. In the
 * wire plane each takes two descriptors. In a gateway it takes a second one only while a request is in flight. But
 * every upstream may keep as many connections as were ever in flight to it.
 *
 * Further connections must be refused by us. Without free descriptors, the runtime accepts and closes waiting
 * connections without reporting it.
 * @param plane null for a wire plane with unknown addresses
 */
export function connectionRoom({ openFiles }: HostLimits, plane: PlaneOptions | null): number | null {
  if (openFiles === null || openFiles === Number.POSITIVE_INFINITY) return null;
  const free = Math.max(0, openFiles - KEPT_FREE - (plane?.pairs.length ?? 0));
  if (plane?.mode !== 'gateway') return Math.floor(free / 2);
  const upstreams = targetsOf(plane).length;
  // A tunnel does not count as in flight, but holds its upstream connection while it is open.
  const maxInFlight = plane.websocket ? Number.POSITIVE_INFINITY : plane.maxInFlight;
  return Math.max(Math.floor(free / (1 + upstreams)), free - upstreams * maxInFlight);
}

/** The options, with the number of connections limited by the descriptors of the host. */
export function withinRoom(options: PlaneOptions, limits: HostLimits): PlaneOptions {
  const room = connectionRoom(limits, options);
  if (room === null || room >= options.maxConnections) return options;
  // The estimate leaves no room at all. It must not refuse clients that can be served in practice.
  if (room === 0) return options;
  return { ...options, maxConnections: room };
}

export interface RecordOptions {
  readonly plane: PlaneOptions;
  readonly recorder: RecorderSettings;
  /** Null: no probes and no metrics. */
  readonly probeListen: ProbeAddress | null;
  readonly proxyNiceness: number;
  /** Niceness of the recorder process while its queue is empty. */
  readonly recorderNiceness: number;
  /** Whether it starts even if the capture cannot be opened. */
  readonly failOpen: boolean;
  readonly drainDelayMs: number;
  readonly drainDeadlineMs: number;
  readonly estimate: boolean;
}

/**
 * Reads every option and reports all problems at once.
 * @throws AppError OPTION_INVALID
 */
export function readRecordOptions(asked: Asked<typeof RECORD_OPTIONS>): RecordOptions {
  const problems = new Problems();
  const flags = readOptions(RECORD_OPTIONS, asked, problems);
  const given = (flag: keyof RecordFlags) => asked.originOf(flag) !== null;
  const plane = planeOf(flags, given, problems);
  const policy = policyOf(flags, problems);
  problems.attempt(() => loadCallSchema(protoOf(flags)), null);
  const labels = problems.attempt(() => labelsOf(flags, process.env), {});
  const mirror = mirrorOf(flags, { pairs: plane.pairs, targets: endpointsOf(plane) }, problems);
  problems.throwIfAny();
  return {
    plane,
    ...picked(flags, 'probeListen', 'failOpen', 'estimate'),
    proxyNiceness: flags.niceness.proxy,
    recorderNiceness: flags.niceness.recorder,
    drainDelayMs: flags.drainDelay,
    drainDeadlineMs: flags.drainDeadline,
    recorder: {
      ...picked(flags, 'dir', 'append', 'hashKeyFile', 'encryptionKeyFile', 'fleetSize', 'onSeal'),
      policy,
      proto: protoOf(flags),
      mirror,
      targets: targetsOf(plane),
      serverDetails: serverWatchOf(flags, plane),
      labels,
      maxDiskBytes: flags.maxDisk,
      retainMs: flags.retain,
    },
  };
}

function protoOf({ bodies: { proto } }: RecordFlags): readonly string[] {
  return proto === null ? [] : [proto];
}

/** Whom the recorder asks; null for nobody. */
function serverWatchOf(
  { serverDetails, targetTls }: Pick<RecordFlags, 'serverDetails' | 'targetTls'>,
  plane: PlaneOptions,
): RecorderSettings['serverDetails'] {
  if (serverDetails.length === 0) return null;
  return {
    targets: serverDetails.includes('target') ? endpointsOf(plane) : [],
    tls: upstreamTls(targetTls),
    metrics: serverDetails.flatMap((each) => (each === 'target' ? [] : [each.href])),
  };
}

function nicenessFrom(least: number): (text: string, what: string) => number {
  return (text, what) => {
    const niceness = /^-?\d{1,2}$/.test(text) ? Number(text) : Number.NaN;
    if (niceness >= least && niceness <= NICENESS_MAX) return niceness;
    throw new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(text)} is not a niceness`, {
      hint: `Give a whole number from ${least}, the highest priority, to ${NICENESS_MAX}, the lowest.`,
    });
  };
}

function maxDiskOf(text: string, what: string): number {
  const bytes = parseBytes(text, what);
  if (bytes >= LIMITS.leastDiskBytes) return bytes;
  throw new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(text)} is too small for a capture`, {
    hint: `Allow at least ${formatBytes(LIMITS.leastDiskBytes)}.`,
  });
}

/** Null for none. @throws AppError OPTION_INVALID */
export function probeAddressOf(text: string, what: string): ProbeAddress | null {
  if (text === 'off') return null;
  const endpoint = parseEndpoint(text, what, { anyPort: true });
  if (endpoint.kind === 'tcp' && !endpoint.tls) return endpoint;
  throw new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(text)} is not a plain port`, {
    hint: 'Give an address such as :9464 or 127.0.0.1:9464, or off.',
  });
}

function policyOf(flags: RecordFlags, problems: Problems): RecordingPolicy {
  const redacted = (of: Redacted['of']) =>
    flags.redact.filter((each) => each.of === of).map(({ text }) => text);
  const rules = redacted('body');
  const presets = flags.redactPreset;
  problems.attempt(() => parseBodyRules(rules, presets), null);
  const policy: RecordingPolicy = {
    bodies: flags.bodies.store,
    requestBodyBytes: flags.bodies.maxRequest,
    responseBodyBytes: flags.bodies.maxResponse,
    sample: flags.sample,
    session: flags.identifySession,
    client: flags.identifyClient,
    skip: flags.skip,
    redact: {
      rules: [],
      presets: [],
      headers: redacted('header'),
      queryKeys: redacted('query'),
    },
  };
  // Parsed once here, so that an invalid rule stops the command and not the recorder.
  problems.attempt(() => recordingParts(policy, new KeyedHash(new Uint8Array(32)), ''), null);
  return { ...DEFAULT_RECORDING_POLICY, ...policy, redact: { ...policy.redact, rules, presets } };
}
