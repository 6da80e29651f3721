import { isIP } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { type FencedAddresses, fencedNameOf, NO_ADDRESS_FENCED } from '../guard.ts';

/** Resolves a host name to all its addresses, in the resolver's order. */
type Resolve = (hostname: string) => Promise<readonly string[]>;

/** The shortest interval of resolving a name again. Replicas come and go during a replay. */
const REFRESH_NS = 5_000_000_000;

/**
 * The addresses of the target's name, used in turn so that every replica gets its share. An address that refused a
 * connection is skipped until the name is resolved again, if another address is left.
 */
export class AddressBook {
  readonly #hostname: string;
  readonly #resolve: Resolve;
  readonly #clock: Clock;
  #addresses: readonly string[];
  readonly #failed = new Set<string>();
  #turn = 0;
  #resolvedAtNs = Number.NEGATIVE_INFINITY;
  #resolving = false;
  readonly #fenced: FencedAddresses;

  /** @param fenced addresses that are never used, even if the name resolves to them */
  constructor(hostname: string, resolve: Resolve, clock: Clock, fenced = NO_ADDRESS_FENCED) {
    this.#hostname = hostname.replace(/^\[(.*)\]$/, '$1');
    this.#resolve = resolve;
    this.#clock = clock;
    this.#fenced = fenced;
    // Before the first resolution, and if it fails permanently, connecting by name gives the error.
    this.#addresses = [this.#hostname];
  }

  /** A target with one address and no name, such as a unix socket. */
  static ofOne(address: string, clock: Clock): AddressBook {
    return new AddressBook(address, async () => [address], clock);
  }

  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** Resolves the name. If it fails, the known addresses stay. */
  async refresh(): Promise<void> {
    if (this.#resolving) return;
    this.#resolvedAtNs = this.#clock.nowNs();
    if (isIP(this.#hostname) !== 0) return;
    this.#resolving = true;
    try {
      const addresses = new Set(await this.#resolve(this.#hostname));
      const free = [...addresses].filter((address) => fencedNameOf(address, this.#fenced) === null);
      // If all addresses belong to production now, connecting by name gives the error as well.
      if (addresses.size > 0) this.#addresses = free.length > 0 ? free : [this.#hostname];
    } catch {
      // The error is not lost, because every connection attempt reports its own.
    } finally {
      this.#failed.clear();
      this.#resolving = false;
    }
  }

  /** The address for the next connection. Resolves the name again in the background if that is due. */
  next(): string {
    if (this.#clock.nowNs() - this.#resolvedAtNs > REFRESH_NS) void this.refresh();
    const count = this.#addresses.length;
    for (let tried = 0; tried < count; tried++) {
      const address = this.#addresses[this.#turn++ % count] ?? this.#hostname;
      if (!this.#failed.has(address)) return address;
    }
    return this.#addresses[this.#turn++ % count] ?? this.#hostname;
  }

  /** Call it when `address` refused a connection. */
  noteFailure(address: string): void {
    this.#failed.add(address);
  }

  noteSuccess(address: string): void {
    this.#failed.delete(address);
  }
}
