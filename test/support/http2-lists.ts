import { once } from 'node:events';
import {
  type ClientHttp2Session,
  connect,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
} from 'node:http2';
import { connect as connectSocket, createServer as createRelay, type Socket } from 'node:net';
import type { SeededRandom } from '../../src/core/random.ts';
import { type FrameListener, FrameReader, PREFACE } from '../../src/http2/frames.ts';
import { type FieldList, HpackDecoder } from '../../src/http2/hpack.ts';

const NAMES = [
  'x-model',
  'grpc-timeout',
  'x-request-id',
  'user-agent',
  'accept',
  'authorization',
  'traceparent',
];
const PRINTABLE = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at));

/** A value of an HTTP header, often one of a few. No blanks at its ends, which some libraries remove. */
function drawnValue(random: SeededRandom): string {
  if (random.below(3) > 0) return `value-${random.below(12)}`;
  const length = random.below(8) === 0 ? random.below(900) : random.below(40);
  const text = Array.from({ length }, () => PRINTABLE[random.below(95)]).join('');
  return `v${text}v`;
}

function drawnHeaders(random: SeededRandom): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let left = random.below(9); left > 0; left -= 1) {
    const name = random.below(5) === 0 ? `x-${random.below(60)}` : NAMES[random.below(NAMES.length)];
    headers[name as string] = drawnValue(random);
  }
  return headers;
}

/** The header lists of one direction, decoded from its bytes. */
class Direction implements FrameListener {
  readonly reader = new FrameReader(this);
  readonly decoder = new HpackDecoder();
  readonly lists: (FieldList | null)[] = [];
  #other: Direction | null = null;

  follows(other: Direction): void {
    this.#other = other;
  }

  headers(_: number, block: Buffer): boolean {
    this.lists.push(this.decoder.decode(block));
    return true;
  }
  promised(): boolean {
    return true;
  }
  headerTableSize(bytes: number): void {
    this.#other?.decoder.allowTable(bytes);
  }
  dataBegins(): void {}
  data(): void {}
  dataEnds(): void {}
  reset(): void {}
  goAway(): void {}
}

export interface ListsSeen {
  /** As the peers' own library gave them. */
  readonly received: readonly FieldList[];
  /** As they were decoded from the bytes between the peers. */
  readonly decoded: readonly (FieldList | null)[];
}

/**
 * Sends drawn header lists through one connection of `node:http2`, as requests and as answers. The sizes of both header
 * tables are drawn, and changed on the way.
 */
export async function listsThroughNode(random: SeededRandom, requests: number): Promise<ListsSeen> {
  const received: FieldList[][] = [[], []];
  const directions = [new Direction(), new Direction()] as const;
  directions[0].follows(directions[1]);
  directions[1].follows(directions[0]);
  const tableSize = () => [0, 50, 300, 4_096, 20_000, 65_536][random.below(6)] as number;
  const server = createServer({ settings: { headerTableSize: tableSize() } });
  const sessions: (ServerHttp2Session | ClientHttp2Session)[] = [];
  server.on('session', (session) => void sessions.push(session));
  server.on('stream', (stream, _headers: IncomingHttpHeaders, _flags: number, raw: string[]) => {
    received[0]?.push(raw);
    stream.respond({ ':status': 200 + random.below(3) * 3, ...drawnHeaders(random) }, { endStream: true });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as { port: number };
  const { relay, relayPort } = await relayTo(port, directions);
  const client = connect(`http://127.0.0.1:${relayPort}`, { settings: { headerTableSize: tableSize() } });
  sessions.push(client);
  await once(client, 'connect');
  for (let sent = 0; sent < requests; ) {
    const batch = Math.min(requests - sent, 1 + random.below(20));
    if (random.below(4) === 0)
      sessions[random.below(sessions.length)]?.settings({ headerTableSize: tableSize() });
    await Promise.all(
      Array.from({ length: batch }, async () => {
        const request = client.request({ ':path': `/${random.below(9)}`, ...drawnHeaders(random) });
        request.on('response', (_headers, _flags: number, raw: string[]) => void received[1]?.push(raw));
        await once(request.resume(), 'close');
      }),
    );
    sent += batch;
  }
  client.close();
  await once(client, 'close');
  server.close();
  relay.close();
  return {
    received: received.flat(),
    decoded: [...directions[0].lists, ...directions[1].lists],
  };
}

async function relayTo(port: number, [fromClient, fromServer]: readonly [Direction, Direction]) {
  const relay = createRelay((client) => {
    const server = connectSocket(port, '127.0.0.1');
    let skipped = 0;
    pass(client, server, (bytes) => {
      const rest = bytes.subarray(Math.min(bytes.length, PREFACE.length - skipped));
      skipped += bytes.length - rest.length;
      fromClient.reader.read(rest);
    });
    pass(server, client, (bytes) => void fromServer.reader.read(bytes));
  });
  await once(relay.listen(0, '127.0.0.1'), 'listening');
  return { relay, relayPort: (relay.address() as { port: number }).port };
}

/** What is read is decoded only after it was sent on, so that no answer is read before its request. */
function pass(from: Socket, to: Socket, look: (bytes: Buffer) => void): void {
  from.on('data', (bytes: Buffer) => {
    to.write(bytes);
    look(bytes);
  });
  from.on('end', () => to.end());
  from.on('error', () => to.destroy());
}
