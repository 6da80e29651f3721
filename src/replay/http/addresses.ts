import { isIP } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { type FencedAddresses, fencedNameOf, NO_ADDRESS_FENCED } from '../guard.ts';

/** All addresses of a host name, in the order the resolver gave them. */
type Resolve = (hostname: string) => Promise<readonly string[]>;

/** A name is asked again no more often than this; replicas come and go while a replay runs. */
const REFRESH_NS = 5_000_000_000;

/**
 * The addresses behind the target's name, taken in turn so that every replica gets its share. One that did
 * not accept a connection is passed over until the name is next resolved, as long as another one is left.
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

  /** @param fenced addresses that are never used, whatever the name comes to mean */
  constructor(hostname: string, resolve: Resolve, clock: Clock, fenced = NO_ADDRESS_FENCED) {
    this.#hostname = hostname.replace(/^\[(.*)\]$/, '$1');
    this.#resolve = resolve;
    this.#clock = clock;
    this.#fenced = fenced;
    // Until the first answer, and for ever when the name cannot be resolved, connecting by name gives the error.
    this.#addresses = [this.#hostname];
  }

  /** What has a single address and no name, such as a unix socket. */
  static ofOne(address: string, clock: Clock): AddressBook {
    return new AddressBook(address, async () => [address], clock);
  }

  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** Asks for the addresses; a name that does not resolve keeps the addresses known so far. */
  async refresh(): Promise<void> {
    if (this.#resolving) return;
    this.#resolvedAtNs = this.#clock.nowNs();
    if (isIP(this.#hostname) !== 0) return;
    this.#resolving = true;
    try {
      const addresses = new Set(await this.#resolve(this.#hostname));
      const free = [...addresses].filter((address) => fencedNameOf(address, this.#fenced) === null);
      // Where all of them are production's by now, connecting by name gives the error as well.
      if (addresses.size > 0) this.#addresses = free.length > 0 ? free : [this.#hostname];
    } catch {
      // Not lost: every connection attempt made meanwhile reports what it met.
    } finally {
      this.#failed.clear();
      this.#resolving = false;
    }
  }

  /** The address for the next connection. Asks for the name again in the background when that is due. */
  next(): string {
    if (this.#clock.nowNs() - this.#resolvedAtNs > REFRESH_NS) void this.refresh();
    const count = this.#addresses.length;
    for (let tried = 0; tried < count; tried++) {
      const address = this.#addresses[this.#turn++ % count] ?? this.#hostname;
      if (!this.#failed.has(address)) return address;
    }
    return this.#addresses[this.#turn++ % count] ?? this.#hostname;
  }

  /** `address` did not accept a connection. */
  noteFailure(address: string): void {
    this.#failed.add(address);
  }

  noteSuccess(address: string): void {
    this.#failed.delete(address);
  }
}
