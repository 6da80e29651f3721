import { lookup } from 'node:dns/promises';
import { isIP, connect as tcpConnect } from 'node:net';
import { type ConnectionOptions, TLSSocket, connect as tlsConnect } from 'node:tls';
import { AppError, reasonOf } from '../core/errors.ts';
import { hostnameOf } from './host-name.ts';
import type { Target } from './target.ts';
import { type CertificateRules, certificateRefusal, trustOf } from './target-certificates.ts';

/** All addresses of a name; an empty list when it has none. */
export type ResolveHost = (hostname: string) => Promise<readonly string[]>;

export interface FenceOptions {
  readonly target: Target;
  readonly productionHosts: readonly string[];
  readonly allowed: readonly string[];
}

/** Names resolved before a run starts; more than a capture of one service ever has. */
const MAX_RESOLVED_NAMES = 32;
/** Distinct recorded names remembered, so that each is looked at once. */
const MAX_SEEN_NAMES = 10_000;

/**
 * Keeps a replay away from production. In a sidecar the recorded upstream is a loopback address, which says
 * nothing about the machine a replay runs on, so the fence is made of names: those requests were recorded
 * under, what they resolve to, and those declared with --production-host. Who declares loopback means the machine he
 * is on, by whichever of its names and addresses. Ports play no part.
 */
export class TargetFence {
  /** The target's host, as hosts are compared. */
  readonly #name: string;
  readonly #declared: ReadonlySet<string>;
  readonly #open: boolean;
  readonly #seen = new Set<string>();

  constructor(options: FenceOptions) {
    this.#name = hostnameOf(options.target.hostname);
    this.#declared = new Set(options.productionHosts.map(hostnameOf));
    this.#open = options.allowed.map(hostnameOf).includes(this.#name);
  }

  /**
   * Looks at the names known before the start.
   * @throws AppError TARGET_FORBIDDEN
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
    const fenced = [...names].filter((name) => name !== '' && !isLoopback(name)).slice(0, MAX_RESOLVED_NAMES);
    const [own, ...theirs] = await Promise.all([this.#name, ...fenced].map(resolve));
    const addresses = (own ?? []).map(hostnameOf);
    if (loopback !== undefined && addresses.some(isLoopback)) throw this.#forbidden(sameMachineAs(loopback));
    const reachable = new Set(addresses.filter((address) => !isLoopback(address)));
    for (const [index, name] of fenced.entries()) {
      const shared = theirs[index]?.map(hostnameOf).find((address) => reachable.has(address));
      if (shared !== undefined) throw this.#forbidden(`is the same address (${shared}) as ${name}`);
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
  }

  #forbidden(why: string): AppError {
    const name = this.#name;
    return new AppError('TARGET_FORBIDDEN', `The target ${name} ${why}: a replay must not hit production`, {
      hint: `Give a staging target, or state that it may be hit: --allow-production-host ${name}`,
    });
  }
}

function sameMachineAs(declared: string): string {
  return `is this machine, as ${declared} is, which is named by --production-host`;
}

/** Loopback names and addresses: they mean this machine, whatever machine that was when recorded. */
export function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.') || host === '0.0.0.0';
  if (isIP(host) === 6) return /^(::1?|::ffff:(127\.|7f).*)$/.test(host);
  return host === 'localhost' || host.endsWith('.localhost');
}

/** Resolves by the system, bounded in time: a name staging's network does not know is no reason to wait. */
export async function resolveHost(hostname: string, timeoutMs = 1_000): Promise<readonly string[]> {
  if (isIP(hostname) !== 0) return [hostname];
  const { promise: timedOut, resolve: giveUp } = Promise.withResolvers<readonly string[]>();
  const timer = setTimeout(giveUp, timeoutMs, []);
  const found = lookup(hostname, { all: true }).then(
    (addresses) => addresses.map(({ address }) => address),
    // A name that does not resolve here cannot be what the target resolves to.
    () => [],
  );
  try {
    return await Promise.race([found, timedOut]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Connects once (and ends TLS where the target speaks it), sending nothing.
 * @throws AppError TARGET_UNREACHABLE
 */
export async function assertReachable(
  target: Target,
  certificates: CertificateRules,
  timeoutMs = 5_000,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { hostname: host, port, socketPath } = target;
  const socket = target.tls
    ? tlsConnect({ host, port, ...tlsOptionsOf(host, certificates) }, resolve)
    : tcpConnect(socketPath === null ? { host, port } : { path: socketPath }, resolve);
  socket.setTimeout(timeoutMs, () => reject(new Error(`no connection within ${timeoutMs} ms`)));
  socket.once('error', reject);
  try {
    await promise;
  } catch (cause) {
    const refused = socket instanceof TLSSocket ? certificateRefusal(socket) : null;
    const what = refused === null ? 'cannot be reached' : 'shows a certificate that is not trusted';
    throw new AppError('TARGET_UNREACHABLE', `The target ${target.url} ${what}: ${reasonOf(cause)}`, {
      hint: refused ?? 'Is it running, and does this machine reach it?',
      cause,
    });
  } finally {
    socket.destroy();
  }
}

function tlsOptionsOf(host: string, certificates: CertificateRules): ConnectionOptions {
  return {
    ...trustOf(certificates),
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
}
