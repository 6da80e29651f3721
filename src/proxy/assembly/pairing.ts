import { LIMITS } from '../../core/limits.ts';
import { HTTP2_PREFACE_LINE, isRequestLine, isStatusLine } from '../../http1/heads.ts';
import { type MessagePlan, MessageReader } from '../../http1/message-reader.ts';
import { HeldBytes } from './held-bytes.ts';
import { type ExchangeOrigin, type FirstEnd, OpenExchange } from './open-exchange.ts';
import type { AssemblyContext } from './options.ts';
import type { SettledBytes, Unrecorded } from './settled-bytes.ts';

/**
 * Why reading came to an end: the connection speaks another protocol from here on (or one we cannot read with
 * certainty, `unparsed`), or there is no room to read it.
 */
export type Stop = { readonly kind: 'opaque'; readonly protocol: string } | { readonly kind: 'starved' };

/** How HTTP/2 begins where nobody negotiated it. */
const HTTP2_START = `${HTTP2_PREFACE_LINE}\r\n`;

const PASS_OVER: MessagePlan = { framing: { kind: 'none' }, body: null };

/**
 * Pairs the messages of one connection into exchanges, in order, and settles each once both its ends are
 * known. Answers a `Stop` when reading cannot go on; the owner then says what becomes of what is pending.
 */
export class Pairing {
  readonly #context: AssemblyContext;
  readonly #origin: ExchangeOrigin;
  readonly #settled: SettledBytes;
  readonly #requests: MessageReader;
  readonly #responses: MessageReader;
  readonly #held: HeldBytes;
  /** Requests whose head was read, oldest first; only the last may be incomplete. */
  readonly #open: OpenExchange[] = [];
  /** Turns begun and not yet claimed by a request that ended. */
  #turns = 0;
  #http2 = false;
  /** An announced body was answered before any of it came: what the client says next is it, or is not. */
  #bodyWithheld = false;
  #stop: Stop | null = null;
  /** Whether a request began before the one before it was answered; never taken back. */
  pipelined = false;
  /** Who ended the connection first, null while nobody has. */
  firstEnd: FirstEnd | null = null;
  /** When the client did, if it was first. */
  clientEndNs: number | null = null;
  /** Exchanges settled since reading last began anew. */
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

  countTurns(turns: number): void {
    this.#turns += turns;
  }

  /** @param offset Of the first of `bytes`, from the start of the connection. */
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
      // A server that speaks unasked (a 408 on an idle connection, say) answers nothing we could pair.
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

  /** Settles at the end of a connection: what was asked with what there is, what was not yet as unparsed. */
  settleUnfinished(): void {
    for (let exchange = this.#open[0]; exchange !== undefined; exchange = this.#open[0]) {
      this.#settle(exchange);
    }
    this.drop({ kind: 'omitted', cause: 'unparsed' });
  }

  /** Settles everything pending as not recorded, forgets it, and is ready to begin anew. */
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
    if (this.#open.length > 0) this.pipelined = true;
    const found = { bytes: head, firstByteNs, endNs };
    const exchange = new OpenExchange(this.#context, this.#origin, reading, found);
    this.#open.push(exchange);
    return { framing: reading.framing, body: exchange.request.body };
  }

  #onResponseHead(head: Buffer, firstByteNs: number, endNs: number): MessagePlan | null {
    const exchange = this.#open[0];
    const reading = exchange === undefined ? null : this.#context.heads.response(head, exchange.method);
    if (exchange === undefined || reading === null) return null;
    const { scanned, framing } = reading;
    if (scanned.status < 200 && scanned.status !== 101) return PASS_OVER;
    // Switching protocols needs somebody who asked for it, and who has finished asking.
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
    // An interim response leaves no draft: the answer is still to come.
    if (exchange === undefined || exchange.response === null) return;
    exchange.endMessage(exchange.response, this.#responses.trailers);
    exchange.serverEndOffset = serverEndOffset;
    exchange.answeredInTime = this.firstEnd === null;
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

  /** Whether it is undecided what the client speaks: the last request asked for a tunnel or another protocol. */
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

  /** The answer was an ordinary one, so what was held are requests. */
  #readHeld(): void {
    for (const piece of this.#held.take()) {
      this.#turns += piece.turns;
      if (this.#stop === null) this.#stop = this.readClient(piece.atNs, piece.bytes, piece.clientOffset);
    }
  }

  /** Settles the oldest exchange, in whatever state it is. */
  #settle(exchange: OpenExchange): void {
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
    if (lossReason !== null) this.#settled.leaveOut({ kind: 'lost', reason: lossReason }, 1, stretch);
    else if (omission !== null) this.#settled.leaveOut({ kind: 'omitted', cause: omission }, 1, stretch);
    else this.#settled.record(exchange.finish(exchange.outcome(this.firstEnd), this.clientEndNs), stretch);
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
