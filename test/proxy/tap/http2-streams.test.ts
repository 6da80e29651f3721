import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { Http2Streams } from '../../../src/proxy/tap/http2-streams.ts';
import { HpackEncoder } from '../../support/hpack-encoder.ts';
import {
  type BlockForm,
  cut,
  dataFrame,
  FRAME_FLAG,
  FRAME_TYPE,
  frame,
  headerFrames,
  settingsFrame,
  uint32,
} from '../../support/http2-frames.ts';
import { repeated } from '../../support/long-form.ts';

type Side = 'client' | 'server';
type Fields = readonly (readonly [string, string])[];

interface Fed {
  connection: number;
  clientConnection: number | null;
  client: string;
  server: string;
  /** Calls of `client`, `restOfTurn` and `server`, and of the ends of both sides. */
  calls: string;
  closed: string | null;
}

/** One connection whose frames are written by hand. */
class Scene {
  readonly fed: Fed[] = [];
  readonly open = { open: 0 };
  readonly streams = new Http2Streams({
    streams: this.open,
    open: (clientConnection) => this.#open(clientConnection),
  });
  readonly #encoders = { client: new HpackEncoder(), server: new HpackEncoder() };

  constructor() {
    this.read('client', settingsFrame());
    this.read('server', settingsFrame());
  }

  #open(clientConnection: number | null) {
    const fed: Fed = {
      connection: 70 + this.fed.length,
      clientConnection,
      client: '',
      server: '',
      calls: '',
      closed: null,
    };
    this.fed.push(fed);
    const take = (side: Side, call: string) => (bytes: Buffer) => {
      expect(fed.closed).toBeNull();
      fed[side] += bytes.toString('latin1');
      fed.calls += call;
    };
    const note = (call: string) => () => {
      fed.calls += call;
    };
    return {
      connection: fed.connection,
      client: take('client', 'c'),
      restOfTurn: take('client', 'r'),
      server: take('server', 's'),
      clientEnd: note('>'),
      serverEnd: note('<'),
      close: (cause: string) => {
        expect(fed.closed).toBeNull();
        fed.closed = cause;
      },
    };
  }

  read(side: Side, ...frames: readonly Buffer[]): boolean {
    const wire = Buffer.concat(frames);
    return this.streams.read(side, wire) === wire.length;
  }

  headers(side: Side, stream: number, fields: Fields, form: BlockForm = {}): Buffer {
    return headerFrames(stream, this.#encoders[side].encode(fields), form);
  }

  ask(stream: number, form: BlockForm = {}, more: Fields = []): Buffer {
    return this.headers('client', stream, [...CALL, ...more], form);
  }

  answer(stream: number, form: BlockForm = {}): Buffer {
    return this.headers(
      'server',
      stream,
      [
        [':status', '200'],
        ['a', 'b'],
      ],
      form,
    );
  }
}

const CALL: Fields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/s/m'],
  [':authority', 'models:8001'],
  ['te', 'trailers'],
];
const HEAD = 'POST /s/m HTTP/2\r\nhost: models:8001\r\nte: trailers\r\n\r\n';
const ANSWER = 'HTTP/2 200\r\na: b\r\n\r\n';
const END = '0\r\n\r\n';
const text = (value: string) => Buffer.from(value, 'latin1');

describe('a stream is fed as an exchange', () => {
  it('with bodies in chunks and trailers, in one piece for what came together', () => {
    const scene = new Scene();
    scene.read(
      'client',
      scene.ask(1),
      dataFrame(1, text('hello')),
      dataFrame(1, text(''), { endStream: true }),
    );
    scene.read(
      'server',
      scene.answer(1),
      dataFrame(1, text('world'), { padding: 9 }),
      dataFrame(1, text('')),
    );
    expect(scene.fed[0]?.closed).toBeNull();
    scene.read('server', scene.headers('server', 1, [['grpc-status', '0']], { endStream: true }));
    expect(scene.fed).toEqual([
      {
        connection: 70,
        clientConnection: null,
        client: `${HEAD}5\r\nhello\r\n${END}`,
        server: `${ANSWER}5\r\nworld\r\n0\r\ngrpc-status: 0\r\n\r\n`,
        calls: 'css',
        closed: 'client_end',
      },
    ]);
    expect(scene.open.open).toBe(0);
  });

  it('beside others, all with the number of the first', () => {
    const scene = new Scene();
    scene.read('client', scene.ask(1), scene.ask(3, { endStream: true }), dataFrame(1, text('a')));
    scene.read('client', dataFrame(1, text('b'), { endStream: true }));
    scene.read('server', scene.answer(3, { endStream: true }), scene.answer(1), dataFrame(1, text('c')));
    expect(scene.fed).toMatchObject([
      {
        client: `${HEAD}1\r\na\r\n1\r\nb\r\n${END}`,
        server: `${ANSWER}1\r\nc\r\n`,
        calls: 'crs',
        closed: null,
      },
      { clientConnection: 70, client: HEAD + END, server: ANSWER + END, closed: 'client_end' },
    ]);
    scene.streams.close('server_reset');
    expect(scene.fed[0]?.closed).toBe('server_reset');
    expect(scene.open.open).toBe(0);
  });

  it('with interim heads, and an answer that is only trailers', () => {
    const scene = new Scene();
    scene.read('client', scene.ask(1));
    scene.read('server', scene.headers('server', 1, [[':status', '100']]));
    scene.read(
      'server',
      scene.headers(
        'server',
        1,
        [
          [':status', '200'],
          ['grpc-status', '14'],
        ],
        { endStream: true },
      ),
    );
    expect(scene.fed[0]).toMatchObject({
      server: `HTTP/2 100\r\n\r\nHTTP/2 200\r\ngrpc-status: 14\r\n\r\n${END}`,
      closed: null,
    });
  });

  it('with binary metadata in base64, though it comes as it is', () => {
    const scene = new Scene();
    const fields: Fields = [
      ['x-raw-bin', '\0\0\r\n\xff'],
      ['x-coded-bin', 'AP8='],
    ];
    scene.read('client', scene.ask(1, {}, fields));
    expect(scene.fed[0]?.client).toContain('x-raw-bin: AA0K/w==\r\nx-coded-bin: AP8=\r\n\r\n');
  });

  it('with repeated lines, and the authority in place of a host', () => {
    const scene = new Scene();
    scene.read(
      'client',
      scene.ask(1, {}, [
        ['host', 'other'],
        ['cookie', 'a=1'],
        ['cookie', 'b=2'],
        ['x', '\xff'],
      ]),
    );
    const lines = 'host: models:8001\r\nte: trailers\r\ncookie: a=1\r\ncookie: b=2\r\nx: \xff\r\n\r\n';
    expect(scene.fed[0]?.client).toBe(`POST /s/m HTTP/2\r\n${lines}`);
    scene.read(
      'client',
      scene.headers('client', 3, [
        [':method', 'GET'],
        [':path', '/'],
        ['host', 'h'],
      ]),
    );
    expect(scene.fed[1]?.client).toBe('GET / HTTP/2\r\nhost: h\r\n\r\n');
    scene.read(
      'client',
      scene.headers('client', 5, [
        [':method', 'CONNECT'],
        [':authority', 'h:1'],
      ]),
    );
    expect(scene.fed[2]?.client).toBe('CONNECT h:1 HTTP/2\r\nhost: h:1\r\n\r\n');
  });

  it('whose DATA frame comes in pieces, each when it came', () => {
    const scene = new Scene();
    const wire = Buffer.concat([
      scene.ask(1),
      dataFrame(1, text('0123456789'), { padding: 3, endStream: true }),
    ]);
    const from = wire.length - 10;
    scene.read('client', wire.subarray(0, from));
    expect(scene.fed[0]?.client).toBe(`${HEAD}a\r\n012`);
    scene.read('client', wire.subarray(from, from + 3));
    expect(scene.fed[0]?.client).toBe(`${HEAD}a\r\n012345`);
    scene.read('client', wire.subarray(from + 3));
    expect(scene.fed[0]?.client).toBe(`${HEAD}a\r\n0123456789\r\n${END}`);
  });
});

describe('a stream ends', () => {
  const begun = () => {
    const scene = new Scene();
    scene.read('client', scene.ask(1));
    return scene;
  };
  const reset = (code: number) => frame(FRAME_TYPE.reset, 0, 1, uint32(code));

  it('by a reset of its client, and what comes after that is not fed', () => {
    const scene = begun();
    scene.read('client', dataFrame(1, text('a')), reset(8));
    scene.read('server', scene.answer(1), dataFrame(1, text('late'), { endStream: true }));
    expect(scene.fed).toMatchObject([{ client: `${HEAD}1\r\na\r\n`, server: '', closed: 'client_reset' }]);
  });

  it('by a reset of its client within a DATA frame of its server', () => {
    const scene = begun();
    const wire = Buffer.concat([scene.answer(1), dataFrame(1, text('0123456789'))]);
    scene.read('server', wire.subarray(0, -5));
    scene.read('client', reset(8));
    scene.read('server', wire.subarray(-5), dataFrame(1, text('x')));
    expect(scene.fed).toMatchObject([{ server: `${ANSWER}a\r\n01234`, closed: 'client_reset' }]);
  });

  it('by a reset of its server, which is no failure after a whole answer', () => {
    const scene = begun();
    scene.read('server', scene.answer(1), reset(2));
    expect(scene.fed[0]?.closed).toBe('server_reset');
    const early = begun();
    early.read('server', early.answer(1, { endStream: true }), reset(0));
    expect(early.fed[0]).toMatchObject({ server: ANSWER + END, closed: 'server_end' });
  });

  it('knowing which side ended the connection first', () => {
    const scene = begun();
    scene.streams.end('server');
    scene.streams.end('client');
    scene.streams.close('client_reset');
    expect(scene.fed).toMatchObject([{ calls: 'c<>', closed: 'client_reset' }]);
  });

  it('by a GOAWAY that names an earlier one', () => {
    const scene = begun();
    scene.read('client', scene.ask(3));
    scene.read('server', frame(FRAME_TYPE.goAway, 0, 0, Buffer.concat([uint32(1), uint32(0)])));
    expect(scene.fed.map(({ closed }) => closed)).toEqual([null, 'server_reset']);
    scene.read('client', frame(FRAME_TYPE.goAway, 0, 0, Buffer.alloc(8)));
    expect(scene.fed[0]?.closed).toBeNull();
  });
});

describe('a malformed stream is given up, and no other:', () => {
  it.each([
    ['no method', 'client', [[':path', '/']]],
    ['no target', 'client', [[':method', 'GET']]],
    [
      'a blank in the target',
      'client',
      [
        [':method', 'GET'],
        [':path', '/a HTTP/2'],
      ],
    ],
    [
      'a line end in the authority',
      'client',
      [
        [':method', 'GET'],
        [':path', '/'],
        [':authority', 'a\r\nb: c'],
      ],
    ],
    ['a line end in a value', 'client', [...CALL, ['a', 'b\nc: d']]],
    ['a line end in a name', 'client', [...CALL, ['a\r\nb', 'c']]],
    ['a colon in a name', 'client', [...CALL, ['a:b', 'c']]],
    ['no status', 'server', [['a', 'b']]],
    ['a status of four digits', 'server', [[':status', '2000']]],
    ['a switch of protocols', 'server', [[':status', '101']]],
    [
      'a NUL in a value',
      'server',
      [
        [':status', '200'],
        ['a', '\0'],
      ],
    ],
  ] as const)('%s', (_, side, fields) => {
    const scene = new Scene();
    if (side === 'server') scene.read('client', scene.ask(1));
    scene.read(side, scene.headers(side, 1, fields), dataFrame(1, text('x'), { endStream: true }));
    scene.read('client', scene.ask(3, { endStream: true }));
    scene.read('server', scene.answer(3, { endStream: true }));
    expect(scene.fed).toMatchObject([
      { [side]: '\0\r\n', closed: 'client_end' },
      { client: HEAD + END, server: ANSWER + END },
    ]);
    expect(scene.open.open).toBe(0);
  });

  it('a second head that ends nothing', () => {
    const scene = new Scene();
    scene.read('client', scene.ask(1), scene.headers('client', 1, [['a', 'b']]));
    expect(scene.fed).toMatchObject([{ client: `${HEAD}\0\r\n`, closed: 'client_end' }]);
  });
});

it('a promised request moves the table, and its answer is not fed', () => {
  const scene = new Scene();
  const encoder = new HpackEncoder();
  scene.read('client', scene.ask(1));
  const promised = encoder.encode([...CALL, ['x-stored', 'once']]);
  const push = frame(FRAME_TYPE.push, FRAME_FLAG.endHeaders, 1, Buffer.concat([uint32(2), promised]));
  const answered = (stream: number) =>
    headerFrames(
      stream,
      encoder.encode([
        [':status', '200'],
        ['x-stored', 'once'],
      ]),
      { endStream: true },
    );
  scene.read('server', push, answered(2), dataFrame(2, text('x')), answered(1));
  expect(scene.fed).toMatchObject([{ server: `HTTP/2 200\r\nx-stored: once\r\n\r\n${END}` }]);
});

it('what cannot be read gives up all open streams, and names the place in the bytes', () => {
  const scene = new Scene();
  scene.read('client', scene.ask(1), scene.ask(3, { endStream: true }));
  scene.read('server', scene.answer(3));
  const before = dataFrame(1, text('a'));
  const broken = headerFrames(5, Buffer.from([0x80]));
  expect(scene.streams.read('client', Buffer.concat([before, broken, before]))).toBe(before.length);
  expect(scene.fed).toMatchObject([
    { client: `${HEAD}1\r\na\r\n\0\r\n`, closed: 'client_end' },
    { client: `${HEAD}${END}\0\r\n`, closed: 'client_end' },
  ]);
  expect(scene.open.open).toBe(0);
});

it('follows a bounded number of streams, and counts those above it as unread', () => {
  const scene = new Scene();
  const most = LIMITS.connectionStreams;
  for (let nth = 0; nth < most + 2; nth += 1) scene.read('client', scene.ask(2 * nth + 1));
  expect(scene.open.open).toBe(most);
  expect(scene.fed.slice(most).map(({ client, closed }) => ({ client, closed }))).toEqual(
    Array(2).fill({ client: '\0\r\n', closed: 'client_end' }),
  );
  scene.open.open = LIMITS.openStreams;
  scene.read('client', frame(FRAME_TYPE.reset, 0, 1, uint32(8)), scene.ask(99_999));
  expect(scene.fed.at(-1)?.closed).toBe(null);
  scene.open.open = LIMITS.openStreams;
  scene.read('client', frame(FRAME_TYPE.reset, 0, 3, uint32(8)));
  scene.open.open = LIMITS.openStreams;
  scene.read('client', scene.ask(100_001));
  expect(scene.fed.at(-1)?.closed).toBe('client_end');
});

describe('a head of few bytes that names large fields of the table', () => {
  /** Streams whose fields, but the first time, are a byte each. */
  const asks = (scene: Scene, count: number, more: Fields) =>
    Array.from({ length: count }, (_, nth) => scene.ask(2 * nth + 1, { endStream: true }, more));

  it('is fed, as a call with a token of 3 KB on a connection that lasts', () => {
    const scene = new Scene();
    for (const ask of asks(scene, 10_000, [['authorization', 'x'.repeat(3_000)]])) scene.read('client', ask);
    expect(scene.fed.slice(0, LIMITS.connectionStreams).every(({ closed }) => closed === null)).toBe(true);
  });

  it('is unread beyond a multiple of the bytes that came: what it costs would stop all other clients', () => {
    const scene = new Scene();
    const wire = Buffer.concat(asks(scene, 800, Array(60).fill(['x', 'y'.repeat(3_000)])));
    scene.read('client', wire);
    const fed = scene.fed.reduce((sum, { client }) => sum + client.length, 0);
    expect(fed).toBeLessThan(LIMITS.headerListBytes + LIMITS.headerGrowth * wire.length);
    expect(scene.fed.at(-1)).toMatchObject({ client: '\0\r\n', closed: 'client_end' });
    // The table goes on, and so does the connection.
    scene.read('client', frame(FRAME_TYPE.reset, 0, 1, uint32(8)), dataFrame(3, Buffer.alloc(16_000)));
    scene.read('client', scene.ask(9_999, { endStream: true }));
    expect(scene.fed.at(-1)).toMatchObject({ client: `${HEAD}${END}`, closed: null });
  });
});

const body = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
const call = fc.record({
  request: fc.array(body, { maxLength: 3 }),
  answer: fc.array(body, { maxLength: 3 }),
  padding: fc.option(fc.nat(20)),
  fragments: fc.integer({ min: 1, max: 3 }),
  trailers: fc.boolean(),
});

it('feeds the same for any cut of the bytes', () => {
  const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 20 });
  const chunks = (pieces: readonly Buffer[]) =>
    pieces
      .filter(({ length }) => length > 0)
      .map((piece) => `${piece.length.toString(16)}\r\n${piece.toString('latin1')}\r\n`)
      .join('');
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: 5 }), shares, shares, (calls, asked, answered) => {
      const scene = new Scene();
      const wire = { client: [] as Buffer[], server: [] as Buffer[] };
      for (const [at, { request, answer, padding, fragments, trailers }] of calls.entries()) {
        const stream = 2 * at + 1;
        wire.client.push(scene.ask(stream, { padding, fragments }));
        for (const bytes of request) wire.client.push(dataFrame(stream, bytes, { padding }));
        wire.client.push(dataFrame(stream, text(''), { endStream: true }));
        wire.server.push(scene.answer(stream, { padding, fragments, priority: true }));
        for (const bytes of answer) wire.server.push(dataFrame(stream, bytes, { padding }));
        wire.server.push(
          trailers
            ? scene.headers('server', stream, [['grpc-status', '0']], { endStream: true, fragments })
            : dataFrame(stream, text(''), { endStream: true }),
        );
      }
      for (const piece of cut(Buffer.concat(wire.client), asked)) scene.read('client', piece);
      for (const piece of cut(Buffer.concat(wire.server), answered)) scene.read('server', piece);
      expect(scene.fed.map(({ client, server, closed }) => ({ client, server, closed }))).toEqual(
        calls.map(({ request, answer, trailers }) => ({
          client: HEAD + chunks(request) + END,
          server: ANSWER + chunks(answer) + (trailers ? '0\r\ngrpc-status: 0\r\n\r\n' : END),
          closed: 'client_end',
        })),
      );
    }),
    { numRuns: repeated(40, 150) },
  );
});
