import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { PREFACE } from '../../src/http2/frames.ts';
import { HpackEncoder } from '../support/hpack-encoder.ts';
import { headerFrames, settingsFrame } from '../support/http2-frames.ts';
import { imbalance } from '../support/imbalance.ts';
import { afterwards } from '../support/leftovers.ts';
import { type RecordedWire, startRecordedWire } from '../support/recorded-wire.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { client, everything, local, upstreamServer } from '../support/wire-stage.ts';

const MIB = 1024 * 1024;

interface Step {
  readonly say: string;
  readonly hear: string;
}

/** Messages as they lie on the wire; each step waits for the one before. */
const CONVERSATIONS: readonly {
  readonly name: string;
  readonly steps: readonly Step[];
  /** The upstream ends after the last step. */
  readonly closes?: boolean;
  readonly statuses: readonly number[];
}[] = [
  {
    name: 'Expect: 100-continue, whose body waits for the word',
    steps: [
      {
        say: 'PUT /m HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n',
        hear: 'HTTP/1.1 100 Continue\r\n\r\n',
      },
      { say: 'body', hear: 'HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok' },
    ],
    statuses: [201],
  },
  {
    name: 'Expect: 100-continue that is refused',
    steps: [
      {
        say: 'PUT /m HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n',
        hear: 'HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n',
      },
    ],
    closes: true,
    statuses: [417],
  },
  {
    name: 'trailers both ways',
    steps: [
      {
        say: 'POST /t HTTP/1.1\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n',
        hear: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n',
      },
    ],
    statuses: [200],
  },
  {
    name: 'HEAD, 204 and 304, whose lengths are of nothing',
    steps: [
      { say: 'HEAD /a HTTP/1.1\r\n\r\n', hear: 'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n' },
      { say: 'DELETE /b HTTP/1.1\r\n\r\n', hear: 'HTTP/1.1 204 No Content\r\n\r\n' },
      {
        say: 'GET /c HTTP/1.1\r\nIf-None-Match: x\r\n\r\n',
        hear: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n',
      },
    ],
    statuses: [200, 204, 304],
  },
  {
    name: 'a body that ends with the connection',
    steps: [{ say: 'GET /old HTTP/1.0\r\n\r\n', hear: 'HTTP/1.0 200 OK\r\n\r\nall there is' }],
    closes: true,
    statuses: [200],
  },
  {
    name: 'pipelined requests',
    steps: [
      {
        say: 'GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\ntwoGET /3 HTTP/1.1\r\n\r\n',
        hear: 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 202 OK\r\nContent-Length: 1\r\n\r\n2HTTP/1.1 203 OK\r\nContent-Length: 1\r\n\r\n3',
      },
    ],
    statuses: [200, 202, 203],
  },
];

async function play(wire: RecordedWire, steps: readonly Step[]): Promise<string> {
  const socket = await client(wire.port);
  let heard = '';
  let wanted = 0;
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1');
  });
  for (const { say, hear } of steps) {
    socket.write(say, 'latin1');
    wanted += hear.length;
    while (heard.length < wanted) await once(socket, 'data');
  }
  socket.end();
  await once(socket, 'close');
  return heard;
}

function balanced(wire: RecordedWire): void {
  expect(imbalance(wire.ledger.read())).toEqual({ bytes: 0, turns: 0 });
}

describe('HTTP/1.1 through a wire', () => {
  it.each(CONVERSATIONS)(
    'keeps every byte of $name, and is recorded',
    async ({ steps, closes, statuses }) => {
      const origin = await new ScriptedOrigin().listen();
      afterwards(() => origin.close());
      const script = steps.map(({ say, hear }, index) => ({
        requestBytes: say.length,
        answer: [Buffer.from(hear, 'latin1')],
        close: (closes ?? false) && index === steps.length - 1,
      }));
      origin.expect(script);
      const wire = await startRecordedWire({ target: local(origin.port) });
      expect(await play(wire, steps)).toBe(steps.map(({ hear }) => hear).join(''));
      await wire.settled();
      expect(origin.received[0]?.toString('latin1')).toBe(steps.map(({ say }) => say).join(''));
      expect(wire.sink.exchanges.map(({ status }) => status)).toEqual(statuses);
      expect(wire.sink.protocolUses.map(({ protocol }) => protocol)).toEqual(['http/1.1']);
      balanced(wire);
    },
  );

  it('carries 40 MiB both ways, more than is kept of a body, between a client and a server of Node', async () => {
    const body = randomBytes(40 * MIB);
    const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    const read = async (message: IncomingMessage) => {
      const chunks: Buffer[] = [];
      for await (const chunk of message) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    };
    const server = createHttpServer(async (request, response) => {
      const received = await read(request);
      response.setHeader('x-digest', digest(received)).end(received);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    afterwards(() => server.close());
    const wire = await startRecordedWire({ target: local((server.address() as AddressInfo).port) });
    const request = httpRequest({ port: wire.port, host: '127.0.0.1', method: 'POST', agent: false }).end(
      body,
    );
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect(digest(await read(response))).toBe(digest(body));
    expect(response.headers['x-digest']).toBe(digest(body));
    await wire.settled();
    balanced(wire);
  });
});

describe('what is no HTTP/1.1', () => {
  it('is a WebSocket: recorded to the switch, then passed and counted', async () => {
    const port = await upstreamServer((socket) =>
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
        socket.on('data', (frame) => socket.write(frame)).on('end', () => socket.end());
      }),
    );
    const wire = await startRecordedWire({ target: local(port) });
    const socket = await client(wire.port);
    socket.write('GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
    await once(socket, 'data');
    const frame = Buffer.concat([Buffer.from([0x82, 0x7e, 0xff, 0xff]), randomBytes(65_535)]);
    const received = everything(socket);
    socket.end(frame);
    expect((await received).equals(frame)).toBe(true);
    await wire.settled();
    expect(wire.sink.exchanges.map(({ status }) => status)).toEqual([101]);
    expect(wire.sink.protocolUses).toEqual([
      { protocol: 'websocket', connections: 1, bytes: wire.ledger.read().seen.bytes },
    ]);
    balanced(wire);
  });

  it('is HTTP/2 with prior knowledge, as gRPC speaks it, with its trailers', async () => {
    const server = createHttp2Server().listen(0, '127.0.0.1');
    server.on('stream', (stream) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        stream.end(Buffer.concat(chunks));
      });
    });
    await once(server, 'listening');
    afterwards(() => server.close());
    const wire = await startRecordedWire({ target: local((server.address() as AddressInfo).port) });
    const session = connectHttp2(`http://127.0.0.1:${wire.port}`);
    const calls = Array.from({ length: 20 }, async () => {
      const body = randomBytes(200_000);
      const stream = session.request({ ':method': 'POST', ':path': '/inference.GRPC/ModelInfer' });
      const chunks: Buffer[] = [];
      let status: unknown;
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('trailers', (trailers) => {
        status = trailers['grpc-status'];
      });
      stream.end(body);
      await once(stream, 'end');
      return [Buffer.concat(chunks).equals(body), status];
    });
    expect(await Promise.all(calls)).toEqual(Array(20).fill([true, '0']));
    session.close();
    await wire.settled();
    expect(wire.sink.exchanges).toHaveLength(20);
    for (const { protocol, status, connection, request, response } of wire.sink.exchanges) {
      expect([protocol, status, connection]).toEqual(['h2', 200, wire.sink.exchanges[0]?.connection]);
      expect(request?.body?.bytes).toBe(200_000);
      expect(Buffer.compare(response?.body?.kept as Buffer, request?.body?.kept as Buffer)).toBe(0);
      expect(Buffer.from(response?.trailers ?? []).toString()).toBe('grpc-status: 0\r\n');
    }
    expect(wire.ledger.read().omitted).toEqual({});
    balanced(wire);
  });

  it.each([
    [
      'HTTP/2',
      Buffer.concat([
        PREFACE,
        settingsFrame(),
        headerFrames(1, Buffer.from([0x83, 0x84]), { endStream: true }),
      ]),
    ],
    ['another protocol', Buffer.from('AUTH me\r\n')],
  ])('is %s whose server speaks first', async (what, first) => {
    // An entry of the static table: the status 200.
    const answer = headerFrames(1, Buffer.from([0x88]), { endStream: true });
    const port = await upstreamServer((socket) => {
      const settings = settingsFrame([3, 100]);
      socket.write(settings.subarray(0, 4));
      setTimeout(() => socket.write(settings.subarray(4)), 20);
      socket.once('data', () => socket.end(answer));
    });
    const wire = await startRecordedWire({ target: local(port) });
    const socket = await client(wire.port);
    const received = everything(socket);
    await sleep(60);
    socket.end(first);
    expect((await received).equals(Buffer.concat([settingsFrame([3, 100]), answer]))).toBe(true);
    await wire.settled();
    expect(wire.sink.exchanges.map(({ protocol, status }) => [protocol, status])).toEqual(
      what === 'HTTP/2' ? [['h2', 200]] : [],
    );
    balanced(wire);
  });

  it.each([
    ['client_aborted', 'client'],
    ['upstream_failed', 'server'],
  ] as const)(
    'is HTTP/2 with an open call, which is %s if its %s ends first, whatever follows',
    async (outcome, first) => {
      const port = await upstreamServer((socket) => {
        socket.once('data', () => {
          socket.write(settingsFrame());
          if (first === 'server') socket.end();
        });
        socket.on('end', () => socket.resetAndDestroy());
      });
      const wire = await startRecordedWire({ target: local(port) });
      const socket = await client(wire.port);
      socket.on('error', () => undefined).resume();
      socket.on('end', () => socket.resetAndDestroy());
      socket.write(Buffer.concat([PREFACE, settingsFrame(), headerFrames(1, Buffer.from([0x83, 0x84]))]));
      if (first === 'client') socket.end();
      await wire.settled();
      expect(wire.sink.exchanges.map((exchange) => exchange.outcome)).toEqual([outcome]);
      balanced(wire);
    },
  );

  it('is HTTP/2 that cannot be read on: its bytes pass, and the rest is counted', async () => {
    const port = await upstreamServer((socket) => {
      const chunks: Buffer[] = [];
      socket
        .on('data', (chunk) => void chunks.push(chunk))
        .on('end', () => socket.end(Buffer.concat(chunks)));
    });
    const wire = await startRecordedWire({ target: local(port) });
    const call = new HpackEncoder().encode([
      [':method', 'POST'],
      [':path', '/a'],
    ]);
    const sent = Buffer.concat([
      PREFACE,
      settingsFrame(),
      headerFrames(1, call),
      headerFrames(3, Buffer.from([0x80])),
      randomBytes(50_000),
    ]);
    // In one piece, and with the preface in two.
    for (const pieces of [[sent], [sent.subarray(0, 10), sent.subarray(10, 24), sent.subarray(24)]]) {
      const socket = await client(wire.port);
      const received = everything(socket);
      for (const piece of pieces) {
        socket.write(piece);
        await sleep(20);
      }
      socket.end();
      expect((await received).equals(sent)).toBe(true);
    }
    await wire.settled();
    const { omitted, seen, lost } = wire.ledger.read();
    expect({ lost, bytes: omitted.unparsed?.bytes }).toEqual({ lost: {}, bytes: seen.bytes });
    expect(seen.bytes).toBeGreaterThan(200_000);
    expect(wire.sink.protocolUses.filter(({ protocol }) => protocol === 'h2')).toHaveLength(2);
    expect(wire.sink.exchanges).toEqual([]);
    balanced(wire);
  });

  it('begins like HTTP/2 and is something else', async () => {
    const port = await upstreamServer((socket) =>
      socket.on('data', (chunk) => socket.write(chunk)).on('end', () => socket.end()),
    );
    const wire = await startRecordedWire({ target: local(port) });
    for (const bytes of ['P', 'PRI * HTTP/2.0\r\n', 'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n']) {
      const socket = await client(wire.port);
      const received = everything(socket);
      socket.end(bytes);
      expect((await received).toString('latin1')).toBe(bytes);
    }
    await wire.settled();
    expect(wire.ledger.read().seen.bytes).toBe(2 * (1 + 16 + 24));
    balanced(wire);
  });

  it('is anything at all', async () => {
    const port = await upstreamServer((socket) =>
      socket.on('data', (chunk) => socket.write(chunk)).on('end', () => socket.end()),
    );
    const wire = await startRecordedWire({ target: local(port) });
    for (const bytes of [
      randomBytes(100_000),
      Buffer.from('\r\n\r\n'),
      Buffer.from('GET\0/ HTTP/9\n\n'),
      Buffer.alloc(70_000, 0),
    ]) {
      const socket = await client(wire.port);
      const received = everything(socket);
      socket.end(bytes);
      expect((await received).equals(bytes)).toBe(true);
    }
    await wire.settled();
    const counted = wire.sink.protocolUses.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(counted).toBe(wire.ledger.read().seen.bytes);
    expect(wire.sink.exchanges).toHaveLength(0);
    balanced(wire);
  });
});

describe('a reader that is slow', () => {
  it.each(['client', 'upstream'] as const)(
    '(the %s) holds the sender back: what lies between is bounded',
    async (slow) => {
      const total = 48 * MIB;
      const accepted = Promise.withResolvers<Socket>();
      const port = await upstreamServer((socket) => accepted.resolve(socket));
      const wire = await startRecordedWire({ target: local(port) });
      const ours = await client(wire.port);
      const theirs = await accepted.promise;
      const [sender, reader] = slow === 'client' ? [theirs, ours] : [ours, theirs];
      sender.end(Buffer.alloc(total, 'data'));
      let read = 0;
      let between = 0;
      while (read < total) {
        const chunk = reader.read() as Buffer | null;
        if (chunk) read += chunk.length;
        else await Promise.race([once(reader, 'readable'), sleep(20)]);
        between = Math.max(between, wire.ledger.read().seen.bytes - read);
      }
      // What the kernel's buffers hold behind us, and a chunk or two of ours.
      expect(between).toBeLessThan(16 * MIB);
      reader.end();
      await wire.settled();
      balanced(wire);
    },
  );
});
