import { existsSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { type Clock, systemClock } from '../../core/clock.ts';
import { AppError, Problems, reasonOf } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import { KeyedHash, type RunningHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import { type Asked, choice, readOptions, text, value } from '../../core/options.ts';
import { type CaptureSource, type Logger, NoticeLimit } from '../../core/ports.ts';
import { parseCount, parseInstantUs, parseMultiplier } from '../../core/units.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import { AssemblyBudget } from '../../http1/budget.ts';
import { FACT_BYTES } from '../../inference/features.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../../proxy/net/endpoint.ts';
import { listenOn } from '../../proxy/net/listen.ts';
import { listenerFiles, type TlsFiles } from '../../proxy/net/tls-files.ts';
import { Redaction } from '../../redaction/head-redaction.ts';
import { HASH_KEY_FILE, resolveCaptureDirectory } from '../../storage/capture/directory.ts';
import { latestMetas, readHashKey } from '../../storage/capture/keys.ts';
import { encryptionKeyOf, encryptionKeyOption, openForReplay } from '../open-capture.ts';
import { LISTEN_TLS_OPTION, listenerTls } from '../tls-options.ts';
import {
  AnswerIndex,
  type AskedRequest,
  bodyDigest,
  type FoundAnswer,
  type Unanswerable,
} from './answer-index.ts';
import { PlayedAnswer, type RecordedAnswer, recordedAnswer } from './played-answer.ts';
import { TwoProtocols } from './two-protocols.ts';

/** The header that states how an answer was found: `exact` or `nearest`. */
const HOW_HEADER = 'x-reprise-mock';
/** The header with the recorded exchange of an answer, as `segment:id`. */
const EXCHANGE_HEADER = 'x-reprise-exchange';
const UNREADABLE_NOTICE_MS = 10_000;

/** The counts of a mock. */
interface MockCounts {
  requests: number;
  /** Requests that got the answer to an equal request, or to a similar one. */
  exact: number;
  nearest: number;
  /** Answered 404: no similar request was recorded. */
  unknown: number;
  /** Answers that broke off like the recorded ones. */
  broken: number;
  /** Answers whose pieces are not exactly those recorded. */
  estimatedCuts: number;
  /** Answered 503 because a limit was reached. */
  busy: number;
  /** Answered 502 because the recorded answer could not be read or sent. */
  unreadable: number;
  /** Requests and answers that the client abandoned. */
  clientsLeft: number;
  /** Connections that were refused. */
  refusedConnections: number;
}

interface MockDeps {
  readonly source: CaptureSource;
  readonly index: AnswerIndex;
  /** Null if the key of the capture's hashes is unknown. */
  readonly hash: KeyedHash | null;
  readonly nearest: boolean;
  readonly speed: number;
  readonly maxConnections: number;
  readonly tls: TlsFiles | null;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Answers requests from a capture. Each answer is read from disk when it is needed, with bounded memory. */
class MockServer {
  readonly #served: TwoProtocols;
  readonly counts: MockCounts = {
    requests: 0,
    exact: 0,
    nearest: 0,
    unknown: 0,
    broken: 0,
    estimatedCuts: 0,
    busy: 0,
    unreadable: 0,
    clientsLeft: 0,
    refusedConnections: 0,
  };
  readonly lateUs = new Histogram();
  readonly #deps: MockDeps;
  readonly #held = new AssemblyBudget(LIMITS.mockHeldBytes);
  readonly #notice: NoticeLimit;
  #inFlight = 0;
  #stopping = false;

  constructor(deps: MockDeps) {
    this.#deps = deps;
    this.#notice = new NoticeLimit(deps.clock, UNREADABLE_NOTICE_MS);
    const take = (request: AnyRequest, response: AnyResponse) => this.#take(request, response);
    this.#served = new TwoProtocols({ http1: take, http2: take }, deps.tls);
    this.server.maxConnections = deps.maxConnections;
    this.server.on('drop', () => {
      this.counts.refusedConnections += 1;
    });
  }

  get server(): Server {
    return this.#served.server;
  }

  /** Closes all connections, including those with an unfinished answer. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#served.stop();
  }

  #take(request: AnyRequest, response: AnyResponse): void {
    this.counts.requests += 1;
    this.#inFlight += 1;
    const asked = new AskedBody(this.#deps.hash, this.#held);
    let played: PlayedAnswer | null = null;
    response.on('close', () => {
      this.#inFlight -= 1;
      asked.release();
      this.#held.release(played?.answer.heldBytes ?? 0);
      const isDone = response.writableEnded || played?.ended === true;
      if (!isDone && !this.#stopping) this.counts.clientsLeft += 1;
    });
    // When a client leaves, the response is closed too.
    request.on('error', () => undefined);
    request.on('data', (chunk: Buffer) => asked.take(chunk));
    request.on('end', () => {
      const baseNs = this.#deps.clock.nowNs();
      if (asked.refused || this.#inFlight > LIMITS.mockInFlight) {
        this.#refuse(response, 503, 'busy');
        return;
      }
      const found = this.#deps.index.find(asked.asOf(request), this.#deps.nearest);
      asked.release();
      if (found === null) this.#refuse(response, 404, 'unknown');
      else played = this.#answer(found, request, response, baseNs);
    });
  }

  /** Null if there was no answer to play. */
  #answer(
    found: FoundAnswer,
    request: AnyRequest,
    response: AnyResponse,
    baseNs: number,
  ): PlayedAnswer | null {
    const answer = this.#recorded(found, request);
    if (answer === null) this.#refuse(response, 502, 'unreadable');
    else if (!this.#held.reserve(answer.heldBytes)) this.#refuse(response, 503, 'busy');
    else {
      const { clock, speed } = this.#deps;
      const { segment, id } = found.place;
      const named = [HOW_HEADER, found.how, EXCHANGE_HEADER, `${segment}:${id}`];
      const marked = { ...answer, headers: [...answer.headers, ...named] };
      const played = new PlayedAnswer(marked, response, { clock, speed, baseNs, lateUs: this.lateUs });
      try {
        played.start();
      } catch (error) {
        this.#held.release(answer.heldBytes);
        this.#warn(found, error);
        this.#refuse(response, 502, 'unreadable');
        return null;
      }
      this.counts[found.how] += 1;
      if (answer.broken) this.counts.broken += 1;
      if (!answer.exactCuts) this.counts.estimatedCuts += 1;
      return played;
    }
    return null;
  }

  /** Null if the segment was removed or damaged after indexing, or if Node refuses to send the headers. */
  #recorded(found: FoundAnswer, request: AnyRequest): RecordedAnswer | null {
    const { place } = found;
    try {
      // The payload is found by only the segment and the id of a row.
      const payload = this.#deps.source.payload(place as ExchangeRow);
      const response = payload?.response ?? null;
      if (payload === null || response === null) return null;
      return recordedAnswer(place, { responseChunks: payload.responseChunks, response }, request);
    } catch (error) {
      this.#warn(found, error);
      return null;
    }
  }

  #warn({ place: { segment, id } }: FoundAnswer, error: unknown): void {
    const fields = { exchange: `${segment}:${id}`, reason: reasonOf(error) };
    if (this.#notice.passes()) this.#deps.logger.warn(fields, 'a recorded answer cannot be read or sent');
  }

  #refuse(response: AnyResponse, status: number, why: keyof typeof REFUSALS): void {
    this.counts[why] += 1;
    const error = { message: REFUSALS[why], type: `reprise_mock_${why}` };
    response.statusCode = status;
    response.setHeader('content-type', 'application/json');
    response.setHeader(HOW_HEADER, why);
    response.end(JSON.stringify({ error }));
  }
}

type AnyRequest = IncomingMessage | Http2ServerRequest;
type AnyResponse = ServerResponse | Http2ServerResponse;

const REFUSALS = {
  unknown: 'no recorded request is like this one',
  busy: 'the mock has reached its limit of answers or of memory',
  unreadable: 'the recorded answer cannot be read or sent',
} as const;

/** A request's body while it arrives: its digests and its start. */
class AskedBody {
  readonly #held: AssemblyBudget;
  readonly #plain = bodyDigest();
  readonly #keyed: RunningHash | null;
  #beginning: Buffer[] = [];
  #heldBytes = 0;
  #bytes = 0;
  /** Whether the body was refused for lack of memory. */
  refused = false;

  constructor(hash: KeyedHash | null, held: AssemblyBudget) {
    this.#held = held;
    this.#keyed = hash?.start() ?? null;
  }

  take(chunk: Buffer): void {
    this.#plain.update(chunk);
    this.#keyed?.update(chunk);
    this.#bytes += chunk.length;
    const kept = chunk.subarray(0, FACT_BYTES - this.#heldBytes);
    if (kept.length === 0 || this.refused) return;
    if (!this.#held.reserve(kept.length)) {
      this.refused = true;
      return;
    }
    this.#heldBytes += kept.length;
    // A copy, because a slice of a socket's buffer would keep the complete buffer in memory.
    this.#beginning.push(Buffer.from(kept));
  }

  /** Call it once, at the end of the body. */
  asOf({ method, url, headers }: AnyRequest): AskedRequest {
    const isEmpty = this.#bytes === 0;
    return {
      method: method ?? '',
      target: url ?? '',
      contentType: headers['content-type'] ?? null,
      contentEncoding: headerOf(headers['content-encoding']),
      messageCoding: headerOf(headers['grpc-encoding']),
      beginning: Buffer.concat(this.#beginning),
      bytes: this.#bytes,
      digest: isEmpty ? null : this.#plain.digest(),
      keyed: isEmpty ? null : (this.#keyed?.digest() ?? null),
    };
  }

  release(): void {
    this.#held.release(this.#heldBytes);
    this.#heldBytes = 0;
    this.#beginning = [];
  }
}

function headerOf(value: string | string[] | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

export const MOCK_OPTIONS = {
  listen: text('--listen <address>', 'address to answer on', { default: '127.0.0.1:8090' }),
  speed: value(
    '--speed <n>',
    'how much faster than recorded to answer: 0.5, 1, 2x, or inf for no delay',
    speedOf,
    {
      default: '1',
    },
  ),
  unknown: choice(
    '--unknown <how>',
    'answer to a request that was not recorded: that of the nearest one, or 404',
    ['nearest', '404'],
    { default: 'nearest' },
  ),
  from: value('--from <time>', 'use answers to requests from this time on, ISO 8601', parseInstantUs),
  to: value('--to <time>', 'use answers to requests before this time', parseInstantUs),
  maxConnections: value('--max-connections <n>', 'most concurrent client connections', parseCount, {
    default: '1000',
  }),
  ...LISTEN_TLS_OPTION,
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
  hashKeyFile: text(
    '--hash-key-file <file>',
    "key that the capture's hashes were made with, to know requests that redaction changed",
  ),
};

function speedOf(stated: string, what: string): number {
  return stated.trim() === 'inf' ? Number.POSITIVE_INFINITY : parseMultiplier(stated, what);
}

/** @throws AppError OPTION_INVALID listing every problem */
export function resolveMockOptions(asked: Asked<typeof MOCK_OPTIONS>) {
  const problems = new Problems();
  const options = readOptions(MOCK_OPTIONS, asked, problems);
  const { listen } = options;
  const tls = options.listenTls !== null;
  const reading = { anyPort: true, tls };
  const endpoint = problems.attempt(() => parseEndpoint(listen, '--listen', reading), null);
  if (endpoint?.kind === 'tcp' && endpoint.tls && !tls) {
    problems.add(`--listen ${listen}: TLS needs a certificate`, 'Give --listen-tls cert=FILE,key=FILE.');
  }
  problems.throwIfAny();
  return { ...options, endpoint: endpoint as Endpoint };
}
type MockOptions = ReturnType<typeof resolveMockOptions>;

export interface RunningMock {
  readonly address: string;
  /** Number of recorded exchanges that can be used as answers, and why others cannot. */
  readonly answers: number;
  readonly leftOut: Readonly<Record<Unanswerable, number>>;
  /** Whether equal requests are found even if redaction changed their stored form. */
  readonly hashKeyKnown: boolean;
  /** Closes all connections. */
  stop(): Promise<MockDocument>;
}

/** The counts of a mock as a document. */
export type MockDocument = ReturnType<typeof documentOf>;

/**
 * Reads a capture once, and answers requests with its recorded answers.
 * @param onRead called repeatedly with the number of exchanges read; may throw to stop
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_ENCRYPTED, CAPTURE_EMPTY, LISTEN_FAILED, OPTION_INVALID
 */
export async function startMock(
  directory: string,
  options: MockOptions,
  logger: Logger,
  onRead: (exchanges: number) => void = () => undefined,
): Promise<RunningMock> {
  const { endpoint, from, to, speed, unknown, maxConnections, listenTls } = options;
  const certificate = listenerTls(listenTls);
  const tls = certificate && listenerFiles(certificate);
  const { source } = openForReplay(directory, encryptionKeyOf(options));
  try {
    const hash = hashOf(directory, options);
    const index = new AnswerIndex(redactionOf(directory), hash);
    const range = { fromUs: from ?? 0, toUs: to ?? Number.MAX_SAFE_INTEGER };
    await index.read(source, range, async (exchanges) => {
      onRead(exchanges);
      await nextTurn();
    });
    if (index.answers === 0) throw nothingToAnswer(directory, index.leftOut);
    const clock = systemClock;
    const nearest = unknown === 'nearest';
    const mock = new MockServer({ source, index, hash, nearest, speed, maxConnections, tls, clock, logger });
    const listening = await listenOn(mock.server, endpoint);
    tls?.watch(({ level, fields, message }) => logger[level](fields, message));
    const { answers, leftOut } = index;
    return {
      answers,
      leftOut,
      hashKeyKnown: hash !== null,
      address: formatEndpoint(listening.endpoint),
      stop: async () => {
        listening.remove();
        await mock.stop();
        tls?.close();
        source.close();
        return documentOf(directory, index, mock);
      },
    };
  } catch (error) {
    source.close();
    throw error;
  }
}

function nothingToAnswer(directory: string, leftOut: Readonly<Record<Unanswerable, number>>): AppError {
  const whys = Object.entries(leftOut).filter(([, exchanges]) => exchanges > 0);
  const why = whys.map(([name, exchanges]) => `${name} ${exchanges}`).join(', ');
  return new AppError('CAPTURE_EMPTY', `${directory} holds no answer: ${why || 'it has no exchanges'}`, {
    hint: 'Record the bodies of answers too: reprise record --bodies all.',
  });
}

/** The key for hashes of bodies. A copy of a capture may lack it. */
function hashOf(directory: string, options: MockOptions): KeyedHash | null {
  const capture = resolveCaptureDirectory(directory, 'read');
  const { hashKeyFile } = options;
  if (hashKeyFile === null && !existsSync(join(capture, HASH_KEY_FILE))) return null;
  return new KeyedHash(readHashKey(capture, hashKeyFile, encryptionKeyOf(options)));
}

const recordedPolicy = z.object({ redaction: z.object({ queryKeys: z.array(z.string()) }) });

/** Hides the same parts of requests that were hidden in recorded ones. */
function redactionOf(directory: string): Redaction {
  const metas = latestMetas(resolveCaptureDirectory(directory, 'read'));
  const keys = metas.flatMap(
    ({ policy }) => recordedPolicy.safeParse(policy).data?.redaction.queryKeys ?? [],
  );
  return new Redaction({ queryKeys: [...new Set(keys)] });
}

function documentOf(capture: string, { answers, leftOut }: AnswerIndex, { counts, lateUs }: MockServer) {
  return {
    schemaVersion: 1,
    kind: 'mock',
    capture,
    answers,
    leftOut: { ...leftOut },
    ...({ ...counts } satisfies MockCounts),
    /** The lateness of heads, parts of bodies and ends. */
    lateUs: { ...byPercent(PERCENTS, (percent) => lateUs.percentile(percent)), max: lateUs.max },
  };
}
