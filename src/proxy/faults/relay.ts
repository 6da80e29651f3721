import { type Clock, systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { Notice } from '../../core/ports.ts';
import type { InjectedCounts, Toxic } from '../../documents/faults.ts';
import { AssemblyBudget } from '../../http1/budget.ts';
import type { ListenerTls, UpstreamTls } from '../data-plane.ts';
import { type Endpoint, speaksTls } from '../net/endpoint.ts';
import { PausedPeers } from '../net/peer-socket.ts';
import { listenerFiles, type TlsFiles, upstreamFiles } from '../net/tls-files.ts';
import { FaultProxy, type RelayParts } from './fault-proxy.ts';
import type { ActiveToxic } from './toxics.ts';

/** One address of a relay and the dependency behind it. */
export interface NamedPair {
  readonly name: string;
  readonly listen: Endpoint;
  readonly upstream: Endpoint;
}

export interface RelayOptions {
  readonly proxies: readonly NamedPair[];
  readonly seed: number;
  readonly maxConnections: number;
  readonly maxFaults: number;
  readonly tls: ListenerTls | null;
  readonly upstreamTls: UpstreamTls | null;
}

/** A refusal of the control API, in Toxiproxy's own words if it has some. */
export class ControlError extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/**
 * A relay between a server and its dependencies: named proxies, the faults on each, and the leases of the clients that
 * set them. Faults that were set under a lease end with it.
 */
export class FaultRelay {
  readonly #options: RelayOptions;
  readonly #parts: RelayParts;
  readonly #proxies = new Map<string, FaultProxy>();
  readonly #leases = new Map<string, NodeJS.Timeout>();
  readonly #retries = new Map<FaultProxy, NodeJS.Timeout>();
  readonly #counts = new Map<string, InjectedCounts>();
  readonly #files: TlsFiles[] = [];
  readonly #notify: (notice: Notice) => void;
  #capped = 0;

  /** @throws AppError OPTION_INVALID for an unusable certificate */
  constructor(options: RelayOptions, notify: (notice: Notice) => void, clock: Clock = systemClock) {
    this.#options = options;
    this.#notify = notify;
    const { tls, upstreamTls } = options;
    const certificate = tls && this.#watch(listenerFiles(tls));
    this.#parts = {
      clock,
      seed: options.seed,
      paused: new PausedPeers(),
      budget: new AssemblyBudget(LIMITS.faultHeadsBytes),
      certificate,
      trusted: this.#watch(upstreamFiles(upstreamTls)),
      serverName: upstreamTls?.serverName ?? null,
      verify: upstreamTls?.verify ?? true,
      mayEnter: () => this.openConnections < options.maxConnections,
      countsOf: (proxy, toxic) => this.#countsOf(proxy, toxic),
      notify,
    };
  }

  get proxies(): readonly FaultProxy[] {
    return [...this.#proxies.values()];
  }

  get openConnections(): number {
    return this.proxies.reduce((sum, { openConnections }) => sum + openConnections, 0);
  }

  get activeFaults(): number {
    return this.proxies.reduce((sum, { toxics }) => sum + toxics.length, 0);
  }

  /** Faults that were refused because the limit of active faults was reached. */
  get cappedFaults(): number {
    return this.#capped;
  }

  get counts(): readonly InjectedCounts[] {
    return [...this.#counts.values()];
  }

  /** @throws AppError LISTEN_FAILED; nothing is listened on then */
  async start(): Promise<void> {
    try {
      for (const pair of this.#options.proxies) await this.create(pair, true);
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop(): void {
    for (const timer of [...this.#leases.values(), ...this.#retries.values()]) clearTimeout(timer);
    for (const proxy of this.#proxies.values()) proxy.stop();
    for (const files of this.#files) files.close();
  }

  /** @throws ControlError; AppError LISTEN_FAILED */
  async create(pair: NamedPair, enabled: boolean): Promise<FaultProxy> {
    if (this.#proxies.has(pair.name)) throw new ControlError('proxy already exists', 409);
    if (this.#proxies.size >= LIMITS.faultProxies) throw new ControlError('too many proxies', 429);
    this.#mustHaveCertificate(pair.listen);
    const proxy = new FaultProxy(pair.name, pair.listen, pair.upstream, this.#parts);
    if (enabled) await proxy.enable();
    this.#proxies.set(pair.name, proxy);
    return proxy;
  }

  /** @throws ControlError */
  proxy(name: string): FaultProxy {
    const found = this.#proxies.get(name);
    if (found === undefined) throw new ControlError('proxy not found', 404);
    return found;
  }

  delete(name: string): void {
    this.proxy(name).stop();
    this.#proxies.delete(name);
  }

  /** Moves a proxy, or switches it on or off. @param lease the off state ends with it; null for no lease */
  async update(
    proxy: FaultProxy,
    change: {
      readonly listen: Endpoint;
      readonly upstream: Endpoint;
      readonly enabled: boolean;
      readonly moved: boolean;
    },
    lease: string | null,
  ): Promise<void> {
    const wasOn = proxy.enabled;
    if (change.moved) {
      this.#mustHaveCertificate(change.listen);
      proxy.stop();
      proxy.listen = change.listen;
      proxy.upstream = change.upstream;
    }
    if (change.enabled) await proxy.enable();
    else {
      proxy.disable();
      // If it was switched off before, its lease does not change.
      if (wasOn) proxy.downBy = lease;
    }
  }

  /** @throws ControlError */
  add(proxy: FaultProxy, toxic: Toxic, lease: string | null): void {
    if (proxy.find(toxic.name) !== null) throw new ControlError('toxic already exists', 409);
    if (this.activeFaults >= this.#options.maxFaults) {
      this.#capped += 1;
      throw new ControlError(`too many active toxics: --max-faults is ${this.#options.maxFaults}`, 429);
    }
    proxy.add(toxic, lease);
  }

  /** @throws ControlError */
  toxic(proxy: FaultProxy, name: string): ActiveToxic {
    const found = proxy.find(name);
    if (found === null) throw new ControlError('toxic not found', 404);
    return found;
  }

  /** Removes every fault and switches every proxy on. @throws AppError LISTEN_FAILED if one cannot listen */
  async reset(): Promise<void> {
    await this.#restore(
      () => true,
      () => true,
    );
  }

  /** Begins or extends a lease. If it is not renewed in this time, everything that was set under it ends. */
  renew(lease: string, seconds: number): void {
    const known = this.#leases.get(lease);
    if (known === undefined && this.#leases.size >= LIMITS.faults)
      throw new ControlError('too many leases', 429);
    clearTimeout(known);
    const expire = () => {
      this.#notify({
        level: 'warn',
        message: 'a controller is gone; its faults are taken away',
        fields: { lease },
      });
      void this.endLease(lease).catch((error: Error) =>
        this.#notify({
          level: 'error',
          message: 'a proxy stays down',
          fields: { lease, reason: error.message },
        }),
      );
    };
    this.#leases.set(lease, setTimeout(expire, seconds * 1e3).unref());
  }

  /** @throws ControlError if there is no such lease */
  mustLease(lease: string | null): void {
    if (lease !== null && !this.#leases.has(lease)) throw new ControlError('lease not found', 404);
  }

  /** Ends everything that was set under a lease. @throws AppError LISTEN_FAILED for a proxy that cannot listen again */
  async endLease(lease: string): Promise<void> {
    clearTimeout(this.#leases.get(lease));
    this.#leases.delete(lease);
    await this.#restore(
      (active) => active.lease === lease,
      (proxy) => proxy.downBy === lease,
    );
  }

  /** If one proxy cannot listen again, the others still do, and no fault stays active. */
  async #restore(
    isOver: (active: ActiveToxic) => boolean,
    isBack: (proxy: FaultProxy) => boolean,
  ): Promise<void> {
    for (const proxy of this.#proxies.values())
      for (const active of proxy.toxics) if (isOver(active)) proxy.remove(active);
    const failures: unknown[] = [];
    for (const proxy of [...this.#proxies.values()].filter(isBack))
      await proxy.enable().catch((error: unknown) => {
        failures.push(error);
        if (proxy.downBy !== null) this.#enableLater(proxy, proxy.downBy);
      });
    if (failures.length > 0) throw failures[0];
  }

  /** The client that switched it off is gone. So we try until it listens, or until another client changes its state. */
  #enableLater(proxy: FaultProxy, downBy: string): void {
    clearTimeout(this.#retries.get(proxy));
    const retry = () => {
      this.#retries.delete(proxy);
      if (this.#proxies.get(proxy.name) !== proxy || proxy.downBy !== downBy) return;
      proxy.enable().catch(() => this.#enableLater(proxy, downBy));
    };
    this.#retries.set(proxy, setTimeout(retry, LIMITS.faultRetryMs).unref());
  }

  #watch(files: TlsFiles): TlsFiles {
    files.watch(this.#notify);
    this.#files.push(files);
    return files;
  }

  #mustHaveCertificate(listen: Endpoint): void {
    if (!speaksTls(listen) || this.#parts.certificate !== null) return;
    throw new AppError('OPTION_INVALID', 'a listener with https:// needs a certificate', {
      hint: 'Start the relay with --listen-tls cert=FILE,key=FILE.',
    });
  }

  #countsOf(proxy: string, toxic: Toxic | 'down'): InjectedCounts {
    const [name, type] = toxic === 'down' ? ['down', 'down'] : [toxic.name, toxic.type];
    const isNew = !this.#counts.has(JSON.stringify([proxy, name, type]));
    // Beyond the limit, all further names share one count.
    const shown = isNew && this.#counts.size >= LIMITS.faultCounts ? ['(others)', '(others)'] : [proxy, name];
    const key = JSON.stringify([...shown, type]);
    const counts = this.#counts.get(key) ?? {
      proxy: shown[0] as string,
      toxic: shown[1] as string,
      type,
      connections: 0,
      injected: 0,
    };
    this.#counts.set(key, counts);
    return counts;
  }
}
