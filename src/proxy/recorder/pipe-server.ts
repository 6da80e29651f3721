import { openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { LOSS_REASONS, type LossReason, NO_PROGRESS, type Progress } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CommittingSink } from '../../core/ports.ts';
import type { Fate } from '../tap/counters.ts';
import {
  CLOSE_CAUSES,
  type ConnectionOrigin,
  decodeOrigin,
  encodeSettlements,
  FLAG_RESYNC,
  FLAG_TURN_START,
  FRAME,
  type Frame,
  FrameReader,
  type PipeSettlement,
  readDoubles,
} from '../tap/frames.ts';
import type { AssemblyContext } from './exchange-builder.ts';
import { HttpAssembler, type Settlement } from './http-assembler.ts';

const MARK_FILE = 'recorder.mark';
const MARK_BYTES = 4;
const NONE = Buffer.alloc(MARK_BYTES);

/**
 * Says on disk which connection a recorder is at work on, so that whoever finds it dead knows what it died of. It
 * costs two writes a frame, into the page cache; a recorder keeps it only when the one before died.
 */
export class WorkMark {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(MARK_BYTES);
  #retired = false;

  private constructor(fd: number) {
    this.#fd = fd;
    this.clear();
  }

  /** In a capture. Null where it cannot be had: a recorder does its work without leaving word of it. */
  static open(directory: string): WorkMark | null {
    try {
      return new WorkMark(openSync(join(directory, MARK_FILE), 'w', 0o600));
    } catch {
      // A failing disk must not keep a recorder from its work over a precaution.
      return null;
    }
  }

  set(connection: number): void {
    this.#bytes.writeUInt32LE(connection, 0);
    this.#write(this.#bytes);
  }

  clear(): void {
    this.#write(NONE);
  }

  /** Nothing has happened for long enough: the mark is empty from now on, and costs nothing. */
  retire(): void {
    this.clear();
    this.#retired = true;
  }

  #write(bytes: Buffer): void {
    if (this.#retired) return;
    try {
      writeSync(this.#fd, bytes, 0, MARK_BYTES, 0);
    } catch {
      // The capture's own writes meet a failing disk as well, and report it.
      this.#retired = true;
    }
  }
}

/** The connection that a recorder was at work on when it ended; null for none. */
export async function readMark(directory: string): Promise<number | null> {
  try {
    const mark = await readFile(join(directory, MARK_FILE));
    const connection = mark.length < MARK_BYTES ? 0 : mark.readUInt32LE(0);
    return connection === 0 ? null : connection;
  } catch {
    return null;
  }
}

interface RecorderDeps {
  readonly sink: CommittingSink;
  readonly context: AssemblyContext;
  readonly clock: Clock;
  /** File that names the connection being processed; null if nothing will read it. */
  readonly mark?: WorkMark | null;
}

/** Where a connection stood when the recorder first heard of it. */
interface FeedStart {
  readonly origin: ConnectionOrigin;
  /** Of the client connection, within the recorder's life. */
  readonly number: number;
  readonly clientOffset: number;
  readonly serverOffset: number;
  /** It had been going on before, unrecorded. */
  readonly resync: boolean;
}

/** One connection as it comes through the pipe: its assembly, and the way of its settlements to sink and pipe. */
export class FedConnection {
  readonly #connection: number;
  readonly #deps: RecorderDeps;
  readonly #assembly: HttpAssembler;
  readonly #answer: (settlement: PipeSettlement) => void;
  readonly #onRecorded: (bytes: number, turns: number) => void;
  #protocol = 'http/1.1';
  #settledBytes: number;

  constructor(
    connection: number,
    deps: RecorderDeps,
    start: FeedStart,
    answer: (settlement: PipeSettlement) => void,
    onRecorded: (bytes: number, turns: number) => void,
  ) {
    this.#connection = connection;
    this.#deps = deps;
    this.#answer = answer;
    this.#onRecorded = onRecorded;
    this.#settledBytes = start.clientOffset + start.serverOffset;
    const { origin, number, clientOffset, serverOffset } = start;
    this.#assembly = new HttpAssembler(deps.context, {
      connection: number,
      peer: origin.peer,
      sink: (settled) => this.#settle(settled),
      onOpaque: (protocol) => this.#onOpaque(protocol),
      onPipelined: () => this.#tell('pipelined'),
      ...(start.resync ? { resync: { reason: 'writer_down', clientOffset, serverOffset } } : {}),
    });
  }

  take(frame: Frame): void {
    const assembly = this.#assembly;
    if (frame.type === FRAME.clientBytes) {
      const turnStart = (frame.flags & FLAG_TURN_START) !== 0;
      assembly.clientBytes(frame.atNs, frame.payload, turnStart);
    } else if (frame.type === FRAME.serverBytes) assembly.serverBytes(frame.atNs, frame.payload);
    else if (frame.type === FRAME.clientEnd) assembly.clientEnd(frame.atNs);
    else if (frame.type === FRAME.serverEnd) assembly.serverEnd(frame.atNs);
    else if (frame.type === FRAME.gap) {
      const [clientBytes = 0, serverBytes = 0, turns = 0] = readDoubles(frame.payload);
      assembly.gap(LOSS_REASONS[frame.flags] ?? 'corrupt', clientBytes, serverBytes, turns);
    } else if (frame.type === FRAME.close) {
      const [clientBytes = 0, serverBytes = 0] = readDoubles(frame.payload);
      assembly.close(frame.atNs, CLOSE_CAUSES[frame.flags] ?? 'shutdown');
      this.#countProtocol(clientBytes + serverBytes);
    }
  }

  /** Its end will never be known: open connections are lost. */
  abandon(nowNs: number, because: LossReason): void {
    this.#assembly.gap(because, 0, 0);
    this.#assembly.close(nowNs, 'shutdown');
    this.#countProtocol(this.#settledBytes);
  }

  #onOpaque(protocol: string): void {
    this.#protocol = protocol;
    this.#tell('opaque');
  }

  #tell(kind: 'opaque' | 'pipelined'): void {
    const amounts = { clientEndOffset: 0, serverEndOffset: 0, exchanges: 0 };
    this.#answer({ kind, because: null, connection: this.#connection, ...amounts });
  }

  #countProtocol(bytes: number): void {
    this.#deps.sink.addProtocolUse({ protocol: this.#protocol, connections: 1, bytes });
  }

  /** Hands an exchange to the sink; false when that cannot store it. */
  #keep(settled: Settlement): boolean {
    return settled.kind !== 'recorded' || this.#deps.sink.append(settled.exchange);
  }

  #settle(settled: Settlement): void {
    const { clientEndOffset, serverEndOffset } = settled;
    const bytes = clientEndOffset + serverEndOffset - this.#settledBytes;
    this.#settledBytes += bytes;
    const fate = this.#keep(settled) ? fateOf(settled) : NOT_ENCODABLE;
    const exchanges = exchangesOf(settled);
    const connection = this.#connection;
    if (fate.kind === 'recorded') {
      // Spelled out, as nearly all are of this kind.
      const { kind, because } = fate;
      this.#onRecorded(bytes, settled.turns);
      this.#answer({ kind, because, connection, clientEndOffset, serverEndOffset, exchanges });
    } else this.#answer({ ...fate, connection, clientEndOffset, serverEndOffset, exchanges });
  }
}

/** The sink could not take it: it must not be reported as recorded. */
const NOT_ENCODABLE: Fate = { kind: 'lost', because: 'encode_failed' };

const RECORDED: Fate = { kind: 'recorded', because: null };

/** Of what was lost unread, its turns are all that is known: without them coverage would look whole. */
function exchangesOf(settled: Settlement): number {
  if (settled.kind === 'recorded') return 1;
  return settled.kind === 'lost' ? Math.max(settled.exchanges, settled.turns) : settled.exchanges;
}

function fateOf(settled: Settlement): Fate {
  if (settled.kind === 'lost') return { kind: 'lost', because: settled.reason };
  if (settled.kind === 'omitted') return { kind: 'omitted', because: settled.cause };
  return RECORDED;
}

/** The pipe at the recorder's end: frames in, settlements out. */
class PipeFeed {
  readonly #pipe: Duplex;
  readonly #deps: RecorderDeps;
  readonly #connections = new Map<number, FedConnection>();
  #waiting: PipeSettlement[] = [];
  /** Where in it each connection's last one is. */
  readonly #lastWaiting = new Map<number, number>();
  #waitingSinceNs = 0;
  /** Of what waits to be committed. */
  #recorded = { ...NO_PROGRESS };
  /** Number of the last flush that was asked for and is not answered; 0 for none. */
  #flushAsked = 0;
  /** Nothing more is taken: what the pipe still carries is not recorded, and the proxy counts it so. */
  #abandoned = false;

  constructor(pipe: Duplex, deps: RecorderDeps, onProgress: () => void) {
    this.#pipe = pipe;
    this.#deps = deps;
    const reader = new FrameReader((frame) => this.#take(frame));
    pipe.on('data', (chunk: Buffer) => {
      if (this.#abandoned) return;
      reader.push(chunk);
      onProgress();
    });
    // The close that follows says all there is to know: the proxy is gone.
    pipe.on('error', () => undefined);
  }

  /** What is recorded once the next commit succeeds. */
  get recorded(): Progress {
    return this.#recorded;
  }

  /** Whether something here wants a commit even if the sink does not. */
  wantsCommit(): boolean {
    if (this.#flushAsked > 0) return true;
    const waitedNs = this.#deps.clock.nowNs() - this.#waitingSinceNs;
    return this.#waiting.length > 0 && waitedNs >= LIMITS.commitDelayMs * 1e6;
  }

  /** The batch is committed, or lost: either way it is settled. */
  acknowledge(lost: LossReason | null): void {
    const batch = lost === null ? this.#waiting : this.#waiting.map((settlement) => asLost(settlement, lost));
    this.#waiting = [];
    this.#lastWaiting.clear();
    this.#recorded = { ...NO_PROGRESS };
    if (this.#flushAsked > 0) batch.push({ ...FLUSHED, connection: this.#flushAsked });
    this.#flushAsked = 0;
    if (batch.length > 0 && this.#pipe.writable) this.#pipe.write(encodeSettlements(batch));
  }

  /**
   * The proxy is gone, or nobody listens to it any more. One that ends in good order closed its connections
   * before; of those still open nobody will say how they ended. They are abandoned in no order.
   * @returns how many were open
   */
  abandon(because: LossReason): number {
    this.#abandoned = true;
    const nowNs = this.#deps.clock.nowNs();
    for (const connection of this.#connections.values()) connection.abandon(nowNs, because);
    const open = this.#connections.size;
    this.#connections.clear();
    return open;
  }

  #take(frame: Frame): void {
    if (frame.type === FRAME.open) this.#open(frame);
    else if (frame.type === FRAME.flush) this.#flushAsked = frame.connection;
    else {
      const { mark } = this.#deps;
      mark?.set(frame.connection);
      this.#connections.get(frame.connection)?.take(frame);
      mark?.clear();
      if (frame.type === FRAME.close) this.#connections.delete(frame.connection);
    }
  }

  #open(frame: Frame): void {
    const [clientOffset = 0, serverOffset = 0] = readDoubles(frame.payload.subarray(0, 16));
    const origin = decodeOrigin(frame.payload.subarray(16));
    const resync = (frame.flags & FLAG_RESYNC) !== 0;
    const client = origin.clientConnection ?? frame.connection;
    const connection = new FedConnection(
      frame.connection,
      this.#deps,
      { origin, number: client, clientOffset, serverOffset, resync },
      (settlement) => this.#answer(settlement),
      (bytes, turns) => this.#note(bytes, turns),
    );
    this.#connections.set(frame.connection, connection);
  }

  /** What is recorded of one connection in one commit is one settlement: the pipe carries no more than it must. */
  #answer(settlement: PipeSettlement): void {
    this.#startWaiting();
    const index = this.#lastWaiting.get(settlement.connection);
    const last = index === undefined ? undefined : this.#waiting[index];
    if (index !== undefined && last?.kind === 'recorded' && settlement.kind === 'recorded') {
      this.#waiting[index] = { ...settlement, exchanges: last.exchanges + settlement.exchanges };
    } else this.#lastWaiting.set(settlement.connection, this.#waiting.push(settlement) - 1);
  }

  #note(bytes: number, turns: number): void {
    this.#recorded.bytes += bytes;
    this.#recorded.turns += turns;
    this.#recorded.exchanges += 1;
  }

  #startWaiting(): void {
    if (this.#waiting.length === 0) this.#waitingSinceNs = this.#deps.clock.nowNs();
  }
}

const FLUSHED: PipeSettlement = {
  kind: 'flushed',
  because: null,
  connection: 0,
  clientEndOffset: 0,
  serverEndOffset: 0,
  exchanges: 0,
};

function asLost(settlement: PipeSettlement, because: LossReason): PipeSettlement {
  return settlement.kind === 'recorded' ? { ...settlement, kind: 'lost', because } : settlement;
}

/**
 * The other end of the pipe: assembles exchanges, hands them to the sink, and acknowledges after the commit.
 * Settlements wait for the commit in the order they came about, so that those of one connection stay contiguous
 * even where only some of them carry an exchange.
 */
export class PipeServer {
  readonly #deps: RecorderDeps;
  #feed: PipeFeed | null = null;
  #progress: Progress;
  #shedding: LossReason | null = null;

  /** @param progress what recorders before this one have committed of the same recording */
  constructor(deps: RecorderDeps, progress: Progress = NO_PROGRESS) {
    this.#deps = deps;
    this.#progress = progress;
  }

  /** Why the last commit failed; null when it did not. */
  get shedding(): LossReason | null {
    return this.#shedding;
  }

  /** Reads the pipe until it ends, which is the end of the proxy: what is still open then is lost with it. */
  attach(pipe: Duplex): void {
    const feed = new PipeFeed(pipe, this.#deps, () => this.commitIfDue());
    this.#feed = feed;
    pipe.on('close', () => {
      if (this.#feed !== feed) return;
      feed.abandon('crash_gap');
      this.commit();
      this.#feed = null;
    });
  }

  /** To be called every few milliseconds as well: an exchange must not wait for the next one. */
  commitIfDue(): void {
    if (this.#deps.sink.due(this.#deps.clock.nowNs()) || this.#feed?.wantsCommit()) this.commit();
  }

  commit(): void {
    const recorded = this.#feed?.recorded ?? NO_PROGRESS;
    const progress = {
      bytes: this.#progress.bytes + recorded.bytes,
      turns: this.#progress.turns + recorded.turns,
      exchanges: this.#progress.exchanges + recorded.exchanges,
    };
    const { reason } = this.#deps.sink.commit(progress);
    if (reason === null) this.#progress = progress;
    this.#shedding = reason;
    this.#feed?.acknowledge(reason);
  }

  /** Commits what is left and closes the sink. What is still open is lost for that reason. */
  close(because: LossReason = 'crash_gap'): void {
    this.#feed?.abandon(because);
    this.commit();
    this.#feed = null;
    this.#deps.sink.close();
  }
}
