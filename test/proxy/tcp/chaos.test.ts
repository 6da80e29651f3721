import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../../src/core/random.ts';
import type { Endpoint } from '../../../src/proxy/net/endpoint.ts';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../../support/certificate.ts';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { startRecordedWire } from '../../support/recorded-wire.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { local } from '../../support/wire-stage.ts';

const CONNECTIONS = 50;
const PIECES = 8;

/** From 0 to below 1. */
function shareOf(random: SeededRandom): number {
  return random.nextUint32() / 2 ** 32;
}

/** What a peer sent and got, and how it left. */
class Peer {
  sent = 0;
  got = 0;
  /** It was told that the other side has ended. */
  ended = false;
  /** It ended in good order itself. */
  leftWhole = false;
  readonly #sentHash = createHash('sha1');
  readonly #gotHash = createHash('sha1');
  readonly #stream: Socket;
  readonly #random: SeededRandom;

  constructor(stream: Socket, random: SeededRandom) {
    this.#stream = stream;
    this.#random = random;
    stream.on('error', () => undefined);
    stream.on('end', () => {
      this.ended = true;
    });
    stream.on('data', (chunk: Buffer) => {
      this.got += chunk.length;
      this.#gotHash.update(chunk);
    });
  }

  /** Sends pieces of any size, stalls now and then, and leaves in one of three ways; by the end most often. */
  async live(): Promise<void> {
    const dice = () => shareOf(this.#random);
    const leaving = Math.floor(dice() * PIECES * 3);
    for (let piece = 0; piece < PIECES && !this.#stream.destroyed; piece += 1) {
      if (piece === leaving) {
        if (dice() < 0.5) this.#stream.destroy();
        else this.#reset();
        return;
      }
      const bytes = Buffer.alloc(Math.floor(dice() ** 6 * 400_000) + 1, piece);
      if (dice() < 0.2) this.#stream.pause();
      this.#stream.write(bytes);
      this.sent += bytes.length;
      this.#sentHash.update(bytes);
      await sleep(dice() * 4);
      this.#stream.resume();
    }
    this.leftWhole = !this.#stream.destroyed;
    this.#stream.end();
  }

  get digests(): { sent: string; got: string } {
    return { sent: this.#sentHash.copy().digest('hex'), got: this.#gotHash.copy().digest('hex') };
  }

  #reset(): void {
    const { encrypted } = this.#stream as Socket & { encrypted?: boolean };
    if (encrypted || this.#stream.remoteAddress === undefined) this.#stream.destroy();
    else this.#stream.resetAndDestroy();
  }
}

type Kind = 'tcp' | 'tls' | 'unix';

async function startUpstream(kind: Kind, onStream: (stream: Socket) => void): Promise<Endpoint> {
  const path = `${temporaryDirectory()}/up.sock`;
  const options = { allowHalfOpen: true, cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM };
  const server = kind === 'tls' ? createTlsServer(options, onStream) : createServer(options, onStream);
  server.listen(kind === 'unix' ? { path } : { port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  afterwards(() => server.close());
  return kind === 'unix' ? { kind, path } : local((server.address() as AddressInfo).port, kind === 'tls');
}

describe('peers that do as they like', () => {
  it.each([
    ['tcp', 'tcp', 1],
    ['tls', 'tls', 3],
    ['unix', 'tcp', 4],
    ['tcp', 'unix', 5],
  ] as const)(
    'over %s to %s: every connection ends, and what ended whole came whole',
    async (from, to, seed) => {
      const random = new SeededRandom(seed);
      const upstreams = new Map<string, Peer>();
      const lives: Promise<void>[] = [];
      const target = await startUpstream(to, (stream) => {
        let named = false;
        // The first byte says which client it belongs to.
        stream.once('data', (chunk: Buffer) => {
          named = true;
          const peer = new Peer(stream, new SeededRandom(seed * 1_000 + upstreams.size));
          upstreams.set(chunk.toString('latin1', 0, 4), peer);
          peer.got -= 4;
          stream.unshift(chunk);
          lives.push(peer.live());
        });
        stream.on('error', () => undefined);
        // A client that left before it had said a word has no peer who would end this side.
        stream.on('end', () => !named && stream.end());
      });
      const listen: Endpoint =
        from === 'unix'
          ? { kind: 'unix', path: `${temporaryDirectory()}/in.sock` }
          : local(0, from === 'tls');
      const wire = await startRecordedWire({
        listen,
        target,
        tls: mountedSecret(),
        upstreamTls: { caPath: null, serverName: null, verify: false },
      });
      const where = listen.kind === 'unix' ? { path: listen.path } : { port: wire.port, host: '127.0.0.1' };
      const clients = new Map<string, Peer>();
      for (let index = 0; index < CONNECTIONS; index += 1) {
        const socket = connect({ ...where, allowHalfOpen: true });
        const stream = from === 'tls' ? connectTls({ socket, rejectUnauthorized: false }) : socket;
        socket.on('error', () => undefined);
        const peer = new Peer(stream, random);
        const name = String(index).padStart(4, '0');
        stream.write(name);
        clients.set(name, peer);
        lives.push(peer.live());
        await sleep(shareOf(random) * 3);
      }
      await Promise.all(lives);
      await wire.settled();
      let whole = 0;
      for (const [name, upstream] of upstreams) {
        const client = clients.get(name) as Peer;
        if (client.ended && upstream.leftWhole) {
          expect([name, client.got]).toEqual([name, upstream.sent]);
          expect(client.digests.got).toBe(upstream.digests.sent);
          whole += 1;
        }
        if (upstream.ended && client.leftWhole) expect([name, upstream.got]).toEqual([name, client.sent]);
        expect(client.got).toBeLessThanOrEqual(upstream.sent);
        expect(upstream.got).toBeLessThanOrEqual(client.sent);
      }
      expect(whole).toBeGreaterThan(CONNECTIONS / 10);
      expect(imbalance(wire.ledger.read())).toEqual({ bytes: 0, turns: 0 });
      expect(wire.forwarder.connections.open).toBe(0);
    },
  );
});
