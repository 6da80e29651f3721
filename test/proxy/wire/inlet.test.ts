import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { FRAME, FrameReader } from '../../../src/proxy/frames.ts';
import { SlabPool } from '../../../src/proxy/slab.ts';
import { Inlet, Intake, readThrough } from '../../../src/proxy/wire/inlet.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import {
  afterwards,
  client,
  everything,
  local,
  startWire,
  upstreamServer,
} from '../../support/wire-stage.ts';

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A pipe whose reader takes its time, and looks at what it was given only when it says that it has it. */
class LatePipe extends Duplex {
  readonly client = new Map<number, Buffer[]>();
  readonly server = new Map<number, Buffer[]>();
  readonly #random: SeededRandom;
  readonly #reader = new FrameReader(({ type, connection, payload }) => {
    const kept = type === FRAME.clientBytes ? this.client : type === FRAME.serverBytes ? this.server : null;
    if (kept) kept.set(connection, [...(kept.get(connection) ?? []), Buffer.from(payload)]);
  });

  constructor(random: SeededRandom) {
    super();
    this.#random = random;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    setTimeout(() => {
      this.#reader.push(chunk);
      done();
    }, this.#random.nextUint32() % 4);
  }
}

/** Sends all of it in pieces of any size, from one byte to a few reads' worth. */
async function pour(stream: Socket, bytes: Buffer, random: SeededRandom): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + (random.nextUint32() % 2 ** (random.nextUint32() % 20));
    if (!stream.write(bytes.subarray(at, at + length))) await once(stream, 'drain');
    at += length;
  }
  stream.end();
}

/** Reads to the end, and stops for a while now and then. */
async function sip(stream: Socket, random: SeededRandom): Promise<Buffer> {
  stream.on('data', () => {
    if (random.nextUint32() % 8 > 0) return;
    stream.pause();
    setTimeout(() => stream.resume(), random.nextUint32() % 12);
  });
  return everything(stream);
}

describe('what passes through memory that sockets, peers and the recorder share', () => {
  it.each([
    { seed: 1, recorder: 'reads' },
    { seed: 2, recorder: 'reads' },
    { seed: 3, recorder: 'reads' },
    { seed: 4, recorder: 'is not there' },
    { seed: 5, recorder: 'is not there' },
  ])(
    'comes out as it went in, through peers that stop reading, where the recorder $recorder ($seed)',
    async ({ seed, recorder }) => {
      const random = new SeededRandom(seed);
      const directory = temporaryDirectory();
      const targetPath = join(directory, 'target');
      const listenPath = join(directory, 'listen');
      let connections = 0;
      // An echo that reads by fits and starts: each connection waits in both directions.
      await upstreamServer((socket) => {
        socket.pipe(socket);
        connections += 1;
        const pauses = new SeededRandom(seed * 3_000 + connections);
        const stop = setInterval(() => {
          socket.pause();
          setTimeout(() => socket.resume(), pauses.nextUint32() % 10);
        }, 15);
        socket.on('close', () => clearInterval(stop));
      }, targetPath);
      const target = { kind: 'unix', path: targetPath } as const;
      const wire = await startWire({
        pairs: [
          { listen: { kind: 'unix', path: listenPath }, target },
          { listen: local(), target },
        ],
      });
      const pipe = new LatePipe(new SeededRandom(seed));
      if (recorder === 'reads') wire.link.attach(pipe);
      const tcp = wire.bound[1]?.kind === 'tcp' ? wire.bound[1].port : 0;
      const bodies = Array.from({ length: 16 }, (_, at) => {
        const bytes = Buffer.alloc(1 + (random.nextUint32() % (at % 2 === 0 ? 3_000_000 : 30_000)));
        for (let byte = 0; byte + 4 <= bytes.length; byte += 4)
          bytes.writeUInt32LE(random.nextUint32(), byte);
        return bytes;
      });
      const answers = await Promise.all(
        bodies.map(async (body, at) => {
          const stream = await client(at % 4 < 2 ? { path: listenPath } : tcp);
          const [sips, pours] = [new SeededRandom(seed * 1_000 + at), new SeededRandom(seed * 2_000 + at)];
          const [answer] = await Promise.all([sip(stream, sips), pour(stream, body, pours)]);
          return sha256(answer);
        }),
      );
      const sent = bodies.map(sha256);
      expect(answers).toEqual(sent);
      expect(await wire.forwarder.drain(5_000)).toBe(0);
      wire.link.queue.flush();
      while (wire.link.queue.heldBytes > 0) await sleep(5);
      while (wire.link.queue.pool.waiting.count > 0) await sleep(5);
      if (recorder === 'is not there') return;
      const recorded = (from: Map<number, Buffer[]>) =>
        [...from.values()].map((pieces) => sha256(Buffer.concat(pieces))).sort();
      expect([recorded(pipe.client), recorded(pipe.server)]).toEqual([[...sent].sort(), [...sent].sort()]);
    },
  );
});

describe('an accepted socket', () => {
  it('is read through an inlet, its options and its end kept', async () => {
    const intake = new Intake(new SlabPool());
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    afterwards(() => server.close());
    const address = server.address();
    const accepting = once(server, 'connection') as Promise<[Socket]>;
    const peer = await client(address !== null && typeof address === 'object' ? address.port : 0);
    const { socket, inlet } = readThrough(intake, (await accepting)[0]);
    afterwards(() => socket.destroy());
    if (inlet === null) throw new Error('this version of Node has no such handle');
    const heard = new Promise<string>((resolve) => {
      inlet.open(socket, (bytes) => {
        resolve(`${bytes.buffer === intake.shared.buffer} ${bytes.toString()}`);
        return true;
      });
    });
    peer.end('all of it');
    expect(await heard).toBe('true all of it');
    await once(socket, 'end');
    expect([socket.writable, socket.remotePort]).toEqual([true, peer.localPort]);
    socket.end('and back');
    expect((await everything(peer)).toString()).toBe('and back');
  });
});

describe('an inlet', () => {
  const full = Buffer.alloc(LIMITS.readBytes);

  /** What was read into, and whether it is to be read on. */
  function readInto(inlet: Inlet, bytes: number): { into: Uint8Array; goesOn: boolean } {
    const { buffer, callback } = inlet.onread;
    const into = typeof buffer === 'function' ? buffer() : buffer;
    return { goesOn: callback(Math.min(bytes, into.length), into), into };
  }

  function read(inlet: Inlet, bytes: number): Uint8Array {
    return readInto(inlet, bytes).into;
  }

  it('gets a slab to itself while it fills what it is read into, and so long as its bytes are wanted', () => {
    const intake = new Intake(new SlabPool());
    const inlet = new Inlet(intake);
    let wanted = true;
    const slabs: boolean[] = [];
    inlet.open(new Socket(), (_, slab) => {
      slabs.push(slab !== null);
      return wanted;
    });
    for (const bytes of [10, full.length, 10, full.length, full.length]) read(inlet, bytes);
    expect(slabs).toEqual([false, false, false, false, false]);
    for (const bytes of [LIMITS.slabBytes, 10, 10]) read(inlet, bytes);
    expect(slabs.splice(0)).toEqual([false, false, false, false, false, true, true, false]);
    wanted = false;
    for (let count = 0; count < 4; count += 1) read(inlet, full.length);
    expect(slabs).toEqual([false, false, false, false]);
  });

  it('ends its socket where what was read cannot be handed over: a hole in what passes would go unseen', () => {
    const inlet = new Inlet(new Intake(new SlabPool()));
    const socket = new Socket();
    inlet.open(socket, () => {
      throw new Error('planted');
    });
    expect(() => read(inlet, 10)).toThrow('planted');
    expect(socket.destroyed).toBe(true);
  });

  it('leaves others their turn after some reads, and goes on then unless it was paused', async () => {
    const inlet = new Inlet(new Intake(new SlabPool()));
    const socket = new Socket();
    let resumed = 0;
    socket.resume = () => {
      resumed += 1;
      return socket;
    };
    inlet.open(socket, () => true);
    const turn = () =>
      Array.from({ length: LIMITS.readsInRow }, () => readInto(inlet, LIMITS.slabBytes).goesOn);
    expect(turn()).toEqual([...Array(LIMITS.readsInRow - 1).fill(true), false]);
    expect(resumed).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(resumed).toBe(1);
    expect(turn().at(-1)).toBe(false);
    socket.pause();
    await new Promise((resolve) => setImmediate(resolve));
    expect(resumed).toBe(1);
  });

  it('gets none while as many writes wait in slabs as may, which is counted', async () => {
    const pool = new SlabPool();
    const intake = new Intake(pool);
    const stuck = new Writable({ write: () => undefined });
    stuck.write('something');
    for (let count = 0; count < LIMITS.waitingSlabs; count += 1) pool.waiting.add(stuck, pool.take());
    expect(intake.lend()).toBe(null);
    expect(pool.shortages).toBe(1);
    stuck.destroy();
    while (pool.waiting.count > 0) await sleep(5);
    expect(intake.lend()).not.toBe(null);
    expect(pool.shortages).toBe(1);
  });

  it('shares a number of slabs with all others, and gives its own back as it is closed', () => {
    const pool = new SlabPool();
    const intake = new Intake(pool);
    const inlets = Array.from({ length: LIMITS.intakeSlabs + 1 }, () => new Inlet(intake));
    // Over and over: what is given back after each read is there for the next.
    for (let count = 0; count < LIMITS.intakeSlabs * 2; count += 1)
      expect(read(inlets[0] as Inlet, LIMITS.slabBytes) === intake.shared).toBe(count < 2);
    for (const inlet of inlets.slice(1)) {
      read(inlet, full.length);
      read(inlet, full.length);
    }
    const last = inlets.at(-1) as Inlet;
    expect(read(last, full.length)).toBe(intake.shared);
    expect(pool.shortages).toBe(2);
    inlets[0]?.close();
    expect(read(last, full.length)).toBe(intake.shared);
    expect(read(last, 1)).not.toBe(intake.shared);
    expect(pool.shortages).toBe(2);
  });
});
