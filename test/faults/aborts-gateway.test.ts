import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { leastOf, steady, worstOf } from '../support/readings.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { expectUnharmed } from './attacked-recording.ts';

const TOLD_MS = 250;
/**
 * Descriptors: when the forwarder closes the last of them is up to the machine; what leaks is never closed, or by a
 * last resort after ten seconds.
 */
const GIVEN_BACK = { timeout: 5_000 };
const BODY = '0123456789'.repeat(200);
const LENGTH = `HTTP/1.1 200 OK\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
const CHUNKED = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n${BODY.slice(0, 1_000)}\r\n3e8\r\n${BODY.slice(1_000)}\r\n0\r\n\r\n`;
/** Exchanges that are aborted at the same time. */
/** For what was written to have arrived when the cut comes. */
const PAUSE_MS = 5;

let upstream: Server;
let recording: RecordingProcess;
/** Who waits for the upstream's socket of a request, by its path. */
const waiting = new Map<string, (socket: Socket) => void>();

beforeAll(async () => {
  upstream = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      const path = /^\w+ (\/\d+) /.exec(chunk.toString('latin1', 0, 40))?.[1] ?? '';
      waiting.get(path)?.(socket);
      waiting.delete(path);
    });
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const { port } = upstream.address() as AddressInfo;
  const flags = ['--mode', 'gateway', '--probe-listen', 'off', '--drain-delay', '0s'];
  recording = await startRecording(port, `${temporaryDirectory()}/capture`, flags);
});

afterAll(() => upstream.close());

interface Asked {
  readonly client: Socket;
  readonly upstream: Socket;
  readonly received: () => string;
}

let paths = 0;

/** A request on a connection of its own that has reached the upstream, as far as it was sent. */
async function ask(rest = '\r\n\r\n', method = 'GET'): Promise<Asked> {
  const path = `/${paths++}`;
  const arrived = new Promise<Socket>((resolve) => waiting.set(path, resolve));
  const client = connect({ port: recording.port, host: '127.0.0.1', noDelay: true });
  let received = '';
  client.on('error', () => undefined);
  client.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1');
  });
  client.write(`${method} ${path} HTTP/1.1\r\nHost: m${rest}`);
  return { client, upstream: await arrived, received: () => received };
}

function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** How long after `act` the socket is closed. */
async function closedAfterMs(socket: Socket, act: () => void): Promise<number> {
  const closed = closeOf(socket);
  const fromNs = systemClock.nowNs();
  act();
  await closed;
  return (systemClock.nowNs() - fromNs) / 1e6;
}

function descriptors(): number {
  return readdirSync(`/proc/${recording.children().proxy}/fd`).length;
}

describe.each([
  ['a length', LENGTH],
  ['chunks', CHUNKED],
])('an answer of 2 KB in %s that is cut at every byte', (_, answer) => {
  it.each(['reset', 'end'] as const)(
    'by a %s of the upstream: never whole, and told in time',
    async (how) => {
      const headEnd = answer.indexOf('\r\n\r\n') + 4;
      const worst = await worstOf(answer.length, TOLD_MS, async (bytes) => {
        const asked = await ask();
        asked.upstream.write(answer.slice(0, bytes));
        await sleep(PAUSE_MS);
        const fromNs = systemClock.nowNs();
        if (how === 'reset') asked.upstream.resetAndDestroy();
        else asked.upstream.end();
        const told = () => asked.client.destroyed || asked.received().startsWith('HTTP/1.1 502');
        while (!told()) await sleep(1);
        const ms = (systemClock.nowNs() - fromNs) / 1e6;
        const received = asked.received();
        // Before the head is whole there is an answer to give; after it, only what came, and never its end.
        if (bytes < headEnd) expect(received).toMatch(/^HTTP\/1\.1 502 /);
        else {
          expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n|^$/);
          // How a chunked body is cut into chunks is the gateway's own.
          if (answer === LENGTH) expect(received).not.toContain(BODY);
          expect(received).not.toMatch(/\r\n0\r\n\r\n$/);
        }
        asked.client.destroy();
        return ms;
      });
      expect(worst).toBeLessThan(TOLD_MS);
    },
  );

  it('by a client that resets: the upstream is told in time', async () => {
    const worst = await worstOf(answer.length - 1, TOLD_MS, async (bytes) => {
      const asked = await ask();
      asked.upstream.write(answer.slice(0, bytes));
      await sleep(PAUSE_MS);
      return await closedAfterMs(asked.upstream, () => asked.client.resetAndDestroy());
    });
    expect(worst).toBeLessThan(TOLD_MS);
  });
});

/** Where an exchange stands when its client goes: with what is left to be sent, and what was answered. */
const PHASES: readonly (() => Promise<Asked>)[] = [
  async () => await ask(),
  async () => await ask('\r\nContent-Length: 9\r\n\r\nbody', 'POST'),
  async () => await ask('\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n', 'DELETE'),
  async () => {
    const asked = await ask();
    asked.upstream.write(LENGTH.slice(0, 300));
    await sleep(PAUSE_MS);
    return asked;
  },
];

describe('a thousand aborts', () => {
  it('in every phase, by ends and resets, are told in time and leave no descriptor behind', async () => {
    const baseline = await steady(descriptors);
    const worst = await worstOf(1_000, TOLD_MS, async (n) => {
      const asked = await (PHASES[n % PHASES.length] as () => Promise<Asked>)();
      return await closedAfterMs(asked.upstream, () => {
        if (n % 3 === 0) asked.client.destroy();
        else asked.client.resetAndDestroy();
      });
    });
    expect(worst).toBeLessThan(TOLD_MS);
    await expect.poll(() => descriptors() - baseline, GIVEN_BACK).toBeLessThanOrEqual(2);
  });

  it('of uploads that the upstream does not read, and of answers that the client does not', async () => {
    const baseline = await steady(descriptors);
    for (let round = 0; round < 2; round += 1) {
      const upload = await ask('\r\nContent-Length: 200000000\r\n\r\n', 'POST');
      upload.upstream.pause();
      upload.client.write(Buffer.alloc(200_000_000));
      await sleep(800);
      // A paused socket hears nothing of its end: it is looked at once it reads on.
      upload.client.resetAndDestroy();
      await sleep(TOLD_MS);
      upload.upstream.resume();
      await Promise.race([closeOf(upload.upstream), sleep(2_000)]);
      expect(upload.upstream.destroyed).toBe(true);
      const toldMs = await leastOf(TOLD_MS, async () => {
        const download = await ask();
        download.client.pause();
        download.upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n');
        download.upstream.write(Buffer.alloc(200_000_000));
        await sleep(800);
        return await closedAfterMs(download.upstream, () => download.client.resetAndDestroy());
      });
      expect(toldMs).toBeLessThan(TOLD_MS);
    }
    await expect.poll(() => descriptors() - baseline, GIVEN_BACK).toBeLessThanOrEqual(2);
  });
});

describe('an upload that has stood still for longer than a few looks at it', () => {
  it('gives its descriptors back when its client resets, though the upstream never reads on', async () => {
    const baseline = await steady(descriptors);
    const upload = await ask('\r\nContent-Length: 200000000\r\n\r\n', 'POST');
    upload.upstream.pause();
    upload.client.write(Buffer.alloc(200_000_000));
    await sleep(3_000);
    upload.client.resetAndDestroy();
    await expect.poll(() => descriptors() - baseline, { timeout: 5_000 }).toBeLessThanOrEqual(0);
    upload.upstream.destroy();
  });
});

describe('the recorder in the middle of it', () => {
  it('ends with nobody harmed and its account whole', async () => {
    expect((await expectUnharmed(recording)).exchanges).toBe(paths);
  });
});
