import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import {
  client,
  failure,
  local,
  startWire,
  upstreamServer,
  type WireStage,
} from '../../support/wire-stage.ts';

const MIB = 1024 * 1024;

interface Joined {
  readonly wire: WireStage;
  readonly client: Socket;
  readonly upstream: Socket;
}

/** A client and an upstream socket with a wire between them, neither read nor written yet. */
async function joined(): Promise<Joined> {
  const accepted = Promise.withResolvers<Socket>();
  const port = await upstreamServer((socket) => accepted.resolve(socket.pause()));
  const wire = await startWire({ target: local(port) });
  const ours = await client(wire.port);
  return { wire, client: ours.pause(), upstream: await accepted.promise };
}

/** Writes without end until the kernel takes no more for a while. */
async function fill(socket: Socket): Promise<void> {
  let drained = true;
  socket.on('drain', () => {
    drained = true;
  });
  for (let idle = 0; idle < 4; ) {
    if (drained) {
      drained = socket.write(Buffer.alloc(4 * MIB));
      idle = 0;
    } else idle += 1;
    await sleep(25);
  }
}

/** What the socket heard of a reset after `act`. How soon it hears, `test/faults/aborts-wire.test.ts` measures. */
async function toldAfter(socket: Socket, act: () => void): Promise<string | undefined> {
  const failed = failure(socket);
  act();
  // A socket that was told of an end hears nothing more by itself: it finds out when it writes.
  const asking = setInterval(() => socket.readableEnded && socket.write(''), 5);
  const { code } = await failed;
  clearInterval(asking);
  return code;
}

async function settled({ wire }: Joined): Promise<void> {
  while (wire.forwarder.connections.open > 0) await sleep(5);
  expect(imbalance(wire.ledger.read())).toEqual({ bytes: 0, turns: 0 });
}

/** What each side did before the other was reset; afterwards the other side reads, and hears of it. */
const PHASES: Readonly<Record<string, (stage: Joined) => Promise<unknown>>> = {
  'before a byte': async () => undefined,
  'within a request': async (stage) => {
    stage.client.write('POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345');
    await once(stage.upstream.resume(), 'data');
  },
  'while the answer is awaited': async (stage) => {
    stage.client.write('GET / HTTP/1.1\r\n\r\n');
    await once(stage.upstream.resume(), 'data');
  },
  'within an answer': async (stage) => {
    stage.upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345');
    await once(stage.client.resume(), 'data');
  },
  'after the client said it ends': async (stage) => {
    stage.client.end('GET / HTTP/1.1\r\n\r\n');
    await once(stage.upstream.resume(), 'end');
  },
  'after the upstream said it ends': async (stage) => {
    stage.upstream.end('HTTP/1.1 200 OK\r\n\r\nall');
    await once(stage.client.resume(), 'end');
  },
  'while the upstream does not read': (stage) => fill(stage.client),
  'while the client does not read': (stage) => fill(stage.upstream),
  'while neither reads': (stage) => Promise.all([fill(stage.client), fill(stage.upstream)]),
};

describe('a reset is passed on', () => {
  it.each(Object.keys(PHASES))('of the client, %s', async (phase) => {
    const stage = await joined();
    await PHASES[phase]?.(stage);
    const told = await toldAfter(stage.upstream.resume(), () => stage.client.resetAndDestroy());
    expect(told).toMatch(/ECONNRESET|EPIPE/);
    await settled(stage);
  });

  it.each(Object.keys(PHASES).filter((phase) => phase !== 'after the upstream said it ends'))(
    'of the upstream, %s',
    async (phase) => {
      const stage = await joined();
      await PHASES[phase]?.(stage);
      const told = await toldAfter(stage.client.resume(), () => stage.upstream.resetAndDestroy());
      expect(told).toMatch(/ECONNRESET|EPIPE/);
      await settled(stage);
    },
  );
});

describe('asking a side that is not read', () => {
  it('holds no more of an upload than the sockets do, however long it stalls', async () => {
    const stage = await joined();
    stage.client.write(Buffer.alloc(200 * MIB));
    await sleep(200);
    const seenBytes = () => stage.wire.ledger.read().seen.bytes;
    // On a busy host the sockets take longer to fill; a wire that held what they do not would never stop.
    for (let before = -1; before !== seenBytes(); ) {
      before = seenBytes();
      await sleep(1_000);
      expect(seenBytes()).toBeLessThan(32 * MIB);
    }
  });

  it('sends nothing: a stalled answer arrives whole, and so does the end behind it', async () => {
    const stage = await joined();
    const answer = Buffer.alloc(16 * MIB, 'abcdefg');
    stage.upstream.end(answer);
    await sleep(600);
    const chunks: Buffer[] = [];
    stage.client.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(stage.client.resume(), 'end');
    expect(Buffer.concat(chunks).equals(answer)).toBe(true);
    stage.client.end();
    await settled(stage);
  });
});
