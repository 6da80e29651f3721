import { type Clock, systemClock } from '../../src/core/clock.ts';
import {
  BatchReader,
  type ConnectionOptions,
  type PreparedRequest,
  packBatch,
} from '../../src/replay/engine/messages.ts';
import { AddressBook } from '../../src/replay/http/addresses.ts';
import {
  HttpClient,
  type SendEvents,
  type SendHandle,
  type Transport,
} from '../../src/replay/http/client.ts';
import type { SendEnd } from '../../src/replay/http/errors.ts';
import { Http2Client } from '../../src/replay/http/http2-client.ts';
import { afterwards } from './leftovers.ts';
import { prepared } from './prepared.ts';
import { RawServer, type Respond } from './raw-server.ts';

/** A raw server for one test. */
export async function serve(respond?: Respond): Promise<RawServer> {
  const server = await RawServer.start(respond);
  afterwards(() => server.close());
  return server;
}

/** A transport to `origin`. @param addresses the addresses to which the target's name resolves */
export function transportTo(
  origin: string,
  options: Partial<ConnectionOptions> = {},
  addresses?: readonly string[],
  clock: Clock = systemClock,
): HttpClient {
  const client = new HttpClient(optionsFor(origin, options), bookOf(origin, addresses, clock), clock);
  afterwards(() => client.close());
  return client;
}

/** The same by HTTP/2. */
export function http2To(
  origin: string,
  options: Partial<ConnectionOptions> = {},
  addresses?: readonly string[],
): Http2Client {
  const book = bookOf(origin, addresses, systemClock);
  const client = new Http2Client(optionsFor(origin, options), book, systemClock);
  afterwards(() => client.close());
  return client;
}

function bookOf(origin: string, addresses: readonly string[] | undefined, clock: Clock): AddressBook {
  const resolve = async (): Promise<readonly string[]> => addresses ?? [];
  return new AddressBook(new URL(origin).hostname, resolve, clock);
}

function optionsFor(origin: string, options: Partial<ConnectionOptions>): ConnectionOptions {
  return {
    origin,
    socketPath: null,
    connectTimeoutMs: 2_000,
    firstByteTimeoutMs: 5_000,
    idleTimeoutMs: 5_000,
    maxConnectionAgeMs: null,
    caPem: null,
    acceptAnyCertificate: false,
    ...options,
  };
}

/** A request as a sender has it when it is due. */
export function outgoing(parts: Parameters<typeof prepared>[2] = {}, index = 0): PreparedRequest {
  return new BatchReader(packBatch([prepared(index, 0, parts)])).read();
}

export interface Outcome {
  readonly events: readonly string[];
  readonly status: number | null;
  readonly bytes: number;
  readonly error: SendEnd | null;
  readonly reused: boolean;
  /** Of a gRPC call: its status code, or null if it ended without one. */
  readonly grpcStatus?: number | null;
}

/** Listens to the events of one request, from its start to its end. */
export function hearing(): { readonly listener: SendEvents; readonly outcome: Promise<Outcome> } {
  const outcome = Promise.withResolvers<Outcome>();
  const events: string[] = [];
  let status: number | null = null;
  let bytes = 0;
  let reused = false;
  const over = (error: SendEnd | null, call: Pick<Outcome, 'grpcStatus'> = {}): void =>
    outcome.resolve({ events, status, bytes, error, reused, ...call });
  const listener: SendEvents = {
    onStart: (reusedConnection) => {
      events.push('start');
      reused = reusedConnection;
    },
    onFirstWrite: () => undefined,
    onBodyWritten: () => events.push('body written'),
    onFirstByte: () => events.push('first byte'),
    onStatus: (got) => {
      events.push('status');
      status = got;
    },
    onData: (got) => {
      bytes += got.length;
    },
    onEnd: (grpcStatus) => {
      events.push('end');
      over(null, grpcStatus === undefined ? {} : { grpcStatus });
    },
    onError: (error) => {
      events.push('error');
      over(error);
    },
  };
  return { listener, outcome: outcome.promise };
}

/** Sends one request and waits for its end. */
export function play(
  transport: Transport,
  request: PreparedRequest,
  onHandle?: (handle: SendHandle) => void,
): Promise<Outcome> {
  const { listener, outcome } = hearing();
  const handle = transport.send(request, listener);
  onHandle?.(handle);
  return outcome;
}
