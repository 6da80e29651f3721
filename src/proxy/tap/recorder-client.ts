import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LossReason, Progress } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import type { Guard } from '../../core/ports.ts';
import type { ConnectionAccount, Counters, Fate } from './counters.ts';
import { type FrameQueue, QueueShare } from './frame-queue.ts';
import {
  type CloseCause,
  type ConnectionOrigin,
  encodeMessage,
  FRAME,
  type FrameHead,
  type FrameType,
  type PipeMessage,
  type PipeSettlement,
  SettlementReader,
  UNKNOWN_ORIGIN,
} from './frames.ts';
import { OpenRequests } from './open-requests.ts';

/**
 * The proxy's end of the pipe. It copies and counts, and never waits: no failure of the recorder affects the sockets.
 * When a recorder dies, everything that it had not acknowledged is in doubt until the next one has read the capture.
 * The next one resumes live connections at their next turn without an open request.
 */
export class RecorderClient {
  readonly queue: FrameQueue;
  readonly #guard: Guard;
  readonly #counters: Counters;
  readonly #clock: Clock;
  readonly #taps = new Map<number, ConnectionTap>();
  /** Whether the counts are final. */
  finished = false;
  #pipe: Duplex | null = null;
  /** Whether the recorder at the other end has opened the capture, so that it may commit. */
  #mayCommit = false;
  /** Number of recorders that are gone. */
  gone = 0;
  #nextConnection = 1;
  /** Number of flush requests so far. Each answer names the number of its request. Only the last one is awaited. */
  #flushes = 0;
  #onFlushed: (() => void) | null = null;
  /** A flush took longer than allowed. */
  #late = false;

  constructor(deps: { clock: Clock; counters: Counters; queue: FrameQueue; guard: Guard }) {
    this.#clock = deps.clock;
    this.#counters = deps.counters;
    this.queue = deps.queue;
    this.#guard = deps.guard;
  }

  get attached(): boolean {
    return this.#pipe !== null;
  }

  /** A new recorder reads the other end. Its predecessor is gone. */
  attach(pipe: Duplex): void {
    this.abandon();
    this.#pipe = pipe;
    this.#mayCommit = false;
    this.queue.attach(pipe);
    const reader = new SettlementReader((settlement) => this.#settle(settlement));
    this.#guard.listen(pipe, 'data', (chunk: Buffer) => reader.push(chunk));
    // The close event follows and is enough: the recorder is gone.
    this.#guard.listen(pipe, 'error', () => undefined);
    this.#guard.listen(pipe, 'close', () => {
      if (this.#pipe === pipe) this.abandon();
    });
  }

  /**
   * A client connection begins, or an exchange that is fed as a separate connection.
   * @param resumes whether it may be recorded again after a loss; false for a single exchange
   * @param share what it uses of the queue, together with others of its client
   */
  open(origin: ConnectionOrigin = UNKNOWN_ORIGIN, resumes = true, share = new QueueShare()): ConnectionTap {
    const connection = this.#nextConnection;
    const account = this.#counters.open();
    const tap = new ConnectionTap({ connection, origin, account, resumes, share }, this, this.#clock);
    this.#taps.set(connection, tap);
    do {
      this.#nextConnection = this.#nextConnection === 0xffff_ffff ? 1 : this.#nextConnection + 1;
    } while (this.#taps.has(this.#nextConnection));
    return tap;
  }

  /**
   * The recorder has opened the capture, and has read what earlier recorders committed. That settles the amount in
   * doubt.
   * @param committed total since the recording began
   */
  captureOpened(committed: Progress): void {
    this.#mayCommit = true;
    this.#counters.resolveDoubt(committed);
  }

  /** Sends nothing more of a connection to any recorder. Does nothing if the connection is gone. */
  quarantine(connection: number): void {
    this.#taps.get(connection)?.quarantine();
  }

  /** Forgets a connection that is closed and settled. */
  retire(tap: ConnectionTap): void {
    this.#taps.delete(tap.connection);
    this.#counters.retire(tap.account);
  }

  /** Waits until everything sent is committed and settled. Ends earlier at the deadline, or if the recorder ends. */
  async flush(deadlineMs: number): Promise<void> {
    if (!this.#pipe) return;
    const timer = new AbortController();
    const flushed = this.#flushed().then(() => true);
    const late = sleep(deadlineMs, false, { signal: timer.signal }).catch(() => false);
    if (!(await Promise.race([flushed, late]))) this.#late = true;
    timer.abort();
  }

  /**
   * The last flush. Everything pending after it is lost (`shutdown_timeout`). A recorder that may still commit must be
   * gone by then. Otherwise its later commits are counted as lost too.
   */
  async finish(deadlineMs: number): Promise<void> {
    await this.flush(deadlineMs);
    for (const tap of this.#taps.values())
      this.#guard.run(() => tap.giveUp({ kind: 'lost', because: 'shutdown_timeout' }));
    this.#counters.resolveDoubt(null, this.#late ? 'shutdown_timeout' : 'writer_down');
    this.finished = true;
  }

  /** Ends the pipe, which tells the recorder to end. */
  end(): void {
    this.#pipe?.end();
  }

  #flushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFlushed = resolve;
      this.#flushes += 1;
      const atNs = this.#clock.nowNs();
      const head = { type: FRAME.message, turnStart: false, allAnswered: false, connection: 0, atNs };
      this.queue.appendControl(head, encodeMessage({ kind: 'flush', number: this.#flushes }));
      this.queue.flush();
    });
  }

  /** The recorder is gone, or the recording of this process has failed. Traffic is counted until the next one comes. */
  abandon(): void {
    if (!this.#pipe) return;
    this.#pipe.destroy();
    this.#pipe = null;
    this.gone += 1;
    this.#guard.run(() => this.queue.attach(null));
    for (const tap of this.#taps.values()) this.#leave(tap);
    this.#onFlushed?.();
  }

  #leave(tap: ConnectionTap): void {
    try {
      tap.recorderGone(this.#mayCommit);
    } catch (error) {
      this.#guard.run(() => {
        tap.fail(true, false);
        tap.giveUp({ kind: 'lost', because: 'tap_failed' });
      });
      this.#guard.fail(error);
    }
  }

  #settle(settlement: PipeSettlement): void {
    if (settlement.kind === 'recorded') this.#counters.addExchanges(settlement.exchanges);
    if (settlement.kind !== 'flushed') this.#taps.get(settlement.connection)?.settled(settlement);
    else if (settlement.connection === this.#flushes) this.#onFlushed?.();
  }
}

const UNPARSED: Fate = { kind: 'omitted', because: 'unparsed' };

type FrameStart = Omit<FrameHead, 'connection' | 'atNs'>;

/** What was shed since the recorder last received something of this connection. */
interface Gap {
  readonly reason: LossReason;
  /** A separate object for each gap, because accounts compare fates by identity. */
  readonly fate: Fate;
  clientBytes: number;
  serverBytes: number;
}

/** The identity of a connection towards the recorder. */
interface TapIdentity {
  readonly connection: number;
  readonly origin: ConnectionOrigin;
  readonly account: ConnectionAccount;
  /** Whether it may be recorded again after a loss: it carries more than one request. */
  readonly resumes: boolean;
  readonly share: QueueShare;
}

/**
 * Copies one client connection to the recorder. The data plane reports bytes and ends as they pass. The tap puts them
 * into the queue, or counts them as lost. It detects turns: client bytes after server bytes where no request is open,
 * and each further request line. After a loss, recording resumes where no request is open. Otherwise the answer to an
 * earlier request could be taken for the answer to this one.
 */
export class ConnectionTap {
  readonly connection: number;
  readonly account: ConnectionAccount;
  readonly #host: RecorderClient;
  readonly #clock: Clock;
  readonly #origin: ConnectionOrigin;
  readonly #share: QueueShare;
  #turnDue = true;
  /** How many recorders were gone when it was announced to the next one; null if it never was. */
  #announcedAt: number | null = null;
  #opaque = false;
  /** Null if it is not recorded again after a loss. */
  readonly #requests: OpenRequests | null;
  #closed = false;
  /** An exception ended its recording: nothing more of it is recorded. */
  #failed = false;
  #gap: Gap | null = null;

  constructor(
    { connection, origin, account, resumes, share }: TapIdentity,
    host: RecorderClient,
    clock: Clock,
  ) {
    this.connection = connection;
    this.#requests = resumes ? new OpenRequests() : null;
    this.#origin = origin;
    this.account = account;
    this.#share = share;
    this.#host = host;
    this.#clock = clock;
    if (!host.attached) this.#gap = newGap('writer_down');
  }

  /**
   * Takes bytes that passed. They may be kept, so they must not be changed afterwards. The same applies to `server`.
   */
  client(bytes: Buffer): void {
    const afterServer = this.#turnDue;
    this.#turnDue = false;
    this.#record(FRAME.clientBytes, bytes, afterServer);
  }

  /** Client bytes of the current turn, even if its answer has already begun. */
  restOfTurn(bytes: Buffer): void {
    this.#record(FRAME.clientBytes, bytes, false);
  }

  server(bytes: Buffer): void {
    this.#turnDue = true;
    this.#record(FRAME.serverBytes, bytes, false);
  }

  clientEnd(): void {
    this.#tellEnd('clientEnd');
  }

  serverEnd(): void {
    this.#tellEnd('serverEnd');
  }

  /** Whether the recorder at the other end knows it. A successor does not, even if this tap missed the change. */
  get #announced(): boolean {
    return this.#announcedAt === this.#host.gone;
  }

  #tellEnd(kind: 'clientEnd' | 'serverEnd'): void {
    if (this.#announced && !this.#gap && !this.#opaque) this.#tell({ kind });
  }

  close(cause: CloseCause): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#announced && !this.#gap && !this.#opaque) this.#announce();
    if (this.#announced) {
      this.#sendGap();
      const { seenClient: clientBytes, seenServer: serverBytes } = this.account;
      this.#tell({ kind: 'close', cause, clientBytes, serverBytes });
    }
    this.#retireIfSettled();
  }

  /** The recorder reports the fate of the bytes up to two offsets. */
  settled(settlement: PipeSettlement): void {
    if (settlement.kind === 'opaque') this.#opaque = true;
    else if (settlement.kind !== 'flushed') {
      const { kind, because, clientEndOffset, serverEndOffset, exchanges } = settlement;
      // What is lost or unparsed need not end with an exchange.
      if (kind !== 'lost' && because !== 'unparsed') this.#requests?.settled(clientEndOffset);
      this.account.settle(settlement, clientEndOffset, serverEndOffset, exchanges);
    }
    this.#retireIfSettled();
  }

  /** The outcome of pending data will never be reported. */
  giveUp(fate: Fate): void {
    this.account.settleAll(fate);
    this.#retireIfSettled();
  }

  /** Everything unacknowledged is in doubt, or lost. Bytes that were shed before are counted with their own reason. */
  recorderGone(mayHaveCommitted: boolean): void {
    this.#announcedAt = null;
    this.account.recorderGone(mayHaveCommitted);
    this.#gap = newGap(this.#failed ? 'tap_failed' : 'writer_down');
    this.#retireIfSettled();
  }

  /** This connection crashed a recorder: further data is not recorded. */
  quarantine(): void {
    if (this.#opaque || this.#closed) return;
    this.#opaque = true;
    if (!this.#announced) this.#gap = null;
  }

  /**
   * An exception came out of this tap: nothing more of the connection is recorded, and the rest is counted as lost.
   * @param turnDue whether its next client bytes begin a turn
   * @param closes whether the connection is over
   * @returns whether it was recorded until now
   */
  fail(turnDue: boolean, closes: boolean): boolean {
    const isFirst = !this.#failed;
    this.#failed = true;
    this.#turnDue = turnDue;
    this.#closed ||= closes;
    this.#gap ??= newGap('tap_failed');
    // Its end was not sent to the recorder, so the rest is never settled.
    if (this.#closed) this.giveUp({ kind: 'lost', because: 'tap_failed' });
    return isFirst;
  }

  /** @param afterServer whether they are the first client bytes of the connection, or after server bytes */
  #record(type: FrameType, bytes: Buffer, afterServer: boolean): void {
    const requests = this.#opaque || this.#failed ? null : this.#requests;
    if (type !== FRAME.clientBytes) requests?.server(bytes);
    if (type !== FRAME.clientBytes || requests === null) {
      this.#copy({ type, turnStart: afterServer, allAnswered: false }, bytes);
      return;
    }
    const allAnswered = afterServer && requests.none;
    let from = 0;
    let start = { type, turnStart: allAnswered, allAnswered };
    // Each pipelined request is a turn, and turns begin with frames.
    for (const at of requests.client(bytes, this.account.seenClient, allAnswered)) {
      if (at > from) this.#copy(start, bytes.subarray(from, at));
      start = { type, turnStart: true, allAnswered: false };
      from = at;
    }
    this.#copy(start, from === 0 ? bytes : bytes.subarray(from));
  }

  #copy(start: FrameStart, bytes: Buffer): void {
    const { type, turnStart, allAnswered } = start;
    const clientBytes = type === FRAME.clientBytes ? bytes.length : 0;
    const serverBytes = bytes.length - clientBytes;
    if (this.#opaque) {
      this.account.seeSettled(clientBytes, serverBytes, turnStart, UNPARSED);
      return;
    }
    if (this.#gap && allAnswered) this.#resume();
    if (!this.#gap && !this.#hand(start, bytes)) this.#gap = newGap('queue_bytes');
    if (this.#gap) this.#shed(this.#gap, clientBytes, serverBytes, turnStart);
    else this.account.see(clientBytes, serverBytes, turnStart);
  }

  #shed(gap: Gap, clientBytes: number, serverBytes: number, turnStart: boolean): void {
    gap.clientBytes += clientBytes;
    gap.serverBytes += serverBytes;
    this.account.seeSettled(clientBytes, serverBytes, turnStart, gap.fate);
  }

  /** Resumes the connection at a turn, if a recorder reads the pipe and there is room. */
  #resume(): void {
    if (!this.#gap || this.#failed) return;
    if (!this.#host.queue.hasRoomFor(this.#share)) return;
    if (this.#announced) this.#sendGap();
    else this.#announce();
    this.#gap = null;
  }

  /** Reports a gap without its turns. They are counted here, and the recorder would count them as lost again. */
  #sendGap(): void {
    if (!this.#gap) return;
    const { reason, clientBytes, serverBytes } = this.#gap;
    this.#tell({ kind: 'gap', reason, clientBytes, serverBytes });
    this.#gap = null;
  }

  #announce(): void {
    const { seenClient: clientBytes, seenServer: serverBytes } = this.account;
    this.#tell({ kind: 'open', origin: this.#origin, clientBytes, serverBytes });
    this.#announcedAt = this.#host.gone;
  }

  /** @returns false if there is no room for it. Nothing is announced to a full queue: that would fill it further. */
  #hand(start: FrameStart, bytes: Buffer): boolean {
    if (!this.#announced) {
      if (!this.#host.queue.takesFirst(bytes, this.#share)) return false;
      this.#announce();
    }
    const head = { ...start, connection: this.connection, atNs: this.#clock.nowNs() };
    return this.#host.queue.append(head, bytes, this.#share);
  }

  #tell(message: PipeMessage): void {
    const { connection } = this;
    const atNs = this.#clock.nowNs();
    const head = { type: FRAME.message, turnStart: false, allAnswered: false, connection, atNs };
    this.#host.queue.appendControl(head, encodeMessage(message), this.#share);
  }

  #retireIfSettled(): void {
    if (!this.#closed) return;
    const { bytes, turns } = this.account.pending();
    if (bytes === 0 && turns === 0) this.#host.retire(this);
  }
}

function newGap(reason: LossReason): Gap {
  const fate: Fate = { kind: 'lost', because: reason };
  return { reason, fate, clientBytes: 0, serverBytes: 0 };
}
