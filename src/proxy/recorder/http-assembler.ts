import type { LossReason } from '../../core/accounting.ts';
import type { Exchange } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import { HTTP2_PREFACE_LINE, isRequestLine, isStatusLine } from '../../http1/heads.ts';
import { type MessagePlan, MessageReader } from '../../http1/message-reader.ts';
import type { Fate } from '../tap/counters.ts';
import type { CloseCause } from '../tap/frames.ts';
import {
  type AssemblyContext,
  ExchangeBuilder,
  type ExchangeOrigin,
  type FirstEnd,
} from './exchange-builder.ts';

interface ConnectionOptions {
  /** Number of the client connection within its recorder's life. */
  readonly connection: number;
  /** The client's IP address; null if unknown. */
  readonly peer?: string | null;
  /** Receives every settlement, in order, during the call that caused it. */
  readonly sink: (settled: Settlement) => void;
  /**
   * Called once when nothing further on this connection can become an exchange (a tunnel, another protocol, or
   * a framing that is refused). The data plane may then stop copying bytes; those still fed are settled as
   * `omitted: unparsed`.
   */
  readonly onOpaque?: (protocol: string) => void;
  /** Set if the beginning of the connection was not seen: where reading starts, and why not earlier. */
  readonly resync?: ResyncStart;
}

/** Offsets are bytes of each direction since the start of the connection, all settled elsewhere. */
export interface ResyncStart {
  readonly reason: LossReason;
  readonly clientOffset: number;
  readonly serverOffset: number;
}

/**
 * - `reading`: exchanges are assembled.
 * - `waiting`: bytes were missed; everything is lost until a turn begins with a request line and without an open
 *   request. Otherwise the answer to an earlier request would be taken for the answer to this one.
 * - `candidate`: such a turn is being read; the next server chunk must begin with `HTTP/`.
 * - `confirming`: it did. The first settled exchange makes it certain.
 * - `opaque`: nothing further can become an exchange.
 */
type State = 'reading' | 'waiting' | 'candidate' | 'confirming' | 'opaque' | 'closed';

const STATUS_LINE_START = Buffer.from('HTTP/');

/**
 * Assembles the exchanges of one connection from the bytes that a tap saw. It is not on the forwarding path, and never
 * throws. Bytes that cannot be read with certainty are settled as omitted or lost; nothing is guessed. `atNs` is
 * monotonic nanoseconds and never goes back. Bytes are read only during the call; kept bytes are copied.
 */
export class HttpAssembler {
  readonly #settled: SettledBytes;
  readonly #pairing: Pairing;
  readonly #options: ConnectionOptions;
  #state: State = 'reading';
  /** Why bytes are lost while waiting. */
  #lossReason: LossReason = 'crash_gap';

  constructor(context: AssemblyContext, options: ConnectionOptions) {
    const { connection, peer = null, sink, resync } = options;
    this.#options = options;
    this.#settled = new SettledBytes(resync?.clientOffset ?? 0, resync?.serverOffset ?? 0, sink);
    this.#pairing = new Pairing(context, { connection, peer }, this.#settled);
    if (resync !== undefined) this.#wait(resync.reason);
  }

  /** Whether what is fed is a stream of HTTP/2. */
  get isHttp2(): boolean {
    return this.#pairing.isHttp2;
  }

  /**
   * @param turnStart whether they are the first after server bytes, or the first of the connection
   * @param allAnswered whether a turn starts here and every earlier request is known to be answered
   */
  clientBytes(atNs: number, bytes: Buffer, turnStart: boolean, allAnswered: boolean): void {
    if (this.#state === 'closed') return;
    const offset = this.#settled.clientCame(bytes.length);
    if (turnStart) this.#pairing.beginTurn();
    if (allAnswered && this.#state === 'waiting' && beginsWithRequest(bytes)) this.#state = 'candidate';
    if (this.#isReading()) this.#follow(this.#pairing.readClient(atNs, bytes, offset));
    else this.#dropPending();
  }

  serverBytes(atNs: number, bytes: Buffer): void {
    if (this.#state === 'closed') return;
    const offset = this.#settled.serverCame(bytes.length);
    if (this.#state === 'candidate') {
      // Otherwise an earlier answer continues, because its client did not wait for its end.
      const begins = STATUS_LINE_START.subarray(0, bytes.length).equals(
        bytes.subarray(0, STATUS_LINE_START.length),
      );
      this.#state = begins ? 'confirming' : 'waiting';
    }
    if (this.#isReading()) this.#follow(this.#pairing.readServer(atNs, bytes, offset));
    else this.#dropPending();
  }

  /** This many bytes passed, but were shed before they came here. */
  gap(reason: LossReason, clientBytes: number, serverBytes: number): void {
    if (this.#state === 'closed') return;
    this.#settled.clientCame(clientBytes);
    this.#settled.serverCame(serverBytes);
    this.#pairing.drop({ kind: 'lost', because: reason });
    if (this.#state !== 'opaque') this.#wait(reason);
  }

  /** The client half-closed. */
  clientEnd(atNs: number): void {
    if (this.#pairing.firstEnd !== null) return;
    this.#pairing.firstEnd = 'client';
    this.#pairing.clientEndNs = atNs;
  }

  /** The upstream half-closed. */
  serverEnd(): void {
    this.#pairing.firstEnd ??= 'server';
    if (this.#isReading()) this.#follow(this.#pairing.serverEnd());
  }

  /** Nothing more will come from either side: everything pending is settled. */
  close(atNs: number, how: CloseCause): void {
    if (this.#state === 'closed') return;
    if (how === 'client_end' || how === 'client_reset') this.clientEnd(atNs);
    else if (how === 'server_end') this.serverEnd();
    else if (how === 'server_reset') this.#pairing.firstEnd ??= 'server';
    else if (how === 'timed_out') this.#pairing.firstEnd ??= 'timeout';
    if (!this.#isReading() || this.#state === 'candidate') this.#dropPending();
    else if (how === 'shutdown') this.#pairing.drop({ kind: 'lost', because: 'shutdown_timeout' });
    else this.#pairing.settleUnfinished();
    this.#state = 'closed';
  }

  #isReading(): boolean {
    return this.#state === 'reading' || this.#state === 'candidate' || this.#state === 'confirming';
  }

  #follow(stop: Stop | null): void {
    if (this.#state === 'confirming' && this.#pairing.settledExchanges > 0) this.#state = 'reading';
    if (stop === null) return;
    if (stop.kind === 'starved') {
      this.#pairing.drop({ kind: 'lost', because: 'body_budget' });
      this.#wait('body_budget');
    } else if (this.#state === 'reading') {
      this.#pairing.drop({ kind: 'omitted', because: 'unparsed' });
      this.#state = 'opaque';
      this.#options.onOpaque?.(stop.protocol);
    } else {
      // What looked like the start of a request was none.
      this.#state = 'waiting';
      this.#dropPending();
    }
  }

  #wait(reason: LossReason): void {
    this.#state = 'waiting';
    this.#lossReason = reason;
  }

  /** Settles everything pending, as the state demands. */
  #dropPending(): void {
    if (this.#state === 'opaque') this.#pairing.drop({ kind: 'omitted', because: 'unparsed' });
    else this.#pairing.drop({ kind: 'lost', because: this.#lossReason });
  }
}

/**
 * Whether a whole request line of a usual method stands there. The rest of a line that was cut within its method looks
 * like one of another method: `ET / HTTP/1.1`.
 */
function beginsWithRequest(bytes: Buffer): boolean {
  const lineEnd = bytes.indexOf(0x0a);
  if (lineEnd < 0) return false;
  const line = bytes.toString('latin1', 0, lineEnd);
  return USUAL_METHOD.test(line) && isRequestLine(line.endsWith('\r') ? line.slice(0, -1) : line);
}

const USUAL_METHOD = /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /;

/**
 * Why reading ended. `opaque`: the connection speaks another protocol from here on, or one that we cannot read with
 * certainty (`unparsed`). `starved`: there is no memory left to read it.
 */
type Stop = { readonly kind: 'opaque'; readonly protocol: string } | { readonly kind: 'starved' };

const HTTP2_START = `${HTTP2_PREFACE_LINE}\r\n`;

const PASS_OVER: MessagePlan = { framing: { kind: 'none' }, body: null };

/**
 * Pairs the messages of one connection into exchanges, in order, and settles each once both of its ends are known.
 * Returns a `Stop` if reading cannot continue. Then the owner decides what happens to the pending part.
 */
class Pairing {
  readonly #context: AssemblyContext;
  readonly #origin: ExchangeOrigin;
  readonly #settled: SettledBytes;
  readonly #requests: MessageReader;
  readonly #responses: MessageReader;
  readonly #held: HeldBytes;
  /** Requests whose head was read, oldest first; only the last may be incomplete. */
  readonly #open: ExchangeBuilder[] = [];
  /** Turns that began and do not belong to an ended request yet. */
  #turns = 0;
  #http2 = false;
  /** An announced body was answered before any of it came. The client's next bytes may be this body or not. */
  #bodyWithheld = false;
  #stop: Stop | null = null;
  /** Whether a request of HTTP/2 was read. */
  isHttp2 = false;
  /** Which side ended the connection first; null while it is open. */
  firstEnd: FirstEnd | null = null;
  /** When the client ended it, if it was first. */
  clientEndNs: number | null = null;
  /** Exchanges settled since reading last started again. */
  settledExchanges = 0;

  constructor(context: AssemblyContext, origin: ExchangeOrigin, settled: SettledBytes) {
    const { budget } = context;
    this.#context = context;
    this.#origin = origin;
    this.#settled = settled;
    this.#held = new HeldBytes(budget);
    this.#requests = new MessageReader({
      budget,
      isStartLine: (line) => this.#isRequestLine(line),
      onHead: (head, firstByteNs, endNs) => this.#onRequestHead(head, firstByteNs, endNs),
    });
    this.#responses = new MessageReader({
      budget,
      isStartLine: isStatusLine,
      onHead: (head, firstByteNs, endNs) => this.#onResponseHead(head, firstByteNs, endNs),
    });
  }

  beginTurn(): void {
    this.#turns += 1;
  }

  /** @param offset Offset of the first of `bytes` from the start of the connection. */
  readClient(atNs: number, bytes: Buffer, offset: number): Stop | null {
    let at = 0;
    while (at < bytes.length && this.#stop === null) {
      if (this.#bodyWithheld) {
        this.#stopOpaque('unparsed');
      } else if (this.#isHolding()) {
        this.#hold(atNs, bytes.subarray(at), offset + at);
        break;
      } else {
        at = this.#requests.read(bytes, at, atNs);
        if (at < 0) return this.#unreadable(this.#requests);
        if (this.#requests.ended) this.#requestEnded(offset + at);
      }
    }
    return this.#stop;
  }

  readServer(atNs: number, bytes: Buffer, offset: number): Stop | null {
    let at = 0;
    while (at < bytes.length && this.#stop === null) {
      // An answer without a request (a 408 on an idle connection, say) cannot be paired.
      if (this.#open[0]?.answered ?? true) return this.#stopOpaque('unparsed');
      at = this.#responses.read(bytes, at, atNs);
      if (at < 0) return this.#unreadable(this.#responses);
      if (this.#responses.ended) this.#responseEnded(offset + at);
    }
    return this.#stop;
  }

  /** The upstream half-closed, which is how a body of unknown length ends. */
  serverEnd(): Stop | null {
    if (this.#responses.endOfStream()) this.#responseEnded(this.#settled.serverSeen);
    return this.#stop;
  }

  /**
   * Settles everything at the end of a connection: requests with the part that came of their answers, other bytes as
   * unparsed.
   */
  settleUnfinished(): void {
    for (let exchange = this.#open[0]; exchange !== undefined; exchange = this.#open[0]) {
      this.#settle(exchange);
    }
    this.drop({ kind: 'omitted', because: 'unparsed' });
  }

  /** Settles everything pending as not recorded, forgets it, and is ready to start again. */
  drop(as: Unrecorded): void {
    let turns = this.#turns + this.#held.turns;
    for (const exchange of this.#open) {
      turns += exchange.turns;
      exchange.release();
    }
    const exchanges = this.#open.length;
    this.#open.length = 0;
    this.#turns = 0;
    this.#held.clear();
    this.#requests.reset();
    this.#responses.reset();
    this.#bodyWithheld = false;
    this.#stop = null;
    this.settledExchanges = 0;
    this.#settled.leaveOutRest(as, exchanges, turns);
  }

  #isRequestLine(line: string): boolean {
    this.#http2 = line === HTTP2_PREFACE_LINE;
    return isRequestLine(line);
  }

  #onRequestHead(head: Buffer, firstByteNs: number, endNs: number): MessagePlan | null {
    const reading = this.#context.heads.request(head);
    this.#http2 = reading === null && head.toString('latin1', 0, HTTP2_START.length) === HTTP2_START;
    if (reading === null || this.#open.length >= LIMITS.pipelinedRequests) return null;
    if (!this.#context.budget.reserve(LIMITS.openExchangeBytes)) {
      this.#stop = { kind: 'starved' };
      return null;
    }
    const found = { bytes: head, firstByteNs, endNs };
    const exchange = new ExchangeBuilder(this.#context, this.#origin, reading, found);
    this.#open.push(exchange);
    this.isHttp2 = exchange.isHttp2;
    return { framing: reading.framing, body: exchange.request.body };
  }

  #onResponseHead(head: Buffer, firstByteNs: number, endNs: number): MessagePlan | null {
    const exchange = this.#open[0];
    const reading = exchange === undefined ? null : this.#context.heads.response(head, exchange.method);
    if (exchange === undefined || reading === null) return null;
    const { scanned, framing } = reading;
    if ((scanned.protocol === 'h2') !== exchange.isHttp2) return null;
    if (scanned.status < 200 && scanned.status !== 101) return PASS_OVER;
    // A switch of protocols is valid only after a complete request for it.
    if (framing.kind === 'tunnel' && !(exchange.holdsClient && exchange.request.ended)) return null;
    const body = exchange.beginResponse(reading, { bytes: head, firstByteNs, endNs });
    return { framing, body };
  }

  #requestEnded(clientEndOffset: number): void {
    const exchange = this.#open.at(-1);
    if (exchange === undefined) return;
    exchange.endMessage(exchange.request, this.#requests.trailers);
    exchange.clientEndOffset = clientEndOffset;
    exchange.turns = this.#turns;
    this.#turns = 0;
    if (exchange.answered) this.#settle(exchange);
  }

  #responseEnded(serverEndOffset: number): void {
    const exchange = this.#open[0];
    // An interim response has no draft: the answer is still to come.
    if (exchange === undefined || exchange.response === null) return;
    exchange.endMessage(exchange.response, this.#responses.trailers);
    exchange.serverEndOffset = serverEndOffset;
    exchange.answeredInTime = this.firstEnd === null;
    if (this.firstEnd === 'client') exchange.answeredAfterItsClient();
    if (exchange.tunnels) {
      this.#settle(exchange);
      this.#stopOpaque(exchange.tunnelProtocol);
    } else if (exchange.request.ended) {
      this.#settle(exchange);
      if (exchange.holdsClient) this.#readHeld();
    } else if (exchange.mayWithholdBody) {
      this.#bodyWithheld = true;
      this.#settle(exchange);
    }
  }

  /** Whether the client's protocol is undecided, because the last request asked for a tunnel or another protocol. */
  #isHolding(): boolean {
    const last = this.#open.at(-1);
    return last?.holdsClient === true && last.request.ended;
  }

  #hold(atNs: number, bytes: Buffer, clientOffset: number): void {
    const refusal = this.#held.add({ atNs, bytes, clientOffset, turns: this.#turns });
    if (refusal === null) this.#turns = 0;
    else if (refusal === 'budget') this.#stop = { kind: 'starved' };
    else this.#stopOpaque('unparsed');
  }

  /** The answer was an ordinary one, so the held bytes are requests. */
  #readHeld(): void {
    for (const piece of this.#held.take()) {
      this.#turns += piece.turns;
      if (this.#stop === null) this.#stop = this.readClient(piece.atNs, piece.bytes, piece.clientOffset);
    }
  }

  /** Settles the oldest exchange, in any state. */
  #settle(exchange: ExchangeBuilder): void {
    this.#open.shift();
    exchange.settling();
    this.settledExchanges += 1;
    let turns = exchange.turns;
    if (!exchange.request.ended) {
      turns += this.#turns;
      this.#turns = 0;
    }
    const stretch = {
      clientEndOffset: exchange.clientEndOffset ?? this.#settled.clientSeen,
      serverEndOffset: exchange.serverEndOffset ?? this.#settled.serverSeen,
      turns,
    };
    const { lossReason, omission } = exchange;
    if (lossReason !== null) this.#settled.leaveOut({ kind: 'lost', because: lossReason }, 1, stretch);
    else if (omission !== null) this.#settled.leaveOut({ kind: 'omitted', because: omission }, 1, stretch);
    else
      this.#settled.record(
        exchange.finish(exchange.outcome(this.firstEnd, this.clientEndNs), this.clientEndNs),
        stretch,
      );
    exchange.release();
  }

  #unreadable(reader: MessageReader): Stop {
    if (this.#stop !== null) return this.#stop;
    if (!reader.starved) return this.#stopOpaque(this.#http2 ? 'h2' : 'unparsed');
    this.#stop = { kind: 'starved' };
    return this.#stop;
  }

  #stopOpaque(protocol: string): Stop {
    this.#stop = { kind: 'opaque', protocol };
    return this.#stop;
  }
}

type Unrecorded = Exclude<Fate, { readonly kind: 'recorded' }>;

/** The end of a stretch, as offsets of both directions from the start of the connection. Then its turns. */
interface Stretch {
  readonly clientEndOffset: number;
  readonly serverEndOffset: number;
  /** Turns whose first client byte lies in it. */
  readonly turns: number;
}

/**
 * How a stretch of a connection left the state "pending". Settlements of one connection are contiguous and in order:
 * each covers the bytes between the previous settlement's offsets and its own, in both directions. So every byte fed is
 * settled exactly once.
 */
export type Settlement = Fate &
  Stretch & {
    /** The recorded exchange; null if nothing is recorded. */
    readonly exchange: Exchange | null;
    /** Requests whose head was read. A lower bound, because bytes that were never parsed count as none. */
    readonly exchanges: number;
  };

/** One connection's account: bytes seen in each direction, and how many of them are settled. It never decreases. */
class SettledBytes {
  readonly #sink: (settled: Settlement) => void;
  #clientSeen: number;
  #serverSeen: number;
  #clientSettled: number;
  #serverSettled: number;

  constructor(clientOffset: number, serverOffset: number, sink: (settled: Settlement) => void) {
    this.#clientSeen = clientOffset;
    this.#clientSettled = clientOffset;
    this.#serverSeen = serverOffset;
    this.#serverSettled = serverOffset;
    this.#sink = sink;
  }

  get clientSeen(): number {
    return this.#clientSeen;
  }

  get serverSeen(): number {
    return this.#serverSeen;
  }

  /** Counts client bytes as seen, and returns the offset of the first of them. */
  clientCame(bytes: number): number {
    this.#clientSeen += bytes;
    return this.#clientSeen - bytes;
  }

  serverCame(bytes: number): number {
    this.#serverSeen += bytes;
    return this.#serverSeen - bytes;
  }

  record(exchange: Exchange, stretch: Stretch): void {
    this.#settle({ kind: 'recorded', because: null, ...stretch, exchange, exchanges: 1 });
  }

  leaveOut(as: Unrecorded, exchanges: number, stretch: Stretch): void {
    this.#settle({ ...as, ...stretch, exchange: null, exchanges });
  }

  /** Settles everything seen and not settled yet as not recorded. Does nothing if there is none. */
  leaveOutRest(as: Unrecorded, exchanges: number, turns: number): void {
    const bytes = this.#clientSeen - this.#clientSettled + this.#serverSeen - this.#serverSettled;
    if (bytes === 0 && exchanges === 0 && turns === 0) return;
    const end = { clientEndOffset: this.#clientSeen, serverEndOffset: this.#serverSeen };
    this.leaveOut(as, exchanges, { ...end, turns });
  }

  #settle(settlement: Settlement): void {
    this.#clientSettled = settlement.clientEndOffset;
    this.#serverSettled = settlement.serverEndOffset;
    this.#sink(settlement);
  }
}

/** Client bytes that came while it was undecided whether they are HTTP. */
interface HeldPiece {
  readonly atNs: number;
  readonly bytes: Buffer;
  /** Offset of the first byte from the start of the connection. */
  readonly clientOffset: number;
  readonly turns: number;
}

/** Holds a client's bytes between a request for an upgrade (or a tunnel) and the answer. Limited and budgeted. */
class HeldBytes {
  readonly #budget: AssemblyBudget;
  #pieces: HeldPiece[] = [];
  #costBytes = 0;

  constructor(budget: AssemblyBudget) {
    this.#budget = budget;
  }

  /** Turns that began in the held bytes. */
  get turns(): number {
    return this.#pieces.reduce((sum, piece) => sum + piece.turns, 0);
  }

  /** Holds a copy of the piece, or returns why not. */
  add(piece: HeldPiece): 'limit' | 'budget' | null {
    // Each piece is also charged its overhead. Otherwise a client that sends single bytes would get memory for nothing.
    const cost = piece.bytes.length + LIMITS.heldPieceBytes;
    if (this.#costBytes + cost > LIMITS.heldClientBytes) return 'limit';
    if (!this.#budget.reserve(cost)) return 'budget';
    this.#costBytes += cost;
    this.#pieces.push({ ...piece, bytes: Buffer.from(piece.bytes) });
    return null;
  }

  /** Everything held, in order; nothing is held afterwards. */
  take(): readonly HeldPiece[] {
    const pieces = this.#pieces;
    this.clear();
    return pieces;
  }

  clear(): void {
    this.#budget.release(this.#costBytes);
    this.#costBytes = 0;
    this.#pieces = [];
  }
}
