import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { NOTHING_EXPECTED } from './expected-answer.ts';
import type { Transport } from './http/client.ts';
import { WAKE_LEAD_NS } from './pacer-thread.ts';
import { packBatch, type SendBatch } from './send-batch.ts';
import type { Sender } from './sender.ts';

const REQUESTS = 400;
/** Closer than the sender waits awake: no pacer runs yet that would wake it. */
const GAP_NS = WAKE_LEAD_NS / 2;
const RESPONSE = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const BODY = Buffer.alloc(1_024, 'rehearsal ');

/** Builds the sender that is to be warmed up: the real one, aimed at `origin`. */
export type BuildSender = (origin: string, onOver: () => void) => { sender: Sender; transport: Transport };

/**
 * Plays some hundred requests against a listener of our own on the loopback interface. Code that
 * runs for the first time takes milliseconds where it later takes microseconds: without this the first dozens
 * of sends of every run would be late by up to 6 ms. The target sees nothing of it.
 */
export async function rehearse(build: BuildSender): Promise<void> {
  const server = answeringServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const over = Promise.withResolvers<void>();
  const { sender, transport } = build(`http://127.0.0.1:${port}`, over.resolve);
  sender.accept(batchOf(REQUESTS));
  sender.finish();
  await over.promise;
  transport.close();
  server.close();
  await once(server, 'close');
}

/** Answers whenever a whole request may have come; nobody here looks at the answers. */
function answeringServer(): Server {
  return createServer((socket) => {
    let left = 0;
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      if (left === 0) left = chunk.indexOf('\r\n\r\n') + 4 + BODY.length;
      left -= chunk.length;
      if (left === 0) socket.write(RESPONSE);
    });
  });
}

function batchOf(count: number): SendBatch {
  return packBatch(
    Array.from({ length: count }, (_, index) => ({
      index,
      intendedOffsetNs: index * GAP_NS,
      method: 'POST',
      path: '/rehearsal',
      headers: ['Content-Type', 'application/octet-stream', 'Accept', '*/*'],
      body: BODY,
      chunked: false,
      answer: NOTHING_EXPECTED,
    })),
  );
}
