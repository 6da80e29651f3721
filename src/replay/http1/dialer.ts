import { fstatSync } from 'node:fs';
import { isIP, type LookupFunction, Socket, type SocketConstructorOpts } from 'node:net';
import type { buildConnector } from 'undici';
import { type FencedAddresses, fencedLookup, NO_ADDRESS_FENCED } from '../guards.ts';
import type { Descriptor } from '../launch-pad.ts';
import type { LoopTime } from '../loop-time.ts';
import { afterHearing } from '../sure-timer.ts';
import { type CertificateRules, trustOf } from '../target-certificates.ts';

export interface DialOptions extends CertificateRules {
  readonly origin: string;
  /** Path of a unix socket that is the target in place of the origin's host; null without one. */
  readonly socketPath: string | null;
  readonly connectTimeoutMs: number;
  /** Addresses that no connection goes to, whatever the target's name means; left out for none. */
  readonly fenced?: FencedAddresses;
}

/** What a socket tells from its first connect on. A view of bytes is valid during the call only. */
export interface SocketTaker {
  onBytes(bytes: Buffer): void;
  /** It is about to be closed. */
  onClosing(): void;
}

/** A plain one: whoever uses its descriptor beside it hears before that is given back. */
class PlainSocket extends Socket {
  readonly #taker: SocketTaker;

  constructor(options: SocketConstructorOpts, taker: SocketTaker) {
    super(options);
    this.#taker = taker;
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#taker.onClosing();
    super._destroy(error, callback);
  }
}

/**
 * What the process knows a connected plain socket by; null where there is no such thing. Node names the number of a
 * descriptor nowhere else.
 */
export function descriptorOf(socket: Socket): Descriptor | null {
  if (!(socket instanceof PlainSocket)) return null;
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
  return fd >= 0 ? { fd, inode: fstatSync(fd).ino } : null;
}

/** What is read from any connection of this thread is read into here, looked at and forgotten. */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

/** Opens sockets to the target: plain ones read without an allocation, TLS ones are undici's. */
export class Dialer {
  readonly #options: DialOptions;
  readonly #loopTime: LoopTime;
  readonly #origin: URL;
  readonly #lookup: LookupFunction;
  #connectTls: Promise<buildConnector.connector> | null = null;

  /** @param loopTime what an attempt has its time of */
  constructor(options: DialOptions, loopTime: LoopTime) {
    this.#options = options;
    this.#loopTime = loopTime;
    this.#origin = new URL(options.origin);
    this.#lookup = fencedLookup(options.fenced ?? NO_ADDRESS_FENCED);
  }

  /** As a `Host` header has it. */
  get authority(): string {
    return this.#origin.host;
  }

  /** `done` is called once, never before this returns; the answer ends an attempt that is not wanted any more. */
  dial(
    address: string,
    taker: SocketTaker,
    done: (error: Error | null, socket: Socket | null) => void,
  ): () => void {
    return this.#origin.protocol === 'https:'
      ? this.#dialTls(address, taker, done)
      : this.#dialPlain(address, taker, done);
  }

  #dialPlain(
    address: string,
    taker: SocketTaker,
    done: (error: Error | null, socket: Socket | null) => void,
  ): () => void {
    const { socketPath } = this.#options;
    const onread = {
      buffer: READ_BUFFER,
      callback: (length: number): boolean => {
        taker.onBytes(READ_BUFFER.subarray(0, length));
        return true;
      },
    };
    const socket = new PlainSocket({ onread }, taker);
    if (socketPath !== null) socket.connect({ path: socketPath });
    else
      socket
        .setNoDelay(true)
        .connect({ port: Number(this.#origin.port || 80), host: address, lookup: this.#lookup });
    const settled = this.#timeOut(() => socket.destroy(new ConnectTimeout()));
    const failed = (error: Error): void => {
      settled();
      done(error, null);
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      settled();
      socket.off('error', failed);
      done(null, socket);
    });
    return () => {
      settled();
      socket.destroy();
    };
  }

  #dialTls(
    address: string,
    taker: SocketTaker,
    done: (error: Error | null, socket: Socket | null) => void,
  ): () => void {
    const { hostname, port, protocol } = this.#origin;
    // What TLS asks for and checks is the name, whichever of its addresses is meant; an address is no name.
    const isName = isIP(hostname.replace(/^\[|\]$/g, '')) === 0;
    let over = false;
    let dialing: unknown = null;
    let settled = (): void => undefined;
    const giveUp = (): void => {
      over = true;
      settled();
      if (dialing instanceof Socket) dialing.destroy();
    };
    const connected = (error: Error | null, socket: Socket | null): void => {
      if (over) {
        socket?.destroy();
        return;
      }
      over = true;
      settled();
      if (!socket) done(error ?? new Error('no socket'), null);
      else {
        socket.on('data', (bytes: Buffer) => taker.onBytes(bytes));
        done(null, socket);
      }
    };
    const at = { hostname: address, protocol, port, ...(isName ? { servername: hostname } : {}) };
    this.#connectTls ??= tlsConnector(this.#options);
    this.#connectTls.then(
      (connectTls) => {
        if (over) return;
        // Told by no type of undici's: the socket, which would be half open for as long as the target likes.
        dialing = connectTls(at, (error, socket) => connected(error, socket));
        settled = this.#timeOut(() => {
          giveUp();
          done(new ConnectTimeout(), null);
        });
      },
      (error: Error) => connected(error, null),
    );
    return giveUp;
  }

  /** Ends an attempt that takes too long, unless what it returns is called before. */
  #timeOut(end: () => void): () => void {
    return afterHearing(this.#loopTime, end, this.#options.connectTimeoutMs);
  }
}

/** Loaded where it is needed: 20 MB resident in each sender, and 0.2 s, that no plain target asks for. */
async function tlsConnector(options: DialOptions): Promise<buildConnector.connector> {
  const { buildConnector } = await import('undici');
  return buildConnector({
    allowH2: false,
    // Its own fires up to half a second early or late.
    timeout: 0,
    lookup: fencedLookup(options.fenced ?? NO_ADDRESS_FENCED),
    ...trustOf(options),
    ...(options.socketPath === null ? {} : { socketPath: options.socketPath }),
  });
}

class ConnectTimeout extends Error {
  readonly code = 'ETIMEDOUT';

  constructor() {
    super('the target did not accept the connection in time');
    this.name = 'ConnectTimeout';
  }
}
