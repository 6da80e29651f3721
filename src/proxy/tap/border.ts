import { LIMITS } from '../../core/limits.ts';
import type { Guard } from '../../core/ports.ts';
import { mayBeginWithSettings, PREFACE } from '../../http2/frames.ts';
import type { Counters, CountersReading, Fate, Passed } from './counters.ts';
import { QueueShare } from './frame-queue.ts';
import { type CloseCause, type ConnectionOrigin, UNKNOWN_ORIGIN } from './frames.ts';
import { Http2Streams, type StreamsHost } from './http2-streams.ts';
import type { ConnectionTap, RecorderClient } from './recorder-client.ts';

const TAP_FAILED: Fate = { kind: 'lost', because: 'tap_failed' };

interface BorderDeps {
  readonly client: RecorderClient;
  readonly counters: Counters;
  readonly guard: Guard;
  /** Called for an exception that ended the recording of one connection. */
  readonly onTapFailure: (error: unknown) => void;
}

/**
 * The border between forwarding and recording. The data planes know nothing else of the recording, and nothing that they
 * call here throws. An exception ends the recording of the connection. If that fails too, the recording of the process
 * has failed, and the guard is told.
 *
 * All bytes that pass are also counted here, by additions that cannot fail. What an exception kept from being counted
 * behind the border is lost.
 */
export class Border {
  /** Only the taps write it. */
  readonly passed: Passed = { bytes: 0, missedTurns: 0 };
  /** What is counted behind the border. */
  readonly seen: Counters['seen'];
  /** Streams of HTTP/2 that are followed at present. */
  readonly streams = { open: 0 };
  readonly #deps: BorderDeps;
  /** Whether something was thrown, so that counts behind the border may lack something. */
  #torn = false;

  constructor(deps: BorderDeps) {
    this.#deps = deps;
    this.seen = deps.counters.seen;
  }

  /**
   * A client connection begins, or an exchange that is fed as a separate connection.
   * @param resumes whether it may be recorded again after a loss; false for a single exchange
   * @param share what it uses of the queue, together with others of its client
   */
  open(origin: ConnectionOrigin = UNKNOWN_ORIGIN, resumes = true, share?: QueueShare): BorderTap {
    let tap: ConnectionTap | null = null;
    try {
      tap = this.#deps.client.open(origin, resumes, share);
    } catch (error) {
      this.lose(error, () => true);
    }
    return new BorderTap(this, tap);
  }

  /** A client connection begins whose protocol is not known. */
  openWire(origin: ConnectionOrigin = UNKNOWN_ORIGIN): WireTap {
    return new WireTap(this, origin);
  }

  /** @param giveUp ends the recording of a connection that has thrown. @returns whether that is news */
  lose(error: unknown, giveUp: () => boolean): void {
    this.#torn = true;
    this.#deps.guard.run(() => {
      if (giveUp()) this.#deps.onTapFailure(error);
    });
  }

  /** The counts behind the border may lack something from now on. */
  tear(): void {
    this.#torn = true;
  }

  /** The counts. Not to be called while something passes. */
  read(): CountersReading {
    if (this.#torn) this.#deps.counters.settleRest(this.passed, TAP_FAILED);
    return this.#deps.counters.read();
  }
}

/**
 * What a data plane reports of one client connection. Its methods never throw. Bytes may be kept, so they must not be
 * changed afterwards.
 */
export class BorderTap {
  readonly #border: Border;
  readonly #tap: ConnectionTap | null;
  #turnDue = true;

  constructor(border: Border, tap: ConnectionTap | null) {
    this.#border = border;
    this.#tap = tap;
  }

  /** Its number; null if it is not recorded. */
  get connection(): number | null {
    return this.#tap?.connection ?? null;
  }

  client(bytes: Buffer): void {
    const { passed, seen } = this.#border;
    const { turns } = seen;
    const isTurn = this.#turnDue;
    this.#turnDue = false;
    passed.bytes += bytes.length;
    try {
      this.#tap?.client(bytes);
      if (isTurn && this.#tap === null) passed.missedTurns += 1;
    } catch (error) {
      if (isTurn && seen.turns === turns) passed.missedTurns += 1;
      this.#lose(error);
    }
  }

  /** Client bytes of the current turn, even if its answer has already begun. */
  restOfTurn(bytes: Buffer): void {
    this.#border.passed.bytes += bytes.length;
    try {
      this.#tap?.restOfTurn(bytes);
    } catch (error) {
      this.#lose(error);
    }
  }

  server(bytes: Buffer): void {
    this.#border.passed.bytes += bytes.length;
    this.#turnDue = true;
    try {
      this.#tap?.server(bytes);
    } catch (error) {
      this.#lose(error);
    }
  }

  clientEnd(): void {
    this.attempt(() => this.#tap?.clientEnd());
  }

  serverEnd(): void {
    this.attempt(() => this.#tap?.serverEnd());
  }

  close(cause: CloseCause): void {
    try {
      this.#tap?.close(cause);
    } catch (error) {
      this.#lose(error, true);
    }
  }

  /** Runs work of the recording for this connection, such as the encoding of what it reports. */
  attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#lose(error);
    }
  }

  #lose(error: unknown, closes = false): void {
    this.#border.lose(error, () => this.#tap?.fail(this.#turnDue, closes) ?? true);
  }
}

const NO_BYTES: Buffer = Buffer.alloc(0);

/** The bytes of one client connection, and its ends. */
export type ByteTap = Pick<BorderTap, 'client' | 'server' | 'clientEnd' | 'serverEnd' | 'close'>;

/**
 * What the wire plane reports of one client connection. A connection that begins with the preface of HTTP/2 is followed
 * stream by stream; any other is fed as it is. Its methods never throw.
 */
export class WireTap implements ByteTap, StreamsHost {
  readonly streams: Border['streams'];
  readonly #border: Border;
  readonly #origin: ConnectionOrigin;
  /** The origin of each of its streams. */
  #ofStreams: ConnectionOrigin;
  /** Of the queue: a client that fills it is shed before the others, however many streams it opens. */
  #share: QueueShare | null = null;
  /** What the connection, or the rest of it, is fed to as it is. */
  #raw: BorderTap | null = null;
  #http2: Http2Streams | null = null;
  /** The first bytes of both sides, while they may be the beginning of HTTP/2. */
  #ofClient = NO_BYTES;
  #ofServer = NO_BYTES;

  constructor(border: Border, origin: ConnectionOrigin) {
    this.#border = border;
    this.#origin = origin;
    this.#ofStreams = origin;
    this.streams = border.streams;
  }

  open(clientConnection: number | null): BorderTap {
    if (clientConnection !== this.#ofStreams.clientConnection)
      this.#ofStreams = { ...this.#origin, clientConnection };
    this.#share ??= new QueueShare();
    return this.#border.open(this.#ofStreams, false, this.#share);
  }

  client(bytes: Buffer): void {
    if (this.#raw !== null) this.#raw.client(bytes);
    else if (this.#http2 !== null) this.#follow(this.#http2, 'client', bytes);
    else this.#begin(this.#ofClient.length === 0 ? bytes : Buffer.concat([this.#ofClient, bytes]));
  }

  server(bytes: Buffer): void {
    if (this.#raw !== null) this.#raw.server(bytes);
    else if (this.#http2 !== null) this.#follow(this.#http2, 'server', bytes);
    else {
      const first = Buffer.concat([this.#ofServer, bytes]);
      if (first.length <= LIMITS.unprefacedBytes && mayBeginWithSettings(first)) this.#ofServer = first;
      else this.#asItIs().server(bytes);
    }
  }

  clientEnd(): void {
    const streams = this.#followed;
    if (streams === null) this.#asItIs().clientEnd();
    else this.#attempt(streams, () => streams.end('client'));
  }

  serverEnd(): void {
    const streams = this.#followed;
    if (streams === null) this.#asItIs().serverEnd();
    else this.#attempt(streams, () => streams.end('server'));
  }

  close(cause: CloseCause): void {
    const streams = this.#followed;
    if (streams === null) this.#asItIs();
    else this.#attempt(streams, () => streams.close(cause));
    this.#raw?.close(cause);
  }

  /** Its streams, while they can be read. */
  get #followed(): Http2Streams | null {
    return this.#raw === null ? this.#http2 : null;
  }

  #begin(first: Buffer): void {
    const compared = Math.min(first.length, PREFACE.length);
    if (first[0] !== PREFACE[0] || PREFACE.compare(first, 0, compared, 0, compared) !== 0) {
      this.#ofClient = NO_BYTES;
      this.#asItIs().client(first);
    } else if (compared < PREFACE.length) this.#ofClient = Buffer.from(first);
    else {
      this.#http2 = new Http2Streams(this);
      // What the server announced may already hold for the client's first headers.
      if (this.#ofServer.length > 0) this.server(this.#ofServer);
      this.#ofClient = NO_BYTES;
      this.#ofServer = NO_BYTES;
      this.client(first.subarray(compared));
    }
  }

  #asItIs(): BorderTap {
    if (this.#raw !== null) return this.#raw;
    this.#raw = this.#border.open(this.#origin);
    if (this.#ofServer.length > 0) this.#raw.server(this.#ofServer);
    if (this.#ofClient.length > 0) this.#raw.client(this.#ofClient);
    this.#ofClient = NO_BYTES;
    this.#ofServer = NO_BYTES;
    return this.#raw;
  }

  /** What cannot be read is fed as it is, after the preface that tells the recorder what it is. */
  #follow(streams: Http2Streams, side: 'client' | 'server', bytes: Buffer): void {
    let read = 0;
    this.#attempt(streams, () => {
      read = streams.read(side, bytes);
    });
    if (read === bytes.length) return;
    if (this.#raw === null) {
      this.#raw = this.open(streams.clientConnection);
      this.#raw.client(PREFACE);
    }
    const rest = bytes.subarray(read);
    if (side === 'client') this.#raw.restOfTurn(rest);
    else this.#raw.server(rest);
  }

  /** An exception ends the recording of the connection: of its open streams, and of all that follows. */
  #attempt(streams: Http2Streams, work: () => void): void {
    try {
      work();
    } catch (error) {
      const fail = () => {
        throw error;
      };
      this.#raw = this.open(null);
      this.#raw.attempt(fail);
      this.#border.lose(error, () => {
        for (const tap of streams.abandon()) {
          (tap as BorderTap).attempt(fail);
          tap.close('server_reset');
        }
        return false;
      });
    }
  }
}
