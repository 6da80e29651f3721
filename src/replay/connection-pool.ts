import type { Clock } from '../core/clock.ts';
import { NumberMap } from '../core/number-map.ts';
import { Roster } from '../core/roster.ts';
import type { AddressBook } from './address-book.ts';
import { ConnectionCounts } from './connection-counts.ts';
import { Durations, type PackedDurations } from './durations.ts';
import type { ConnectionUse } from './engine-health.ts';
import { Connection, type ConnectionHost } from './http1/connection.ts';
import { Dialer, type DialOptions } from './http1/dialer.ts';
import { RequestWriter } from './http1/request-writer.ts';
import { SilenceWatch } from './http1/silence-watch.ts';
import { LAUNCH_HORIZON_NS } from './launch-pad.ts';
import { LoopTime } from './loop-time.ts';

/** Model servers close idle connections after 2 to 5 s; giving them up earlier avoids racing that close. */
const IDLE_MS = 1_500;
/** A recorded connection stays open between its requests, unless the server ends it or it is over for good. */
const LANE_IDLE_MS = 60_000;
/** How often it is looked for connections that were silent for too long. */
const WATCH_MS = 25;

export interface PoolOptions extends DialOptions {
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly maxConnectionAgeMs: number | null;
}

/**
 * As many connections as open loop needs. The one that fell idle last is used first, so that what the load no
 * longer needs grows old and is closed.
 */
export class ConnectionPool implements ConnectionHost {
  readonly dialer: Dialer;
  readonly writer = new RequestWriter();
  readonly #options: PoolOptions;
  readonly #book: AddressBook;
  readonly #clock: Clock;
  readonly #loopTime: LoopTime;
  readonly #connectTimes = new Durations();
  readonly #counts = new ConnectionCounts();
  #idle: Connection[] = [];
  /** Some of the idle ones are over. */
  #idleEnded = false;
  /** Of recorded connections, by their lane; each carries one request at a time. */
  readonly #lanes = new NumberMap<Connection>();
  readonly #live = new Roster<Connection>();
  /** Silent targets have the time in which this loop could hear them; idle connections grow old in any. */
  readonly #unanswered: SilenceWatch<Connection>;
  readonly #answering: SilenceWatch<Connection>;
  readonly #idling = new SilenceWatch<Connection>(IDLE_MS * 1e6);
  readonly #idlingLanes = new SilenceWatch<Connection>(LANE_IDLE_MS * 1e6);
  readonly #watching: NodeJS.Timeout;
  /** The last watch by the loop's time. */
  #lastWatchNs: number;

  constructor(options: PoolOptions, book: AddressBook, clock: Clock) {
    this.#options = options;
    this.#book = book;
    this.#clock = clock;
    this.#loopTime = new LoopTime(clock);
    this.dialer = new Dialer(options, this.#loopTime);
    this.#unanswered = new SilenceWatch(options.firstByteTimeoutMs * 1e6);
    this.#answering = new SilenceWatch(options.idleTimeoutMs * 1e6);
    this.#lastWatchNs = this.#loopTime.nowNs();
    this.#watching = setInterval(() => this.#watch(), WATCH_MS).unref();
  }

  /**
   * Opens at least `count` connections and at least one to each address; resolves when all have succeeded or
   * failed. Addresses that do not answer are left out from then on.
   */
  async warm(count: number): Promise<void> {
    await this.#book.refresh();
    const attempts = Math.max(count, this.#book.addresses.length);
    await Promise.all(
      Array.from({ length: attempts }, async () => {
        await new Promise<void>((resolve) => this.#create(null, resolve));
      }),
    );
  }

  /**
   * A connection that is idle now, or a new one that is connecting. With a lane that lane's own, which nothing else
   * may be on.
   */
  acquire(lane: number | null = null): Connection {
    if (lane !== null) return this.#acquireLane(lane);
    return this.#takeIdle() ?? this.#create(null);
  }

  /** An idle connection, for a request that is laid out and may leave that much later; null where none is. */
  takeLaunchable(): Connection | null {
    // It stays under its watch: that a request is laid out for it makes it no younger.
    const nowNs = this.#clock.nowNs();
    const connection = this.#popIdle(nowNs);
    if (connection === null || this.#usable(connection, nowNs + LAUNCH_HORIZON_NS)) return connection;
    this.#idle.push(connection);
    return null;
  }

  /** Nothing is laid out for it any more: it is as idle as it was. */
  unclaimed(connection: Connection): void {
    if (this.#usable(connection, this.#clock.nowNs())) this.#idle.push(connection);
    else connection.retire();
  }

  #acquireLane(lane: number): Connection {
    const own = this.#lanes.get(lane);
    if (own !== undefined && this.#usable(own, this.#clock.nowNs())) {
      this.#idlingLanes.forget(own);
      return own;
    }
    own?.retire();
    const connection = this.#takeIdle() ?? this.#create(lane);
    connection.lane = lane;
    this.#lanes.set(lane, connection);
    return connection;
  }

  close(): void {
    clearInterval(this.#watching);
    this.#live.each((connection) => connection.retire());
  }

  use(): ConnectionUse {
    const { opened, failed, openMax, used, requests, requestsMax } = this.#counts;
    return {
      opened,
      failed,
      openMax,
      used,
      connect: this.#connectTimes.summary(),
      requestsPerConnection: { mean: used === 0 ? 0 : requests / used, max: requestsMax },
      byAddress: [...this.#counts.byAddress].map(([address, use]) => ({ address, ...use })),
    };
  }

  /** Set-up times of the connections that were opened. */
  connectTimes(): PackedDurations {
    return this.#connectTimes.packed();
  }

  nowNs(): number {
    return this.#clock.nowNs();
  }

  opened(connection: Connection): void {
    const { dialing } = connection;
    connection.dialing = null;
    this.#connectTimes.record(this.#clock.nowNs() - (dialing?.sinceNs ?? 0));
    this.#book.noteSuccess(connection.address);
    this.#counts.noteOpened(connection.address);
    if (connection.idle) this.#rest(connection, this.#clock.nowNs());
    dialing?.settled();
  }

  failed(connection: Connection): void {
    this.#counts.failed++;
    this.#book.noteFailure(connection.address);
    connection.dialing?.settled();
    connection.dialing = null;
  }

  carries(connection: Connection): void {
    this.#counts.noteRequest(connection.address, connection.served + 1);
  }

  waits(connection: Connection): void {
    this.#unanswered.touch(connection, this.#loopTime.nowNs());
  }

  heard(connection: Connection): void {
    this.#unanswered.forget(connection);
    this.#answering.touch(connection, this.#loopTime.nowNs());
  }

  released(connection: Connection): void {
    this.#unanswered.forget(connection);
    this.#answering.forget(connection);
    const nowNs = this.#clock.nowNs();
    if (this.#usable(connection, nowNs)) this.#rest(connection, nowNs);
    else connection.retire();
  }

  gone(connection: Connection): void {
    this.#live.remove(connection);
    if (connection.openedNs > 0) this.#counts.noteClosed();
    else connection.dialing?.settled();
    connection.dialing = null;
    for (const watch of [this.#unanswered, this.#answering, this.#idling, this.#idlingLanes]) {
      watch.forget(connection);
    }
    this.#idleEnded = true;
    const { lane } = connection;
    if (lane !== null && this.#lanes.get(lane) === connection) this.#lanes.delete(lane);
  }

  /** Waits for a request: a lane's for one of its lane, any other on top of those that wait. */
  #rest(connection: Connection, nowNs: number): void {
    if (connection.lane !== null) this.#idlingLanes.touch(connection, nowNs);
    else {
      this.#idle.push(connection);
      this.#idling.touch(connection, nowNs);
    }
  }

  #takeIdle(): Connection | null {
    const connection = this.#popIdle(this.#clock.nowNs());
    if (connection !== null) this.#idling.forget(connection);
    return connection;
  }

  #popIdle(nowNs: number): Connection | null {
    for (let last = this.#idle.pop(); last; last = this.#idle.pop()) {
      // Where nothing turned, nothing has watched either, and the server may have closed it meanwhile.
      if (!this.#idling.isOverdue(last, nowNs) && this.#usable(last, nowNs)) return last;
      last.retire();
    }
    return null;
  }

  #usable(connection: Connection, atNs: number): boolean {
    const { maxConnectionAgeMs } = this.#options;
    if (!connection.usable(atNs)) return false;
    return maxConnectionAgeMs === null || atNs - connection.openedNs < maxConnectionAgeMs * 1e6;
  }

  #create(lane: number | null, settled: () => void = () => undefined): Connection {
    const sinceNs = this.#clock.nowNs();
    const connection = new Connection(this.#book.next(), lane, this);
    this.#live.add(connection);
    connection.dialing = { sinceNs, settled };
    return connection;
  }

  /**
   * Answers that came while nothing ran are read after this: what had been silent for too long at the watch before
   * has had a turn of the loop since, and only that is the target's doing.
   */
  #watch(): void {
    const atNs = this.#lastWatchNs;
    this.#lastWatchNs = this.#loopTime.nowNs();
    const nowNs = this.#clock.nowNs();
    for (const connection of this.#unanswered.takeOverdue(atNs)) connection.retire('first_byte_timeout');
    for (const connection of this.#answering.takeOverdue(atNs)) connection.retire('idle_timeout');
    for (const connection of this.#idling.takeOverdue(nowNs)) connection.retireIdle();
    for (const connection of this.#idlingLanes.takeOverdue(nowNs)) connection.retire();
    if (this.#idleEnded) this.#idle = this.#idle.filter(({ open }) => open);
    this.#idleEnded = false;
  }
}
