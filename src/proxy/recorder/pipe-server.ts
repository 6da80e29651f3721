import { openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type LossReason, NO_PROGRESS, type Progress } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import type { Exchange } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CommittingSink } from '../../core/ports.ts';
import type { Fate } from '../tap/counters.ts';
import {
  type ConnectionStart,
  decodeMessage,
  encodeSettlements,
  FRAME,
  type Frame,
  FrameReader,
  type PipeMessage,
  type PipeSettlement,
} from '../tap/frames.ts';
import type { AssemblyContext } from './exchange-builder.ts';
import { HttpAssembler, type Settlement } from './http-assembler.ts';

const MARK_FILE = 'recorder.mark';
const MARK_BYTES = 4;

/**
 * A file that names the connection which the recorder is processing. If the recorder dies, the proxy reads which
 * connection may be the cause. The file costs two writes per frame into the page cache, so a recorder keeps it only if
 * its predecessor died.
 */
export class WorkMark {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(MARK_BYTES);
  #retired = false;

  private constructor(fd: number) {
    this.#fd = fd;
    this.set(0);
  }

  /** Null if the file cannot be opened: the recorder works without it. */
  static open(directory: string): WorkMark | null {
    try {
      return new WorkMark(openSync(join(directory, MARK_FILE), 'w', 0o600));
    } catch {
      // This is a precaution only; the capture's own writes report a failing disk.
      return null;
    }
  }

  /** @param connection 0 for none */
  set(connection: number): void {
    if (this.#retired) return;
    this.#bytes.writeUInt32LE(connection, 0);
    try {
      writeSync(this.#fd, this.#bytes, 0, MARK_BYTES, 0);
    } catch {
      // The capture's own writes report a failing disk.
      this.#retired = true;
    }
  }

  /** The recorder has lived long enough: the mark stays empty and costs nothing from now on. */
  retire(): void {
    this.set(0);
    this.#retired = true;
  }
}

/** The connection that a recorder was processing when it ended; null for none. */
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

/** The settlement of a part of a connection, which waits for the next commit. */
export interface Answer {
  readonly settlement: PipeSettlement;
  /** The exchange to be committed; null if there is none. */
  readonly exchange: Exchange | null;
  readonly bytes: number;
  readonly turns: number;
}

/** One connection of the pipe: feeds its frames to an assembler, and its settlements to the sink and the listener. */
export class FedConnection {
  readonly #connection: number;
  readonly #sink: CommittingSink;
  readonly #assembly: HttpAssembler;
  readonly #answer: (answer: Answer) => void;
  /** Of what is opaque; null while exchanges are read. */
  #opaque: string | null = null;
  /** Streams of one client connection are fed as connections, of which the first has its number. */
  readonly #isFirst: boolean;
  #settledBytes: number;

  constructor(
    connection: number,
    { sink, context }: Pick<RecorderDeps, 'sink' | 'context'>,
    { origin, clientBytes: clientOffset, serverBytes: serverOffset }: ConnectionStart,
    answer: (answer: Answer) => void,
  ) {
    this.#connection = connection;
    this.#sink = sink;
    this.#answer = answer;
    this.#settledBytes = clientOffset + serverOffset;
    this.#isFirst = (origin.clientConnection ?? connection) === connection;
    this.#assembly = new HttpAssembler(context, {
      connection: origin.clientConnection ?? connection,
      peer: origin.peer,
      sink: (settled) => this.#settle(settled),
      onOpaque: (protocol) => this.#onOpaque(protocol),
      ...(this.#settledBytes > 0 ? { resync: { reason: 'writer_down', clientOffset, serverOffset } } : {}),
    });
  }

  take({ type, atNs, payload, turnStart, allAnswered }: Frame): void {
    if (type === FRAME.clientBytes) this.#assembly.clientBytes(atNs, payload, turnStart, allAnswered);
    else this.#assembly.serverBytes(atNs, payload);
  }

  hear(message: PipeMessage, atNs: number): void {
    const assembly = this.#assembly;
    if (message.kind === 'clientEnd') assembly.clientEnd(atNs);
    else if (message.kind === 'serverEnd') assembly.serverEnd();
    else if (message.kind === 'gap') assembly.gap(message.reason, message.clientBytes, message.serverBytes);
    else if (message.kind === 'close') {
      assembly.close(atNs, message.cause);
      this.#countProtocol(message.clientBytes + message.serverBytes);
    }
  }

  /** The pipe ended before this connection did: open exchanges are lost. */
  abandon(nowNs: number, because: LossReason): void {
    this.#assembly.gap(because, 0, 0);
    this.#assembly.close(nowNs, 'shutdown');
    this.#countProtocol(this.#settledBytes);
  }

  #onOpaque(protocol: string): void {
    this.#opaque = protocol;
    const settlement = { ...NOTHING_SETTLED, kind: 'opaque', connection: this.#connection } as const;
    this.#answer({ settlement, exchange: null, bytes: 0, turns: 0 });
  }

  #countProtocol(bytes: number): void {
    const protocol = this.#opaque ?? (this.#assembly.isHttp2 ? 'h2' : 'http/1.1');
    this.#sink.addProtocolUse({ protocol, connections: this.#isFirst ? 1 : 0, bytes });
  }

  #settle({ kind, because, clientEndOffset, serverEndOffset, turns, exchanges, exchange }: Settlement): void {
    const bytes = clientEndOffset + serverEndOffset - this.#settledBytes;
    this.#settledBytes += bytes;
    const isStored = exchange === null || this.#sink.append(exchange);
    // An exchange that the sink could not take must not be reported as recorded.
    const fate = isStored ? { kind, because } : NOT_ENCODABLE;
    const settlement = {
      kind: fate.kind,
      because: fate.because,
      connection: this.#connection,
      clientEndOffset,
      serverEndOffset,
      exchanges,
    } as PipeSettlement;
    this.#answer({ settlement, exchange: isStored ? exchange : null, bytes, turns });
  }
}

const NOT_ENCODABLE: Fate = { kind: 'lost', because: 'encode_failed' };

const NOTHING_SETTLED = { because: null, clientEndOffset: 0, serverEndOffset: 0, exchanges: 0 } as const;

/**
 * The recorder's end of the pipe: assembles exchanges, hands them to the sink, and acknowledges after the commit.
 * Settlements wait for the commit in the order of their creation. So those of one connection stay contiguous, even if
 * only some of them have an exchange.
 */
export class PipeServer {
  readonly #deps: RecorderDeps;
  readonly #connections = new Map<number, FedConnection>();
  #pipe: Duplex | null = null;
  #waiting: Answer[] = [];
  /** The total progress once everything that waits is committed. */
  readonly #expected: { -readonly [K in keyof Progress]: Progress[K] };
  #waitingSinceNs = 0;
  /** Set while anything waits, because an exchange must not wait until the next one arrives. */
  #dueTimer: NodeJS.Timeout | null = null;
  /** Number of the last flush request that is not answered; 0 for none. */
  #flushAsked = 0;
  #shedding: LossReason | null = null;
  /** Frames are ignored from now on; the proxy counts them as lost. */
  #abandoned = false;

  /** @param progress what earlier recorders of the same recording have committed */
  constructor(deps: RecorderDeps, progress: Progress = NO_PROGRESS) {
    this.#deps = deps;
    this.#expected = { ...progress };
  }

  /** Why the last commit failed; null if it did not. */
  get shedding(): LossReason | null {
    return this.#shedding;
  }

  /** Reads the pipe until the proxy ends it. Exchanges that are still open then are lost. */
  attach(pipe: Duplex): void {
    this.#pipe = pipe;
    const reader = new FrameReader((frame) => this.#take(frame));
    pipe.on('data', (chunk: Buffer) => {
      if (this.#abandoned) return;
      reader.push(chunk);
      this.commitIfDue();
    });
    // The close event follows.
    pipe.on('error', () => undefined);
    pipe.on('close', () => {
      if (this.#abandoned) return;
      this.#abandon('crash_gap');
      this.commit();
    });
  }

  commitIfDue(): void {
    const { sink, clock } = this.#deps;
    const nowNs = clock.nowNs();
    const waits = this.#waiting.length > 0 && nowNs - this.#waitingSinceNs >= LIMITS.commitDelayMs * 1e6;
    if (sink.due(nowNs) || this.#flushAsked > 0 || waits) this.commit();
    if (this.#waiting.length > 0) this.#dueTimer ??= this.#lookWhenDue(nowNs);
  }

  /** Only while something waits: each wake-up costs processor time, even on a busy host. */
  #lookWhenDue(nowNs: number): NodeJS.Timeout {
    const waitedMs = (nowNs - this.#waitingSinceNs) / 1e6;
    const look = () => {
      this.#dueTimer = null;
      if (!this.#abandoned) this.commitIfDue();
    };
    return setTimeout(look, Math.max(1, LIMITS.commitDelayMs - waitedMs)).unref();
  }

  /** Commits, and settles everything that waited for it as recorded or lost. */
  commit(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const { reason, lost } = this.#deps.sink.commit({ ...this.#expected });
    const losses = new Map(lost.map((each) => [each.exchange, each.reason]));
    for (const answer of lost.length === 0 ? [] : waiting)
      if (answer.exchange !== null && losses.has(answer.exchange)) this.#expect(answer, -1);
    this.#shedding = reason;
    const batch = settlementsOf(waiting, losses);
    if (this.#flushAsked > 0)
      batch.push({ ...NOTHING_SETTLED, kind: 'flushed', connection: this.#flushAsked });
    this.#flushAsked = 0;
    if (batch.length > 0 && this.#pipe?.writable) this.#pipe.write(encodeSettlements(batch));
  }

  /** Commits the rest and closes the sink. Exchanges that are still open are lost for the reason `because`. */
  close(because: LossReason = 'crash_gap'): void {
    this.#abandon(because);
    this.commit();
    this.#deps.sink.close();
  }

  /** Settles open connections as lost. A proxy that ends properly closes its connections before. */
  #abandon(because: LossReason): void {
    this.#abandoned = true;
    const nowNs = this.#deps.clock.nowNs();
    for (const connection of this.#connections.values()) connection.abandon(nowNs, because);
    this.#connections.clear();
  }

  #take(frame: Frame): void {
    const { mark } = this.#deps;
    mark?.set(frame.connection);
    if (frame.type === FRAME.message) this.#hear(frame, decodeMessage(frame.payload));
    else this.#connections.get(frame.connection)?.take(frame);
    mark?.set(0);
  }

  #hear({ connection, atNs }: Frame, message: PipeMessage): void {
    if (message.kind === 'flush') this.#flushAsked = message.number;
    else if (message.kind === 'open') {
      const answer = (each: Answer) => this.#wait(each);
      this.#connections.set(connection, new FedConnection(connection, this.#deps, message, answer));
    } else {
      this.#connections.get(connection)?.hear(message, atNs);
      if (message.kind === 'close') this.#connections.delete(connection);
    }
  }

  #wait(answer: Answer): void {
    if (this.#waiting.length === 0) this.#waitingSinceNs = this.#deps.clock.nowNs();
    this.#waiting.push(answer);
    if (answer.exchange !== null) this.#expect(answer, 1);
  }

  /** @param times 1 for an exchange that is to be committed, -1 for one that was not */
  #expect({ bytes, turns }: Answer, times: 1 | -1): void {
    this.#expected.bytes += times * bytes;
    this.#expected.turns += times * turns;
    this.#expected.exchanges += times;
  }
}

type Losses = ReadonlyMap<Exchange, LossReason>;

/** All that one commit records of one connection becomes one settlement, to send less through the pipe. */
function settlementsOf(answers: readonly Answer[], lost: Losses): PipeSettlement[] {
  const settlements: PipeSettlement[] = [];
  /** Index of each connection's last settlement. */
  const places = new Map<number, number>();
  for (const { settlement, exchange } of answers) {
    const reason = exchange === null ? undefined : lost.get(exchange);
    const { connection } = settlement;
    const place = places.get(connection) ?? -1;
    const last = settlements[place];
    if (reason !== undefined) {
      places.set(connection, settlements.push({ ...settlement, kind: 'lost', because: reason }) - 1);
    } else if (last?.kind === 'recorded' && settlement.kind === 'recorded') {
      settlements[place] = { ...settlement, exchanges: last.exchanges + settlement.exchanges };
    } else places.set(connection, settlements.push(settlement) - 1);
  }
  return settlements;
}
