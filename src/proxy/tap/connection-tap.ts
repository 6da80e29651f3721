import type { LossReason } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import type { ConnectionAccount, Fate } from './counters.ts';
import type { FrameQueue } from './frame-queue.ts';
import {
  type CloseCause,
  type ConnectionOrigin,
  encodeMessage,
  FRAME,
  type FrameType,
  type PipeMessage,
  type PipeSettlement,
} from './frames.ts';

const VERSION = Buffer.from(' HTTP/1.');
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const UNPARSED: Fate = { kind: 'omitted', because: 'unparsed' };

/** What was shed since the recorder last heard of this connection. */
interface Gap {
  readonly reason: LossReason;
  /** Of this gap and no other. */
  readonly fate: Fate;
  clientBytes: number;
  serverBytes: number;
}

/** What a tap needs from its opener. */
export interface TapHost {
  readonly queue: FrameQueue;
  /** Whether a recorder listens. */
  readonly attached: boolean;
  /** Recording a connection met an exception. */
  tapFailed(error: unknown): void;
  /** It is closed, and all of it is settled. */
  retire(tap: ConnectionTap): void;
}

/** What a connection is known by on its way to the recorder. */
interface TapIdentity {
  readonly connection: number;
  readonly origin: ConnectionOrigin;
  readonly account: ConnectionAccount;
  /** Whether it may be recorded again after a loss: it carries more than one request. */
  readonly resumes: boolean;
}

/**
 * Copies one client connection to the recorder. The data plane reports bytes and ends as they pass. The tap puts them
 * into the queue, or counts them as lost. All it knows of HTTP is the turn: client bytes after server bytes. After a
 * loss, recording resumes at the next turn. It does not if the client was seen to pipeline: the answer to an earlier
 * request could be taken for the answer to this one.
 */
export class ConnectionTap {
  readonly connection: number;
  readonly account: ConnectionAccount;
  readonly #host: TapHost;
  readonly #clock: Clock;
  readonly #origin: ConnectionOrigin;
  /** The next client bytes begin a turn. */
  #turnDue = true;
  #announced = false;
  #opaque = false;
  /** Whether it is recorded again after a loss. */
  #resumes: boolean;
  #closed = false;
  /** Recording it met an exception: nothing more of it is recorded. */
  #failed = false;
  #gap: Gap | null = null;

  constructor({ connection, origin, account, resumes }: TapIdentity, host: TapHost, clock: Clock) {
    this.connection = connection;
    this.#resumes = resumes;
    this.#origin = origin;
    this.account = account;
    this.#host = host;
    this.#clock = clock;
    if (!host.attached) this.#gap = newGap('writer_down');
  }

  /** Bytes that passed. They may be kept, so nobody may write to them any more; `server` likewise. */
  client(bytes: Buffer): void {
    const turnStart = this.#turnDue;
    this.#turnDue = false;
    this.#pass(FRAME.clientBytes, bytes, turnStart);
  }

  /** Client bytes that belong to the turn which has begun, though its answer may be under way already. */
  restOfTurn(bytes: Buffer): void {
    this.#pass(FRAME.clientBytes, bytes, false);
  }

  server(bytes: Buffer): void {
    this.#turnDue = true;
    this.#pass(FRAME.serverBytes, bytes, false);
  }

  clientEnd(): void {
    this.#tellEnd('clientEnd');
  }

  serverEnd(): void {
    this.#tellEnd('serverEnd');
  }

  #tellEnd(kind: 'clientEnd' | 'serverEnd'): void {
    this.#guard(() => {
      if (this.#announced && !this.#gap && !this.#opaque) this.#tell({ kind });
    });
  }

  close(cause: CloseCause): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#guard(() => this.#sayClose(cause))) return;
    // Its end is never sent to the recorder, so the rest is never settled.
    this.account.settleAll({ kind: 'lost', because: 'tap_failed' });
    this.#retireIfSettled();
  }

  #sayClose(cause: CloseCause): void {
    if (!this.#announced && !this.#gap && !this.#opaque) this.#announce();
    if (this.#announced) {
      this.#sendGap();
      const { seenClient: clientBytes, seenServer: serverBytes } = this.account;
      this.#tell({ kind: 'close', cause, clientBytes, serverBytes });
    }
    this.#retireIfSettled();
  }

  /** The recorder says what became of the bytes up to two offsets. */
  settled(settlement: PipeSettlement): void {
    if (settlement.kind === 'opaque') this.#opaque = true;
    else if (settlement.kind === 'pipelined') this.#resumes = false;
    else if (settlement.kind !== 'flushed') {
      const { clientEndOffset, serverEndOffset, exchanges } = settlement;
      this.account.settle(settlement, clientEndOffset, serverEndOffset, exchanges);
    }
    this.#retireIfSettled();
  }

  /** The outcome of pending data will never be reported. */
  giveUp(fate: Fate): void {
    this.account.settleAll(fate);
    this.#retireIfSettled();
  }

  /** Everything unacknowledged is in doubt, or lost. What was shed before is counted by its own reason. */
  recorderGone(mayHaveCommitted: boolean): void {
    this.#announced = false;
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
   * Recording must not harm traffic: an exception costs this connection the rest of its recording, which is counted
   * as lost, and nothing else.
   * @returns whether the work was done
   */
  #guard(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      if (!this.#failed) this.#host.tapFailed(error);
      this.#failed = true;
      this.#gap ??= newGap('tap_failed');
      return false;
    }
  }

  #pass(type: FrameType, bytes: Buffer, turnStart: boolean): void {
    const { account } = this;
    const seenBefore = account.seenClient + account.seenServer;
    if (this.#guard(() => this.#record(type, bytes, turnStart))) return;
    if (this.#gap === null || account.seenClient + account.seenServer > seenBefore) return;
    const clientBytes = type === FRAME.clientBytes ? bytes.length : 0;
    this.#shed(this.#gap, clientBytes, bytes.length - clientBytes, turnStart);
  }

  #record(type: FrameType, bytes: Buffer, turnStart: boolean): void {
    const clientBytes = type === FRAME.clientBytes ? bytes.length : 0;
    const serverBytes = bytes.length - clientBytes;
    if (this.#opaque) {
      this.account.seeSettled(clientBytes, serverBytes, turnStart, UNPARSED);
      return;
    }
    if (this.#gap && turnStart) this.#resume();
    if (!this.#gap && !this.#hand(type, turnStart, bytes)) this.#gap = newGap('queue_bytes');
    if (this.#gap) {
      if (clientBytes > 0 && requestLinesIn(bytes) > (turnStart ? 1 : 0)) this.#resumes = false;
      this.#shed(this.#gap, clientBytes, serverBytes, turnStart);
    } else this.account.see(clientBytes, serverBytes, turnStart);
  }

  #shed(gap: Gap, clientBytes: number, serverBytes: number, turnStart: boolean): void {
    gap.clientBytes += clientBytes;
    gap.serverBytes += serverBytes;
    this.account.seeSettled(clientBytes, serverBytes, turnStart, gap.fate);
  }

  /** Takes the connection up again at a turn, when the recorder listens and there is room. */
  #resume(): void {
    if (!this.#gap || this.#failed || !this.#resumes || !this.#host.queue.hasRoom) return;
    if (this.#announced) this.#sendGap();
    else this.#announce();
    this.#gap = null;
  }

  /** Its turns are counted here, and not told: the recorder would count them as lost once more. */
  #sendGap(): void {
    if (!this.#gap) return;
    const { reason, clientBytes, serverBytes } = this.#gap;
    this.#tell({ kind: 'gap', reason, clientBytes, serverBytes });
    this.#gap = null;
  }

  #announce(): void {
    const { seenClient: clientBytes, seenServer: serverBytes } = this.account;
    this.#tell({ kind: 'open', origin: this.#origin, clientBytes, serverBytes });
    this.#announced = true;
  }

  /** @returns false where there is no room for it */
  #hand(type: FrameType, turnStart: boolean, bytes: Buffer): boolean {
    if (!this.#announced) this.#announce();
    const head = { type, turnStart, connection: this.connection, atNs: this.#clock.nowNs() };
    return this.#host.queue.append(head, bytes);
  }

  #tell(message: PipeMessage): void {
    const { connection } = this;
    const head = { type: FRAME.message, turnStart: false, connection, atNs: this.#clock.nowNs() };
    this.#host.queue.appendControl(head, encodeMessage(message));
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

/**
 * How many request lines client bytes hold, for bytes that no recorder reads. A body may look like one; then its
 * connection is not resumed.
 */
function requestLinesIn(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(VERSION, 1); at >= 0; at = bytes.indexOf(VERSION, at + 1)) {
    const next = bytes[at + VERSION.length + 1];
    const endsLine = next === CR || next === LF;
    if (endsLine && bytes.lastIndexOf(SPACE, at - 1) > bytes.lastIndexOf(LF, at - 1)) lines += 1;
  }
  return lines;
}
