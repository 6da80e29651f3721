import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Clock } from '../../core/clock.ts';
import { MIRROR } from '../../core/limits.ts';
import { type Endpoint, oneSpelling } from '../../proxy/net/endpoint.ts';
import type { MirrorSettings } from './mirror-options.ts';

/** All addresses of a name. Rejects if it has none, or if the resolver fails. */
export type ResolveName = (name: string) => Promise<readonly string[]>;

/** The current address for mirrored requests, or why there is none. */
type MirrorAddress = { readonly address: string } | { readonly why: 'unresolved' | 'forbidden' };

/**
 * Resolves the mirror's name and compares its addresses with those of production. Names are resolved one after the
 * other, so that a blocked resolver occupies only one thread of the process. An address is used only after it was
 * compared with all targets.
 */
export class MirrorResolver {
  readonly #settings: MirrorSettings;
  readonly #resolve: ResolveName;
  readonly #clock: Clock;
  #known: MirrorAddress = { why: 'unresolved' };
  #addresses: readonly string[] = [];
  #turn = 0;
  #resolving = false;
  #askedNs = Number.NEGATIVE_INFINITY;

  constructor(settings: MirrorSettings, resolve: ResolveName, clock: Clock) {
    this.#settings = settings;
    this.#resolve = resolve;
    this.#clock = clock;
  }

  /** Returns at once. If a refresh is due, it resolves the names again in the background. */
  next(): MirrorAddress {
    if (this.#clock.nowNs() - this.#askedNs >= MIRROR.resolveMs * 1e6) void this.refresh();
    const address = this.#addresses[this.#turn++ % this.#addresses.length];
    return address === undefined ? this.#known : { address };
  }

  /** If a name cannot be resolved, the known addresses stay, because a server does not move when a resolver fails. */
  async refresh(): Promise<void> {
    if (this.#resolving) return;
    this.#resolving = true;
    this.#askedNs = this.#clock.nowNs();
    try {
      const { endpoint, targets, listens } = this.#settings;
      const addresses = await this.#addressesOf(endpoint.host);
      const { port } = endpoint;
      // Connecting may need the zone of an address, which is not compared.
      const compared = addresses.map(oneSpelling);
      const isProduction = await this.#areTargets(compared, port, targets);
      this.#addresses = isProduction || isOurs(compared, port, listens) ? [] : addresses;
      this.#known = { why: this.#addresses.length === 0 ? 'forbidden' : 'unresolved' };
    } catch {
      // Requests count as unresolved, or go to addresses that were compared earlier.
    } finally {
      this.#resolving = false;
    }
  }

  async #areTargets(
    addresses: readonly string[],
    port: number,
    targets: readonly Endpoint[],
  ): Promise<boolean> {
    for (const target of targets) {
      if (target.kind === 'unix' || target.port !== port) continue;
      const theirs = (await this.#addressesOf(target.host)).map(oneSpelling);
      if (theirs.some((each) => addresses.includes(each))) return true;
      // All loopback addresses mean this host.
      if (theirs.some(isOfThisHost) && addresses.some(isOfThisHost)) return true;
    }
    return false;
  }

  async #addressesOf(host: string): Promise<readonly string[]> {
    return isIP(host) === 0 ? await this.#resolve(host) : [host];
  }
}

function isOurs(addresses: readonly string[], port: number, listens: readonly Endpoint[]): boolean {
  const isPort = listens.some((listen) => listen.kind === 'tcp' && listen.port === port);
  return isPort && addresses.some(isOfThisHost);
}

function isOfThisHost(address: string): boolean {
  if (/^(?:127\.|0\.0\.0\.0$|::1?$)/.test(address)) return true;
  return Object.values(networkInterfaces()).some((all) => all?.some((each) => each.address === address));
}
