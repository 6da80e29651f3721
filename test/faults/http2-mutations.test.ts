import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { beforeAll, expect, it } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { type DrawnConnection, drawnMutant } from '../support/http2-mutants.ts';
import { imbalance } from '../support/imbalance.ts';
import { repeated } from '../support/long-form.ts';
import { startRecordedWire } from '../support/recorded-wire.ts';
import { local, upstreamServer } from '../support/wire-stage.ts';

/** Connections of each seed. */
const CONNECTIONS = repeated(1_500, 5_000);
const GROWTH_BYTES = 4 * 1024 * 1024;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

function wholeOf(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk));
  return new Promise((resolve) => socket.on('end', () => resolve(Buffer.concat(chunks))));
}

/** Writes the pieces as separate packets as far as that is possible. */
async function writeAll(socket: Socket, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
}

/** Sends mutated connections through a recorded wire, and makes sure that each arrives unchanged. */
async function played(seed: number, connections: number) {
  const random = new SeededRandom(seed);
  let current: DrawnConnection = { client: [], server: [] };
  let atServer: Promise<Buffer> = Promise.resolve(Buffer.alloc(0));
  const port = await upstreamServer((socket) => {
    socket.setNoDelay(true);
    atServer = wholeOf(socket);
    void writeAll(socket, current.server);
  });
  const failures: unknown[] = [];
  const wire = await startRecordedWire({
    target: local(port),
    onTapFailure: (error) => failures.push(error),
  });
  const before = heapBytes();
  for (let nth = 0; nth < connections; nth += 1) {
    current = drawnMutant(random);
    // Ended by the test in any case, so nothing is kept of it.
    const socket = connect({ port: wire.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    const atClient = wholeOf(socket);
    await writeAll(socket, current.client);
    const answered = await atClient;
    const asked = await atServer;
    expect({ nth, same: answered.equals(Buffer.concat(current.server)) }).toEqual({ nth, same: true });
    expect({ nth, same: asked.equals(Buffer.concat(current.client)) }).toEqual({ nth, same: true });
    if (!socket.closed) await once(socket, 'close');
  }
  await wire.settled();
  return { wire, failures, before };
}

/** The first connections load code and tables, which stay: no growth. */
beforeAll(() => played(0, 150));

it.each([1, 2, 3, 4])(
  'mutated connections of HTTP/2 pass unchanged, and each of their bytes is counted (seed %i)',
  async (seed) => {
    const { wire, failures, before } = await played(seed, CONNECTIONS);
    const reading = wire.border.read();
    expect(failures).toEqual([]);
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading).toMatchObject({ lost: {}, pending: { bytes: 0, turns: 0 }, unsettledConnections: 0 });
    expect(wire.border.streams.open).toBe(0);
    // Both are frequent: calls that were read to their end, and connections that could not be read.
    expect(wire.sink.exchanges.length).toBeGreaterThan(CONNECTIONS);
    expect(reading.omitted.unparsed?.exchanges).toBeGreaterThan(CONNECTIONS / 10);
    wire.sink.exchanges.length = 0;
    wire.sink.protocolUses.length = 0;
    expect(heapBytes() - before).toBeLessThan(GROWTH_BYTES);
  },
);
