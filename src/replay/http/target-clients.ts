import type { SenderConnections } from '../engine/health.ts';
import type { ExpectedProtocols, PreparedRequest } from '../engine/messages.ts';
import type { HttpClient, SendEvents, SendHandle, Transport } from './client.ts';

/** Sends by one protocol to one target. */
type ProtocolClient = Transport & Pick<HttpClient, 'use'>;

/** Makes the clients of a target: for HTTP/1.1, for HTTP/2, and for gRPC calls if these go elsewhere. */
export interface ClientMakers {
  readonly http1: () => ProtocolClient;
  readonly http2: () => ProtocolClient;
  /** Null if gRPC calls go to the same target. */
  readonly grpc: (() => ProtocolClient) | null;
}

/** Sends each request by the protocol by which it was recorded. A client is made when it is first needed. */
export class TargetClients implements Transport {
  readonly #makers: ClientMakers;
  readonly #warming: ExpectedProtocols;
  readonly #clients = new Map<keyof ClientMakers, ProtocolClient>();

  constructor(makers: ClientMakers, warming: ExpectedProtocols) {
    this.#makers = makers;
    this.#warming = warming;
  }

  send(request: PreparedRequest, events: SendEvents): SendHandle {
    const { http2 = null } = request;
    if (http2 === null) return this.#client('http1').send(request, events);
    return this.#client(this.#kindOf(http2.grpc)).send(request, events);
  }

  async warm(count: number): Promise<void> {
    const kinds = new Set<keyof ClientMakers>();
    if (this.#warming.http1) kinds.add('http1');
    if (this.#warming.http2) kinds.add('http2');
    if (this.#warming.grpc) kinds.add(this.#kindOf(true));
    await Promise.all([...kinds].map((kind) => this.#client(kind).warm(count)));
  }

  openAhead(count: number): boolean {
    return this.#clients.get('http1')?.openAhead(count) ?? false;
  }

  /** The counts of each client. */
  uses(): SenderConnections[] {
    return [...this.#clients.values()].flatMap((client) => client.use());
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  #kindOf(grpc: boolean): 'http2' | 'grpc' {
    return grpc && this.#makers.grpc !== null ? 'grpc' : 'http2';
  }

  #client(kind: keyof ClientMakers): ProtocolClient {
    const known = this.#clients.get(kind);
    if (known !== undefined) return known;
    const client = (this.#makers[kind] ?? this.#makers.http2)();
    this.#clients.set(kind, client);
    return client;
  }
}
