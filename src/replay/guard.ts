import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { isIP, type LookupFunction, type Socket, connect as tcpConnect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import {
  type ConnectionOptions,
  createSecureContext,
  getCACertificates,
  TLSSocket,
  connect as tlsConnect,
} from 'node:tls';
import { AppError, reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { isOfWrongServer, type Send } from '../core/run.ts';
import { NS_PER_S } from '../core/units.ts';
import { hostnameOf, type Target } from './target.ts';

/** All addresses of a name: none where it has none, null where that could not be found out. */
export type ResolveHost = (hostname: string) => Promise<readonly string[] | null>;

interface FenceOptions {
  readonly target: Target;
  readonly productionHosts: readonly string[];
  readonly allowedProductionHosts: readonly string[];
}

/** Names resolved at one time; more than a capture of one service ever has. */
const MAX_RESOLVED_NAMES = 128;
/** Distinct recorded names remembered, so that each is looked at once. */
const MAX_SEEN_NAMES = 10_000;

/**
 * Keeps a replay away from production. In a sidecar the recorded upstream is a loopback address, which says
 * nothing about the machine a replay runs on, so the fence is made of names: those requests were recorded
 * under, what they resolve to, and those declared with --production-host. Declared loopback means this machine, by any
 * of its names and addresses. Ports are ignored. If a name cannot be resolved, it is not checked, and nothing is sent.
 */
export class TargetFence {
  /** The target's host, as hosts are compared. */
  readonly #name: string;
  readonly #declared: ReadonlySet<string>;
  readonly #open: boolean;
  readonly #seen = new Set<string>();
  /** Recorded names met since the last look, whose addresses are not known. */
  readonly #late = new Set<string>();
  #fenced: FencedAddresses = NO_ADDRESS_FENCED;

  constructor(options: FenceOptions) {
    this.#name = hostnameOf(options.target.hostname);
    this.#declared = new Set(options.productionHosts.map(hostnameOf));
    this.#open = options.allowedProductionHosts.map(hostnameOf).includes(this.#name);
  }

  /** What the target's name must never resolve to, as of the last check. */
  get fenced(): FencedAddresses {
    return this.#fenced;
  }

  /**
   * Looks at the names known before the start.
   * @throws AppError TARGET_FORBIDDEN, also where a name could not be resolved
   */
  async check(recordedAuthorities: Iterable<string>, resolve: ResolveHost): Promise<void> {
    if (this.#open) return;
    if (this.#declared.has(this.#name)) throw this.#forbidden('is named by --production-host');
    const loopback = [...this.#declared].find(isLoopback);
    if (loopback !== undefined && isLoopback(this.#name)) throw this.#forbidden(sameMachineAs(loopback));
    const names = new Set(this.#declared);
    for (const authority of recordedAuthorities) {
      this.checkRecorded(authority);
      names.add(hostnameOf(authority));
    }
    this.#late.clear();
    if (!this.isWatched) return;
    this.#fenced = { addresses: [], loopback: loopback ?? null };
    const fenced = [...names].filter((name) => name !== '' && !isLoopback(name)).slice(0, MAX_RESOLVED_NAMES);
    const unresolved = await this.#fence(fenced, resolve);
    const own = await resolve(this.#name);
    const unchecked = own === null ? this.#name : unresolved[0];
    if (unchecked !== undefined) throw this.#unchecked(unchecked);
    this.checkAddresses(own ?? []);
  }

  /**
   * Resolves the target's name once more, and names that requests were recorded under since the last look.
   * @throws AppError TARGET_FORBIDDEN; not for a name that could not be resolved, which is asked for next time
   */
  async checkAgain(resolve: ResolveHost): Promise<void> {
    if (!this.isWatched) return;
    const late = [...this.#late];
    this.#late.clear();
    for (const name of await this.#fence(late, resolve)) this.#late.add(name);
    this.checkAddresses((await resolve(this.#name)) ?? []);
  }

  /** Whether names may yet show that the target is production. A loopback target is this machine, whatever they say. */
  get isWatched(): boolean {
    return !this.#open && !isLoopback(this.#name);
  }

  /** Puts the addresses of names behind the fence. @returns the names that could not be resolved */
  async #fence(names: readonly string[], resolve: ResolveHost): Promise<string[]> {
    const found = await Promise.all(names.map(async (name) => ({ name, addresses: await resolve(name) })));
    const added = found.flatMap(({ name, addresses }) =>
      (addresses ?? []).map((address) => [hostnameOf(address), name] as const),
    );
    this.#fenced = { ...this.#fenced, addresses: [...this.#fenced.addresses, ...added] };
    return found.flatMap(({ name, addresses }) => (addresses === null ? [name] : []));
  }

  /**
   * Looks at addresses of the target.
   * @throws AppError TARGET_FORBIDDEN
   */
  checkAddresses(addresses: readonly string[]): void {
    for (const address of addresses) {
      const name = fencedNameOf(address, this.#fenced);
      if (name === null) continue;
      const isThisMachine = isLoopback(hostnameOf(address));
      throw this.#forbidden(
        isThisMachine ? sameMachineAs(name) : `is the same address (${address}) as ${name}`,
      );
    }
  }

  /**
   * Looks at the name one request was recorded under, before it is sent.
   * @throws AppError TARGET_FORBIDDEN
   */
  checkRecorded(authority: string | null): void {
    if (this.#open || authority === null || this.#seen.has(authority)) return;
    const name = hostnameOf(authority);
    if (name === this.#name && !isLoopback(name)) {
      throw this.#forbidden('is the host this capture was recorded under');
    }
    if (this.#seen.size < MAX_SEEN_NAMES) this.#seen.add(authority);
    if (this.isWatched && !isLoopback(name) && this.#late.size < MAX_RESOLVED_NAMES) this.#late.add(name);
  }

  #unchecked(name: string): AppError {
    return this.#forbidden(
      name === this.#name
        ? 'could not be resolved, so it could not be compared with production'
        : `could not be checked against ${name}, which could not be resolved in time`,
    );
  }

  #forbidden(why: string): AppError {
    const name = this.#name;
    return new AppError('TARGET_FORBIDDEN', `The target ${name} ${why}: a replay must not hit production`, {
      hint: `Give a staging target, or allow this one: --production-host allow=${name}`,
    });
  }
}

function sameMachineAs(declared: string): string {
  return `is this machine; --production-host ${declared} names it too`;
}

/** Loopback names and addresses: they mean this machine, whatever machine that was when recorded. */
export function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.') || host === '0.0.0.0';
  if (isIP(host) === 6) return /^(::1?|::ffff:(127\.|7f).*)$/.test(host);
  return host === 'localhost' || host.endsWith('.localhost');
}

/** Addresses that belong to production. Plain data: it goes to the threads that connect. */
export interface FencedAddresses {
  /** Each with the name it is known by. */
  readonly addresses: readonly (readonly [address: string, name: string])[];
  /** The name of loopback that was declared; null where this machine is no part of production. */
  readonly loopback: string | null;
}

export const NO_ADDRESS_FENCED: FencedAddresses = Object.freeze({ addresses: [], loopback: null });

/** The name by which an address belongs to production; null where it does not. */
export function fencedNameOf(address: string, { addresses, loopback }: FencedAddresses): string | null {
  const comparable = hostnameOf(address);
  if (isLoopback(comparable)) return loopback;
  return addresses.find(([each]) => each === comparable)?.[1] ?? null;
}

/** What the system's resolver says of a name for good: it has no address. All else may be otherwise a moment later. */
const HAS_NO_ADDRESS: ReadonlySet<unknown> = new Set([
  'ENOTFOUND',
  'ENODATA',
  'EAI_NODATA',
  'EAI_ADDRFAMILY',
]);
const RETRY_MS = 250;

/**
 * Resolves by the system, bounded in time. What fails is tried again while there is time.
 * @returns null where the name has neither been found nor found not to exist
 */
export async function resolveHost(
  hostname: string,
  timeoutMs = 5_000,
  ask: (hostname: string) => Promise<readonly LookupAddress[]> = (name) => lookup(name, { all: true }),
): Promise<readonly string[] | null> {
  if (isIP(hostname) !== 0) return [hostname];
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), timeoutMs);
  const timedOut = new Promise<null>((resolve) => {
    over.signal.addEventListener('abort', () => resolve(null));
  });
  try {
    while (!over.signal.aborted) {
      const found = await Promise.race([addressesOrNull(ask(hostname)), timedOut]);
      if (found !== null) return found;
      await Promise.race([wait(RETRY_MS), timedOut]);
    }
    return null;
  } finally {
    clearTimeout(timer);
  }
}

async function addressesOrNull(asked: Promise<readonly LookupAddress[]>): Promise<readonly string[] | null> {
  try {
    return (await asked).map(({ address }) => address);
  } catch (thrown) {
    return HAS_NO_ADDRESS.has((thrown as { readonly code?: unknown }).code) ? [] : null;
  }
}

/** The system's lookup for sockets, without the addresses that belong to production. */
export function fencedLookup(fenced: FencedAddresses): LookupFunction {
  return (hostname, options, callback) => {
    systemLookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        callback(error, '');
        return;
      }
      const free = addresses.filter(({ address }) => fencedNameOf(address, fenced) === null);
      const [first] = free;
      if (first === undefined) {
        const forbidden = new Error(`${hostname} resolves only to production addresses`);
        callback(Object.assign(forbidden, { code: 'EFENCED' }), '');
      } else if (options.all === true) callback(null, free);
      else callback(null, first.address, first.family);
    });
  };
}

/** What a target must speak for the requests that it gets. */
export type TargetProtocol = 'http1' | 'http2';

/**
 * Connects once (and ends TLS where the target speaks it). To a target of HTTP/1.1 it sends nothing. One of HTTP/2 must
 * answer the preface with its settings.
 * @param fenced where no connection may go
 * @throws AppError TARGET_UNREACHABLE
 */
export async function assertReachable(
  target: Target,
  certificates: CertificateRules,
  fenced: FencedAddresses,
  timeoutMs = 5_000,
  protocol: TargetProtocol = 'http1',
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { hostname: host, port, socketPath } = target;
  const isHttp2 = protocol === 'http2';
  const at = {
    host,
    port,
    lookup: fencedLookup(fenced),
    ...(isHttp2 && target.tls && { ALPNProtocols: ['h2'] }),
  };
  const socket = target.tls
    ? tlsConnect({ ...at, ...trustOf(certificates), ...(isIP(host) === 0 && { servername: host }) }, resolve)
    : tcpConnect(socketPath === null ? at : { path: socketPath }, resolve);
  socket.setTimeout(timeoutMs, () => reject(new Error(`no connection within ${timeoutMs} ms`)));
  socket.once('error', reject);
  try {
    await promise;
    if (socket instanceof TLSSocket) await assertAccepted(socket);
    if (isHttp2) await assertHttp2(socket, timeoutMs);
  } catch (cause) {
    if (cause instanceof OtherProtocol || isAlpnRefusal(cause)) {
      throw new AppError('TARGET_UNREACHABLE', `The target ${target.url} does not speak HTTP/2`, {
        hint: 'Requests recorded by HTTP/2 are sent by HTTP/2. Give the port of gRPC: --grpc-target HOST:PORT, with https:// if it has TLS.',
        cause,
      });
    }
    if (hasNoTls(cause)) {
      throw new AppError('TARGET_UNREACHABLE', `The target ${target.url} does not speak TLS`, {
        hint: `Give it as ${target.url.replace(/^https:/, 'http:')}, or name its port for TLS.`,
        cause,
      });
    }
    if (isClientRefusal(cause, certificates)) throw clientRefused(target, certificates, cause);
    const refused = socket instanceof TLSSocket ? certificateRefusal(socket) : null;
    const what = refused === null ? 'cannot be reached' : 'shows a certificate that is not trusted';
    throw new AppError('TARGET_UNREACHABLE', `The target ${target.url} ${what}: ${reasonOf(cause)}`, {
      hint: refused ?? 'Check that it is running and reachable from this machine.',
      cause,
    });
  } finally {
    socket.destroy();
  }
}

const TICKET_WAIT_MS = 500;

/** The target ended the connection just after the handshake. */
class EndedAfterHandshake extends Error {}

/**
 * With TLS 1.3, a server judges our certificate only after the handshake is over for us. One that accepts it nearly
 * always sends a session ticket.
 * @throws its alert; EndedAfterHandshake
 */
async function assertAccepted(socket: TLSSocket): Promise<void> {
  if (socket.getProtocol() !== 'TLSv1.3') return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ended = () => reject(new EndedAfterHandshake('it ended the connection just after the TLS handshake'));
  socket.once('session', () => resolve());
  socket.once('error', reject).once('end', ended).once('close', ended);
  const timer = setTimeout(resolve, TICKET_WAIT_MS);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** Alerts of servers about the certificate of a client. Before TLS 1.3, some say no more than that they refuse it. */
const CLIENT_ALERT = /^ERR_SSL_.*_ALERT_(?:.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)$/;

function isClientRefusal(cause: unknown, { clientCertificate }: CertificateRules): boolean {
  if (cause instanceof EndedAfterHandshake) return true;
  const code = String((cause as { readonly code?: unknown }).code);
  // Servers of Node end a handshake of TLS 1.2 without an alert.
  return CLIENT_ALERT.test(code) || (clientCertificate != null && code === 'ECONNRESET');
}

function clientRefused({ url }: Target, { clientCertificate }: CertificateRules, cause: unknown): AppError {
  const isShown = clientCertificate != null;
  const why = isShown ? 'refuses the client certificate' : 'seems to require a client certificate';
  const way = isShown
    ? 'Give one that an authority of the target signed, and that has not expired'
    : 'Give a certificate and its key';
  return new AppError('TARGET_UNREACHABLE', `The target ${url} ${why}: ${reasonOf(cause)}`, {
    hint: `${way}: --target-tls cert=FILE,key=FILE (PEM).`,
    cause,
  });
}

/** What answered is no HTTP/2. */
class OtherProtocol extends Error {}

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** A SETTINGS frame without settings, by its length, type, flags and stream. */
const NO_SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** What every SETTINGS frame has from its type on. */
const SETTINGS_BEGIN = Buffer.from([4, 0, 0, 0, 0, 0]);
const LENGTH_BYTES = 3;

/** Every server of HTTP/2 begins with a SETTINGS frame. @throws OtherProtocol if this one does not */
async function assertHttp2(socket: Socket, timeoutMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const refuse = (why: string) => reject(new OtherProtocol(why));
  if (socket instanceof TLSSocket && socket.alpnProtocol !== 'h2') refuse('TLS chose another protocol');
  let begin: Buffer = Buffer.alloc(0);
  socket.on('data', (bytes: Buffer) => {
    begin = Buffer.concat([begin, bytes]).subarray(0, NO_SETTINGS.length);
    if (begin.length < NO_SETTINGS.length) return;
    if (begin.subarray(LENGTH_BYTES).equals(SETTINGS_BEGIN)) resolve();
    else refuse('the answer to its preface is no HTTP/2');
  });
  socket.once('close', () => refuse('it closed the connection'));
  socket.once('error', () => refuse('it broke the connection'));
  socket.setTimeout(timeoutMs, () => refuse(`no settings within ${timeoutMs} ms`));
  socket.write(Buffer.concat([Buffer.from(PREFACE), NO_SETTINGS]));
  await promise;
}

/** Whether a server of TLS has no protocol in common with us. */
function isAlpnRefusal(cause: unknown): boolean {
  return (cause as { readonly code?: unknown }).code === 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL';
}

/** Whether what answered a TLS greeting was no TLS. */
function hasNoTls(cause: unknown): boolean {
  const { code } = cause as { readonly code?: unknown };
  return code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG';
}

/** How the certificate of a TLS target is judged. */
export interface CertificateRules {
  /** Trusted besides the system's, PEM. */
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
  /** What we show to a target that requires a certificate, PEM; absent or null for none. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string } | null;
}

/** What TLS is begun with. To be made once for all connections: reading the system's certificates takes 20 ms. */
export function trustOf({
  caPem,
  acceptAnyCertificate,
  clientCertificate,
}: CertificateRules): Pick<ConnectionOptions, 'rejectUnauthorized' | 'secureContext'> {
  const rejectUnauthorized = !acceptAnyCertificate;
  if (caPem === null && clientCertificate == null) return { rejectUnauthorized };
  // A list of one's own takes the place of the system's, so that it has to hold those as well.
  const ca = [...getCACertificates('default'), ...(caPem === null ? [] : [caPem])];
  return { rejectUnauthorized, secureContext: createSecureContext({ ca, ...clientCertificate }) };
}

/** Certificate errors that no trusted CA can fix, each with a hint. */
const WRONG_FOR_ALL: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: 'Give the target by a name that stands in its certificate',
  CERT_HAS_EXPIRED: 'Give the target a certificate that has not expired',
  CERT_NOT_YET_VALID: "Set this machine's clock, or wait until it is valid",
};

/** The way out where a connection ended because its certificate was not accepted; null where it did not. */
function certificateRefusal({ authorizationError }: TLSSocket): string | null {
  // Node declares an Error here, and puts its code.
  const code: unknown = authorizationError;
  if (code === null || code === undefined) return null;
  const way =
    WRONG_FOR_ALL[String(code)] ??
    'Trust its certificate, or the one that signed it: --target-tls ca=FILE (PEM)';
  return `${way}; or accept any certificate: --target-tls insecure.`;
}

/** Fewer ends than this in the window are no ground for a decision. */
const MIN_ENDS = 10;

/** Stops a run whose target is plainly gone: over half of what ended in the last 30 s failed. */
export class AbortRule {
  /** By second of the run, the oldest first. */
  readonly #seconds = new Map<number, { ended: number; failed: number }>();

  /** Takes what ended at an instant of the run. Offsets must not go backwards by a second or more. */
  add(offsetNs: number, ended: number, failed: number): void {
    const second = Math.floor(offsetNs / NS_PER_S);
    const counts = this.#seconds.get(second) ?? { ended: 0, failed: 0 };
    this.#seconds.set(second, { ended: counts.ended + ended, failed: counts.failed + failed });
  }

  /** The failed share over the window, once a whole window has passed and it is over the limit; else null. */
  tripped(offsetNs: number): number | null {
    const now = Math.floor(offsetNs / NS_PER_S);
    for (const second of this.#seconds.keys())
      if (second <= now - LIMITS.abortWindowS) this.#seconds.delete(second);
    if (now < LIMITS.abortWindowS) return null;
    let [ended, failed] = [0, 0];
    for (const counts of this.#seconds.values()) {
      ended += counts.ended;
      failed += counts.failed;
    }
    return ended >= MIN_ENDS && failed / ended > LIMITS.abortFailedShare ? failed / ended : null;
  }
}

/** If this many requests, over this much of the plan, were all refused, none will be served. */
const WRONG_AFTER = { ends: 20, ns: 5 * NS_PER_S };

/** Finds a target that refuses all that was recorded: another server, another path, no credentials. */
export class WrongServerRule {
  /** How often each status ended a request; null once one ended otherwise. */
  #seen: Map<number | null, number> | null = new Map();
  #ends = 0;
  #fromNs = Number.POSITIVE_INFINITY;
  #toNs = 0;

  /** Takes requests that we did not end. Warm-up and requests with an unknown recorded answer prove nothing. */
  add(sends: readonly Send[]): void {
    for (const send of sends) {
      const { status, intendedOffsetNs, warmup, recorded } = send;
      if (warmup || !recorded) continue;
      if (!isOfWrongServer(send)) this.#seen = null;
      this.#seen?.set(status, (this.#seen.get(status) ?? 0) + 1);
      this.#ends += 1;
      this.#fromNs = Math.min(this.#fromNs, intendedOffsetNs);
      this.#toNs = Math.max(this.#toNs, intendedOffsetNs);
    }
  }

  /** The statuses that came instead of answers, with counts, once there are enough; else null. */
  get instead(): string | null {
    const isEnough = this.#ends >= WRONG_AFTER.ends && this.#toNs - this.#fromNs >= WRONG_AFTER.ns;
    if (this.#seen === null || !isEnough) return null;
    return [...this.#seen].map(([status, count]) => `${count} times status ${status}`).join(', ');
  }
}

/**
 * The ceiling on planned sends in any second of the run. What is over it is refused and counted, never
 * moved: a moved send would be another arrival pattern.
 */
export class RateCeiling {
  readonly maxPerSecond: number;
  #second = -1;
  #planned = 0;

  constructor(maxPerSecond: number) {
    this.maxPerSecond = maxPerSecond;
  }

  /** @param maxPerSecond as stated; null for `LIMITS.rateOverPeak` times the planned peak */
  static over(plannedPeakPerSecond: number, maxPerSecond: number | null): RateCeiling {
    return new RateCeiling(maxPerSecond ?? plannedPeakPerSecond * LIMITS.rateOverPeak);
  }

  /** Whether a send planned at this instant is within the ceiling. Instants come in order. */
  admits(intendedOffsetNs: number): boolean {
    const second = Math.floor(intendedOffsetNs / NS_PER_S);
    if (second !== this.#second) {
      this.#second = second;
      this.#planned = 0;
    }
    if (this.#planned >= this.maxPerSecond) return false;
    this.#planned += 1;
    return true;
  }
}
