import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

const HEAD_END = Buffer.from('\r\n\r\n');
const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP\/1\.1$/;
const HEADER_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\t\x20-\x7e\x80-\xff]*$/;
/** Prefix of targets that the oracle itself answers, independent of the answers set by a test. */
const CONTROL = '/control/';

/**
 * The server behind a gateway under attack. It parses requests very strictly and notes everything invalid. It answers
 * `/control/…` with the target, and everything else as the test sets.
 */
export class Oracle {
  /** Targets of complete requests, without controls. */
  readonly targets: string[] = [];
  /** The beginnings of invalid messages, which a proxy must never send. */
  readonly desyncs: string[] = [];
  controls = 0;
  port = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #respond: (socket: Socket, target: string) => void;

  private constructor(respond: (socket: Socket, target: string) => void) {
    this.#respond = respond;
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  static async start(respond: (socket: Socket, target: string) => void = answerTarget): Promise<Oracle> {
    const oracle = new Oracle(respond);
    oracle.#server.listen(0, '127.0.0.1', 1_024);
    await once(oracle.#server, 'listening');
    oracle.port = (oracle.#server.address() as AddressInfo).port;
    return oracle;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    let rest: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (;;) {
        const taken = takeStrictly(rest);
        if (taken === null) return;
        if (taken === 'desync') {
          this.desyncs.push(rest.toString('latin1', 0, 200));
          socket.destroy();
          return;
        }
        rest = rest.subarray(taken.bytes);
        this.#answer(socket, taken.target);
      }
    });
  }

  #answer(socket: Socket, target: string): void {
    if (!target.startsWith(CONTROL)) {
      this.targets.push(target);
      this.#respond(socket, target);
      return;
    }
    this.controls += 1;
    answerTarget(socket, target);
  }
}

/** Answers with the target of the request. */
export function answerTarget(socket: Socket, target: string): void {
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`, 'latin1');
}

/** The first request of `bytes`; null if it is incomplete. */
function takeStrictly(bytes: Buffer): { bytes: number; target: string } | 'desync' | null {
  const headEnd = bytes.indexOf(HEAD_END);
  const head = bytes.toString('latin1', 0, headEnd < 0 ? bytes.length : headEnd).split('\r\n');
  if (headEnd < 0) return bytes.length > 200_000 ? 'desync' : null;
  const line = REQUEST_LINE.exec(head[0] ?? '');
  if (line === null || head.slice(1).some((header) => !HEADER_LINE.test(header))) return 'desync';
  const [, , target = ''] = line;
  const lengths = head.filter((header) => /^content-length:/i.test(header));
  const codings = head.filter((header) => /^transfer-encoding:/i.test(header));
  if (lengths.length + codings.length > 1) return 'desync';
  const bodyAt = headEnd + HEAD_END.length;
  if (codings.length === 1) {
    if (!/^[^:]*: ?chunked$/i.test(codings[0] ?? '')) return 'desync';
    const end = chunksEnd(bytes, bodyAt);
    return typeof end === 'number' ? { bytes: end, target } : end;
  }
  const length = /^[^:]*: ?(\d{1,15})$/.exec(lengths[0] ?? 'none: 0')?.[1];
  if (length === undefined) return 'desync';
  const end = bodyAt + Number(length);
  return end <= bytes.length ? { bytes: end, target } : null;
}

function chunksEnd(bytes: Buffer, from: number): number | 'desync' | null {
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = bytes.toString('latin1', at, lineEnd);
    if (!/^[0-9a-f]{1,8}$/i.test(size)) return 'desync';
    const dataEnd = lineEnd + 2 + Number.parseInt(size, 16);
    if (Number.parseInt(size, 16) === 0) return trailersEnd(bytes, lineEnd + 2);
    if (bytes.length < dataEnd + 2) return null;
    if (bytes.toString('latin1', dataEnd, dataEnd + 2) !== '\r\n') return 'desync';
    at = dataEnd + 2;
  }
}

function trailersEnd(bytes: Buffer, from: number): number | 'desync' | null {
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    if (lineEnd === at) return at + 2;
    if (!HEADER_LINE.test(bytes.toString('latin1', at, lineEnd))) return 'desync';
    at = lineEnd + 2;
  }
}
