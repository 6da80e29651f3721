import type { Clock } from '../../core/clock.ts';
import { LIMITS, WIRE } from '../../core/limits.ts';
import type { ToxicStream } from '../../documents/faults.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import type { PausedPeers, PeerSocket } from '../net/peer-socket.ts';
import type { Upstream } from '../tcp/connection.ts';
import { type ByteSink, type Stage, type StageHost, stageOf } from './connection-faults.ts';
import { RequestFaults } from './request-faults.ts';
import type { ActiveToxic } from './toxics.ts';

export interface RelayHost {
  readonly clock: Clock;
  readonly paused: PausedPeers;
  readonly budget: AssemblyBudget;
  passed(direction: ToxicStream, read: number, written: number): void;
  /** A direction reached the limit of held bytes, so its sender is not read. */
  throttled(): void;
  unreachable(error: Error | null): void;
  closed(connection: RelayedConnection): void;
}

/** One direction: bytes from one side pass the stages of its faults and are written to the other side. */
class Link {
  readonly #from: PeerSocket;
  readonly #to: PeerSocket;
  readonly #owner: LinkOwner;
  readonly #stages: { readonly active: ActiveToxic; readonly stage: Stage }[] = [];
  readonly #last: ByteSink;
  #first: ByteSink;
  #paused = false;
  #full = false;
  #closing = false;
  /** Called when the end has been sent. */
  #whenEnded: (() => void) | null = null;
  sourceEnded = false;
  ended = false;

  constructor(from: PeerSocket, to: PeerSocket, owner: LinkOwner) {
    this.#from = from;
    this.#to = to;
    this.#owner = owner;
    this.#last = { push: (bytes) => this.#write(bytes), end: () => this.#end() };
    this.#first = this.#last;
  }

  push(bytes: Buffer): void {
    this.#first.push(bytes);
    this.look();
  }

  end(): void {
    this.#first.end();
  }

  add(active: ActiveToxic): void {
    const host: StageHost = {
      clock: this.#owner.clock,
      random: active.random,
      injected: () => active.injected(),
      closing: () => {
        this.#closing = true;
      },
      reset: () => this.#owner.reset(),
      released: () => this.look(),
    };
    const stage = stageOf(active.toxic, host, this.#last);
    if (stage === null) return;
    this.#stages.push({ active, stage });
    this.#chain();
  }

  /** A fault ends. Its held bytes pass through the faults after it. */
  remove(active: ActiveToxic, replaced: boolean): void {
    const at = this.#stages.findIndex((each) => each.active === active);
    const [removed] = at < 0 ? [] : this.#stages.splice(at, 1);
    if (removed === undefined) return;
    removed.stage.remove(replaced);
    this.#chain();
    this.look();
  }

  drained(): void {
    this.#full = false;
    this.look();
  }

  /** Calls back once the end has been sent, or at once if it was already sent. */
  whenEnded(act: () => void): void {
    if (this.ended) act();
    else this.#whenEnded = act;
  }

  stop(): void {
    for (const { stage } of this.#stages) stage.stop();
    this.#owner.paused.delete(this.#from);
  }

  /** Pauses or resumes the sender, depending on the held bytes. */
  look(): void {
    const held = this.#heldBytes;
    const limit = this.#paused ? LIMITS.faultHeldBytes / 2 : LIMITS.faultHeldBytes;
    const isOver = held >= limit;
    const wanted = this.#full || isOver;
    const wasPaused = this.#paused;
    this.#paused = wanted;
    if (wanted) {
      if (isOver && !wasPaused) this.#owner.throttled();
      // Also if it was paused: a check of its peer may have resumed it.
      this.#from.stream.pause();
      if (!wasPaused) this.#owner.paused.add(this.#from, this.#to, () => this.#heldBytes);
      return;
    }
    if (!wasPaused) return;
    if (!this.sourceEnded) this.#owner.paused.delete(this.#from);
    this.#from.stream.resume();
  }

  /** Bytes of this direction that wait for a fault. */
  get #heldBytes(): number {
    return this.#stages.reduce((sum, { stage }) => sum + stage.heldBytes, this.#owner.heldBefore(this));
  }

  /** Connects the stages: the first one receives what is read, and each passes to the next. */
  #chain(): void {
    const sinks: ByteSink[] = [...this.#stages.map(({ stage }) => stage), this.#last];
    this.#first = sinks[0] as ByteSink;
    for (const [index, { stage }] of this.#stages.entries()) stage.next = sinks[index + 1] as ByteSink;
  }

  #write(bytes: Buffer): void {
    if (this.ended) return;
    this.#owner.passed(bytes.length);
    if (!this.#to.write(bytes)) this.#full = true;
  }

  #end(): void {
    if (this.ended) return;
    this.ended = true;
    if (this.#closing) this.#owner.close();
    else this.#owner.end(this.#to);
    this.#whenEnded?.();
  }
}

interface LinkOwner {
  readonly clock: Clock;
  readonly paused: PausedPeers;
  /** Bytes that wait before the first stage of a link. */
  heldBefore(link: Link): number;
  passed(bytes: number): void;
  throttled(): void;
  end(side: PeerSocket): void;
  close(): void;
  reset(): void;
}

/**
 * One client and one upstream of a relay. Bytes flow in both directions through the active faults, with back-pressure.
 * Without a fault, half-closes stay half-closes and resets stay resets, as on the wire plane.
 */
export class RelayedConnection {
  readonly #client: PeerSocket;
  readonly #upstream: PeerSocket;
  readonly #host: RelayHost;
  readonly #up: Link;
  readonly #down: Link;
  readonly #requests: RequestFaults;
  /** By fault on requests: whether it acts on this connection. */
  readonly #drawn = new Map<ActiveToxic, boolean>();
  #connecting: NodeJS.Timeout | null = null;
  #clientEndWaits = false;
  #open = 2;

  constructor(
    client: PeerSocket,
    { side, ready }: Upstream,
    host: RelayHost,
    toxics: readonly ActiveToxic[],
  ) {
    this.#client = client;
    this.#upstream = side;
    this.#host = host;
    this.#up = new Link(client, side, this.#ownerOf('upstream'));
    this.#down = new Link(side, client, this.#ownerOf('downstream'));
    this.#requests = new RequestFaults(
      {
        clock: host.clock,
        budget: host.budget,
        requestToxics: () => [...this.#drawn].flatMap(([active, isOn]) => (isOn ? [active] : [])),
        answer: (bytes, close) => this.#answer(bytes, close),
        released: () => this.#up.look(),
      },
      this.#up,
    );
    for (const each of toxics) this.add(each);
    if (ready !== null) this.#connect(ready);
    this.#listenTo(client, this.#requests, this.#up, this.#down);
    this.#listenTo(side, this.#down, this.#down, this.#up);
    side.stream.on('data', () => this.#requests.answered());
    if (client.stream.isPaused()) client.stream.resume();
  }

  add(active: ActiveToxic): void {
    const isOn = active.drawConnection();
    if (active.toxic.type.startsWith('http_')) this.#drawn.set(active, isOn);
    else if (isOn) this.#linkOf(active).add(active);
  }

  /** @param replaced whether the same fault follows with other attributes */
  remove(active: ActiveToxic, replaced: boolean): void {
    if (this.#drawn.delete(active)) this.#requests.removed();
    else this.#linkOf(active).remove(active, replaced);
  }

  /** Ends both sides with a FIN, after the bytes that are on their way. */
  close(): void {
    this.#client.stream.destroySoon();
    this.#upstream.stream.destroySoon();
  }

  reset(): void {
    this.#client.reset();
    this.#upstream.reset();
  }

  #linkOf({ toxic }: ActiveToxic): Link {
    return toxic.stream === 'upstream' ? this.#up : this.#down;
  }

  #ownerOf(direction: ToxicStream): LinkOwner {
    const { clock, paused } = this.#host;
    return {
      clock,
      paused,
      heldBefore: (link) => (link === this.#up ? (this.#requests?.heldBytes ?? 0) : 0),
      passed: (bytes) => this.#host.passed(direction, 0, bytes),
      throttled: () => this.#host.throttled(),
      end: (side) => {
        // An end sent now would break the TLS handshake.
        if (side === this.#upstream && this.#connecting) this.#clientEndWaits = true;
        else side.stream.end();
      },
      close: () => this.close(),
      reset: () => this.reset(),
    };
  }

  #connect(ready: 'connect' | 'secureConnect'): void {
    this.#connecting = setTimeout(() => this.#unreachable(null), WIRE.connectMs);
    this.#upstream.stream.once(ready, () => {
      this.#connected();
      if (this.#clientEndWaits) this.#upstream.stream.end();
    });
  }

  #connected(): void {
    if (this.#connecting) clearTimeout(this.#connecting);
    this.#connecting = null;
  }

  #unreachable(error: Error | null): void {
    this.#connected();
    this.#host.unreachable(error);
    this.reset();
  }

  #listenTo(side: PeerSocket, into: ByteSink, link: Link, back: Link): void {
    const direction = link === this.#up ? 'upstream' : 'downstream';
    const { stream, socket } = side;
    stream.on('data', (bytes: Buffer) => {
      this.#host.passed(direction, bytes.length, 0);
      into.push(bytes);
      link.look();
    });
    stream.on('drain', () => back.drained());
    stream.on('end', () =>
      side.confirmEnd(() => {
        link.sourceEnded = true;
        side.readNoMore();
        into.end();
        this.#host.paused.add(side, side === this.#client ? this.#upstream : this.#client);
      }),
    );
    const failed = (error: Error) => this.#failed(side, error);
    stream.on('error', failed);
    if (socket !== stream) socket.on('error', failed);
    stream.on('close', () => this.#closed(side, link));
  }

  #failed(side: PeerSocket, error: Error): void {
    if (side === this.#upstream && this.#connecting) this.#unreachable(error);
    else (side === this.#client ? this.#upstream : this.#client).reset();
  }

  /** A side has closed. The other one still gets the bytes that wait for it. */
  #closed(side: PeerSocket, link: Link): void {
    side.readNoMore();
    this.#host.paused.delete(side);
    this.#open -= 1;
    this.#connected();
    const other = side === this.#client ? this.#upstream : this.#client;
    if (this.#open > 0) {
      if (link.sourceEnded) link.whenEnded(() => other.stream.destroySoon());
      else other.stream.destroySoon();
      return;
    }
    this.#requests.stop();
    this.#up.stop();
    this.#down.stop();
    this.#host.closed(this);
  }

  #answer(bytes: Buffer, close: boolean): void {
    this.#down.push(bytes);
    if (close) this.#down.end();
  }
}
