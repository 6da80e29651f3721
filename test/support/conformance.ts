import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '../../src/core/random.ts';
import { mutate, readCorpus } from '../proxy/recorder/corpus.ts';
import type { Attacked } from './accepted-clients.ts';
import { Oracle } from './oracle.ts';

/** Spellings of one header line that parsers accept or reject differently, for request smuggling. */
const CODINGS = [
  'Transfer-Encoding: chunked',
  'Transfer-Encoding : chunked',
  ' Transfer-Encoding: chunked',
  'Transfer-Encoding:chunked',
  'Transfer-Encoding:\tchunked',
  'Transfer-Encoding: chunked ',
  'transfer-encoding: CHUNKED',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: identity, chunked',
  'Transfer-Encoding: "chunked"',
  'Transfer-Encoding: chunked;q=1',
  'Transfer-Encoding:\r\n chunked',
  'Transfer-Encoding\r\n: chunked',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: x',
  'Transfer-Encoding: x\r\nTransfer-Encoding: chunked',
  'X: y\nTransfer-Encoding: chunked',
  'X: y\rTransfer-Encoding: chunked',
  'Transfer-Encoding: \x0bchunked',
  'Transfer-Encoding: chunked\x00',
  'Transfer_Encoding: chunked',
  'Transfer-Encoding\xa0: chunked',
  'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked',
  'Connection: Content-Length',
  'X-Nothing: here',
];
const LENGTHS = ['0', '5', '%', '+5', '05', '5, 5', '5\r\nContent-Length: 6', '-1', '0x5', '5 ', '1e1', ''];
const METHODS = ['POST', 'GET', 'DELETE', 'OPTIONS', 'HEAD', 'PUT'];
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';
const BODIES = [
  `0\r\n\r\n${SMUGGLED}`,
  `5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`,
  SMUGGLED,
  `hello${SMUGGLED}`,
  `0\n\n${SMUGGLED}`,
];

/** Every combination of a length, a coding and a body that two parsers could frame differently. */
function smugglingRequests(): Buffer[] {
  const cases: Buffer[] = [];
  for (const coding of CODINGS) {
    for (const length of LENGTHS) {
      const index = cases.length;
      const method = METHODS[index % METHODS.length] ?? 'POST';
      const body = BODIES[(index + Math.floor(index / METHODS.length)) % BODIES.length] ?? '';
      const stated = length === '%' ? String(body.length) : length;
      const lines = [`${method} /case HTTP/1.1`, 'Host: x', `Content-Length: ${stated}`, coding];
      if (length === '') lines.splice(2, 1);
      cases.push(Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1'));
    }
  }
  return cases;
}

/** Adds a host, because most messages of the corpus have none and would be rejected only for this. */
function withHost(bytes: Buffer): Buffer {
  const lineEnd = bytes.indexOf('\r\n') + 2;
  if (lineEnd < 2 || /^host:/im.test(bytes.toString('latin1'))) return bytes;
  return Buffer.concat([bytes.subarray(0, lineEnd), Buffer.from('Host: x\r\n'), bytes.subarray(lineEnd)]);
}

/** Messages of one side to send unchanged, and then an endless sequence of mutations of them. */
class CaseSource {
  readonly whole: readonly Buffer[];
  readonly #random: SeededRandom;

  constructor(side: 'request' | 'response', random: SeededRandom) {
    const corpus = readCorpus()
      .filter((case_) => case_.side === side)
      .map(({ bytes }) => bytes);
    this.whole = side === 'request' ? [...corpus, ...corpus.map(withHost), ...smugglingRequests()] : corpus;
    this.#random = random;
  }

  mutation(): Buffer {
    let bytes = this.whole[this.#random.below(this.whole.length)] as Buffer;
    for (let rounds = 1 + this.#random.below(3); rounds > 0; rounds -= 1) bytes = mutate(bytes, this.#random);
    return bytes;
  }
}

const PARALLEL = 32;
/** Interval of checks for received data. */
const LOOK_MS = 12.5;
/** A case without an answer ends after this silence. */
const QUIET_MS = 25;
const CONTROL_EVERY = 20;
/** An honest client that waits this long counts as dropped. */
const CONTROL_MS = 5_000;

/** Runs `one` for every number below `count`, `PARALLEL` at a time. */
async function inParallel(count: number, one: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

/**
 * Sends bytes, sometimes in pieces, and returns what came back until the end or a silence. The silence counts only
 * after the server accepted the client, because clients that gave up may be first in its queue. It is counted in
 * checks, so that a moment in which this process did not run does not count.
 */
async function exchange(server: Attacked, bytes: Buffer, cut: number, quietMs = QUIET_MS): Promise<string> {
  const socket = connect({ port: server.port, host: '127.0.0.1', noDelay: true });
  let received = '';
  let looks = 0;
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1');
    looks = 0;
  });
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.write(bytes.subarray(0, cut));
  if (cut < bytes.length) {
    await Promise.race([sleep(1), closed]);
    if (socket.writable) socket.write(bytes.subarray(cut));
  }
  while (!socket.destroyed && looks * LOOK_MS < quietMs) {
    await Promise.race([sleep(LOOK_MS), closed]);
    looks = server.has(socket) ? looks + 1 : 0;
  }
  socket.destroy();
  return received;
}

/**
 * An honest client among the others. `orElse` matches what it may get instead of its answer: an upstream that resets
 * connections may just have reset this one, and requests are never sent twice.
 */
async function control(server: Attacked, id: number, faults: string[], orElse = /^$/): Promise<void> {
  const target = `/control/${id}`;
  const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n`);
  const received = await exchange(server, bytes, bytes.length, CONTROL_MS);
  const isItsOwn = received.startsWith('HTTP/1.1 200 ') && received.endsWith(`\r\n\r\n${target}`);
  if (!isItsOwn && (received === '' || !orElse.test(received))) {
    faults.push(`control ${id} got ${JSON.stringify(received.slice(0, 200))}`);
  }
}

/** The findings. Every list must be empty. */
export interface Findings {
  readonly cases: number;
  readonly faults: string[];
  /** Complete requests that reached the upstream, including controls. */
  readonly requests: number;
}

export interface UpstreamFindings extends Findings {
  /** Clients that left before any byte of an answer came and before their request was sent on. */
  readonly gaveUp: number;
}

/**
 * Hostile clients against a gateway: the corpus, the smuggling table and mutations of both, each on a separate
 * connection. The upstream must see only complete, well-framed requests, and honest clients must not notice.
 */
export async function attackAsClient(
  oracle: Oracle,
  gateway: Attacked,
  mutations: number,
  seed: number,
): Promise<Findings> {
  const random = new SeededRandom(seed);
  const source = new CaseSource('request', random);
  const faults: string[] = [];
  const cases = source.whole.length + mutations;
  await inParallel(cases, async (index) => {
    const bytes = source.whole[index] ?? source.mutation();
    await exchange(gateway, bytes, random.below(4) === 0 ? random.below(bytes.length + 1) : bytes.length);
    if (index % CONTROL_EVERY === 0) await control(gateway, index, faults);
  });
  faults.push(...oracle.desyncs.map((head) => `the upstream was sent ${JSON.stringify(head)}`));
  return { cases, faults, requests: oracle.targets.length + oracle.controls };
}

/** An upstream that answers every request with the next case, and leaves the connection open or ends it. */
export async function startHostileUpstream(
  mutations: number,
  seed: number,
): Promise<{ oracle: Oracle; cases: number }> {
  const random = new SeededRandom(seed);
  const source = new CaseSource('response', random);
  let next = 0;
  const oracle = await Oracle.start((socket) => {
    const bytes = source.whole[next] ?? source.mutation();
    next += 1;
    socket.write(bytes);
    const fate = next % 3;
    if (fate === 1) socket.end();
    if (fate === 2) setTimeout(() => socket.resetAndDestroy(), 2);
  });
  return { oracle, cases: source.whole.length + mutations };
}

/** Clients of a hostile upstream behind the gateway. They must never get more answers than requests, or wrong ones. */
export async function attackAsUpstream(
  oracle: Oracle,
  gateway: Attacked,
  cases: number,
): Promise<UpstreamFindings> {
  const faults: string[] = [];
  const unanswered: string[] = [];
  await inParallel(cases, async (index) => {
    const target = `/?case=${index}`;
    const request = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: c\r\n\r\n`);
    const received = await exchange(gateway, request, 1_000);
    const answers =
      received.match(/(?:^|\r\n)HTTP\/1\.1 [2-5]\d\d [^\r\n]*\r\n(?:[^\r\n:]+:[^\r\n]*\r\n)*\r\n/g) ?? [];
    if (received === '') unanswered.push(target);
    if (received !== '' && !/^HTTP\/1\.1 [2-5]\d\d /.test(received))
      faults.push(`case ${index}: ${received.slice(0, 100)}`);
    if (answers.length > 1 && !isOneBody(received))
      faults.push(`case ${index}: ${answers.length} answers to one request`);
    if (index % CONTROL_EVERY === 0) await control(gateway, index, faults, /^HTTP\/1\.1 502 /);
  });
  faults.push(...oracle.desyncs.map((head) => `the upstream was sent ${JSON.stringify(head)}`));
  const sent = new Set(oracle.targets);
  const gaveUp = unanswered.filter((target) => !sent.has(target)).length;
  return { cases, faults, requests: oracle.targets.length + oracle.controls, gaveUp };
}

/** Whether data that look like further answers are the body of the first. */
function isOneBody(received: string): boolean {
  const headEnd = received.indexOf('\r\n\r\n') + 4;
  const head = received.slice(0, headEnd);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return received.length <= headEnd + Number(length);
  return (
    /\r\ntransfer-encoding: *chunked/i.test(head) && (received.match(/\r\n0\r\n\r\n/g) ?? []).length <= 1
  );
}

/** Hostile clients and upstreams at once through a wire. All bytes of both must arrive unchanged. */
export async function attackWire(
  start: (upstreamPort: number) => Promise<number>,
  mutations: number,
  seed: number,
): Promise<Findings> {
  const random = new SeededRandom(seed);
  const requests = new CaseSource('request', random);
  const responses = new CaseSource('response', random);
  const cases = Math.max(requests.whole.length, responses.whole.length) + mutations;
  const asked = new Tally();
  const answered = new Tally();
  const upstream = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    void collect(socket).then((bytes) => {
      asked.add(bytes, -1);
      const answer = responses.whole[random.below(responses.whole.length * 4)] ?? responses.mutation();
      answered.add(answer, 1);
      socket.end(answer);
    });
  }).listen(0, '127.0.0.1', 1_024);
  await once(upstream, 'listening');
  const port = await start((upstream.address() as AddressInfo).port);
  await inParallel(cases, async (index) => {
    const bytes = requests.whole[index] ?? requests.mutation();
    asked.add(bytes, 1);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    socket.end(bytes);
    answered.add(await collect(socket), -1);
  });
  upstream.close();
  const faults = [...asked.differences('request'), ...answered.differences('answer')];
  return { cases, faults, requests: cases };
}

async function collect(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise<void>((resolve) => {
    socket.on('end', resolve);
    socket.on('error', () => resolve());
    socket.on('close', () => resolve());
  });
  return Buffer.concat(chunks);
}

/** How often each byte string was sent, minus how often it arrived. */
class Tally {
  readonly #counts = new Map<string, number>();

  add(bytes: Buffer, count: number): void {
    const key = bytes.toString('latin1');
    const sum = (this.#counts.get(key) ?? 0) + count;
    if (sum === 0) this.#counts.delete(key);
    else this.#counts.set(key, sum);
  }

  differences(what: string): string[] {
    return [...this.#counts].map(
      ([key, count]) => `${what} ${count > 0 ? 'lost' : 'made up'}: ${JSON.stringify(key.slice(0, 120))}`,
    );
  }
}
