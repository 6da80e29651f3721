import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Clock } from '../../core/clock.ts';
import { MIRROR } from '../../core/limits.ts';
import { type Endpoint, oneSpelling } from '../../proxy/net/endpoint.ts';
import type { MirrorSettings } from './mirror-options.ts';

/** All addresses of a name. Rejects if it has none, or the resolver does not know. */
export type ResolveName = (name: string) => Promise<readonly string[]>;

/** Where mirrored requests may go now, or why they may not. */
type MirrorAddress = { readonly address: string } | { readonly why: 'unresolved' | 'forbidden' };

/**
 * Resolves the mirror's name and holds its addresses against those of production. Names are looked up one after the
 * other, so that a resolver that hangs occupies one thread of the process. An address is used only after all targets
 * were compared with it.
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

  /** Never waits. Asks for the names again in the background when that is due. */
  next(): MirrorAddress {
    if (this.#clock.nowNs() - this.#askedNs >= MIRROR.resolveMs * 1e6) void this.refresh();
    const address = this.#addresses[this.#turn++ % this.#addresses.length];
    return address === undefined ? this.#known : { address };
  }

  /** A name that cannot be resolved leaves what was known: a server does not move because a resolver is down. */
  async refresh(): Promise<void> {
    if (this.#resolving) return;
    this.#resolving = true;
    this.#askedNs = this.#clock.nowNs();
    try {
      const { endpoint, targets, listens } = this.#settings;
      const addresses = await this.#addressesOf(endpoint.host);
      const { port } = endpoint;
      // To connect, an address may need the zone that is not compared.
      const compared = addresses.map(oneSpelling);
      const isProduction = await this.#areTargets(compared, port, targets);
      this.#addresses = isProduction || isOurs(compared, port, listens) ? [] : addresses;
      this.#known = { why: this.#addresses.length === 0 ? 'forbidden' : 'unresolved' };
    } catch {
      // Requests are counted as unresolved, or go to the addresses that were compared before.
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
      // Loopback is this host, by whichever of its addresses.
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
