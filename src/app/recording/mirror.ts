import { lookup } from 'node:dns/promises';
import {
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingMessage,
  request as requestHttp,
} from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createSecureContext, getCACertificates } from 'node:tls';
import {
  MIRROR_DROPS,
  MIRROR_FAILURES,
  type MirrorDrop,
  type MirrorFailure,
  type MirrorReading,
  type MirrorTimes,
} from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import type { SecondsHistogram } from '../../core/histogram.ts';
import { Histogram } from '../../core/histogram.ts';
import { MIRROR } from '../../core/limits.ts';
import { type Logger, NoticeLimit } from '../../core/ports.ts';
import { authorityOf, formatEndpoint } from '../../proxy/net/endpoint.ts';
import {
  addSeconds,
  type Counted,
  DURATION_BOUNDS_S,
  emptyHistogram,
} from '../../proxy/recorder/exchange-monitor.ts';
import { Sampling } from '../../redaction/recording-policy.ts';
import { type BuiltRequest, RequestBuilder } from '../../replay/request/build.ts';
import { MirrorResolver, type ResolveName } from './mirror-address.ts';
import type { MirrorSettings } from './mirror-options.ts';

interface MirrorDeps {
  readonly settings: MirrorSettings;
  /** The share of traffic that is recorded. */
  readonly sample: number;
  /** Id of the recording, in the marker header. */
  readonly life: string;
  /** Counts of earlier recorders' mirrors. */
  readonly earlier: MirrorReading | null;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly resolve?: ResolveName;
}

const NOTICE_MS = 60_000;
/** Interval for measuring the event-loop delay of this process. */
const DELAY_MS = 20;

/**
 * Sends copies of recorded requests to a second server, and compares its answers with production's. It runs in the
 * recorder process and gets finished exchanges, so it is not on the path of traffic. It never waits, queues or repeats:
 * a request beyond a limit is dropped and counted. A copy has only the data that the capture may contain, so it has no
 * credentials.
 */
export class Mirror {
  readonly #deps: MirrorDeps;
  readonly #builder: RequestBuilder;
  readonly #sessions: Sampling;
  readonly #exchanges: Sampling;
  readonly #agent: HttpAgent;
  readonly #addresses: MirrorResolver;
  readonly #differences: Differences;
  readonly #notice: NoticeLimit;
  readonly #dropped: Record<MirrorDrop, number>;
  readonly #failed: Record<MirrorFailure, number>;
  readonly #delay = monitorEventLoopDelay({ resolution: DELAY_MS });
  readonly #inFlight = new Set<MirroredRequest>();
  #chosen: number;
  #bytes = 0;

  constructor(deps: MirrorDeps) {
    this.#deps = deps;
    const { settings, sample, life, earlier, clock } = deps;
    const { endpoint, share, caPem, inFlight } = settings;
    const host = authorityOf(endpoint);
    this.#builder = new RequestBuilder({
      target: null,
      host,
      addedHeaders: settings.headers,
      runId: `mirror-${life}`,
    });
    // Uses the same hash as the sampling of recorded sessions, so that mirrored sessions are a subset of them.
    this.#sessions = new Sampling(share * sample);
    this.#exchanges = new Sampling(share);
    const pool = { keepAlive: true, maxSockets: inFlight, maxFreeSockets: inFlight, timeout: MIRROR.idleMs };
    const name = isIP(endpoint.host) === 0 ? { servername: endpoint.host } : {};
    this.#agent = endpoint.tls
      ? new HttpsAgent({ ...pool, ...name, ...trustIn(caPem) })
      : new HttpAgent(pool);
    this.#addresses = new MirrorResolver(settings, deps.resolve ?? resolveName, clock);
    this.#differences = new Differences(earlier);
    this.#notice = new NoticeLimit(clock, NOTICE_MS);
    this.#chosen = earlier === null ? 0 : earlier.chosen - earlier.inFlight;
    this.#dropped = { ...zeros(MIRROR_DROPS), ...earlier?.dropped };
    this.#failed = { ...zeros(MIRROR_FAILURES), ...earlier?.failed };
    this.#delay.enable();
    void this.#addresses.refresh();
  }

  /** Offers an exchange that was just recorded. Never throws, so that a mirror costs no recording. */
  offer(exchange: Exchange): void {
    if (!this.#chooses(exchange)) return;
    this.#chosen += 1;
    try {
      const why = this.#send(exchange);
      if (why !== null) this.#dropped[why] += 1;
    } catch (error) {
      this.#dropped.not_replayable += 1;
      if (this.#notice.passes())
        this.#deps.logger.error({ reason: reasonOf(error) }, 'a request was not mirrored');
    }
  }

  reading(): MirrorReading {
    const { endpoint, share } = this.#deps.settings;
    return {
      url: formatEndpoint(endpoint),
      share,
      chosen: this.#chosen,
      inFlight: this.#inFlight.size,
      dropped: { ...this.#dropped },
      failed: { ...this.#failed },
      ...this.#differences.reading(),
      delayMs: this.#delayTimes(),
    };
  }

  /** Aborts all open requests. */
  close(): void {
    for (const each of this.#inFlight) each.giveUp('stopped');
    this.#agent.destroy();
    this.#delay.disable();
  }

  /** Node measures the time between two of its timers, which includes the interval itself. */
  #delayTimes(): MirrorTimes {
    const ms = (percent: number) => Math.max(0, this.#delay.percentile(percent) / 1e6 - DELAY_MS);
    return { p50: ms(50), p95: ms(95), p99: ms(99) };
  }

  #chooses({ session, connection, arrivalUs }: Exchange): boolean {
    if (session !== null) return this.#sessions.keepsSession(session);
    return this.#exchanges.all || this.#exchanges.keepsExchange(connection ?? 0, arrivalUs);
  }

  /** Null if the request was sent. */
  #send(exchange: Exchange): MirrorDrop | null {
    const { inFlight, endpoint, timeoutMs } = this.#deps.settings;
    if (exchange.outcome !== 'completed' || exchange.status === null) return 'not_answered';
    if (this.#inFlight.size >= inFlight) return 'busy';
    const built = this.#builder.build(exchange);
    if (built.kind !== 'ready') return 'not_replayable';
    const bodyBytes = built.request.body?.byteLength ?? 0;
    if (this.#bytes + bodyBytes > MIRROR.heldBytes) return 'too_large';
    const place = this.#addresses.next();
    if ('why' in place) return place.why;
    const { agent, path } = { agent: this.#agent, path: built.request.path };
    const where = { agent, host: place.address, port: endpoint.port, method: built.request.method, path };
    const headers = headersOf(built.request);
    const sent = (endpoint.tls ? requestHttps : requestHttp)({ ...where, headers });
    this.#bytes += bodyBytes;
    // Extracted here, because a reference to the exchange in `onEnd` would keep its bodies in memory until the mirror
    // answers.
    const production = productionOf(exchange);
    const mirrored: MirroredRequest = new MirroredRequest(
      sent,
      { timeoutMs, clock: this.#deps.clock },
      (end) => {
        this.#bytes -= bodyBytes;
        this.#inFlight.delete(mirrored);
        if (end.kind === 'failed') this.#failed[end.why] += 1;
        else this.#differences.add(production, end);
      },
    );
    this.#inFlight.add(mirrored);
    sent.end(built.request.body ?? undefined);
    return null;
  }
}

async function resolveName(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}

/** One context for all connections, because creating one reads every certificate: some 15 ms of CPU time. */
function trustIn(caPem: string | null) {
  if (caPem === null) return {};
  return { secureContext: createSecureContext({ ca: [...getCACertificates('default'), caPem] }) };
}

function zeros<Name extends string>(names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;
}

/** A flat list, which Node sends unchanged. */
function headersOf({ headers, body, chunked, method }: BuiltRequest): string[] {
  if (chunked) return [...headers, 'transfer-encoding', 'chunked'];
  if (body === null && (method === 'GET' || method === 'HEAD')) return [...headers];
  return [...headers, 'content-length', String(body?.byteLength ?? 0)];
}

/** A complete answer. */
interface Answered {
  readonly status: number;
  readonly firstByteUs: number;
  readonly lastByteUs: number;
}

function productionOf({ status, firstByteOffsetUs, lastByteOffsetUs }: Exchange): Answered {
  const firstByteUs = Math.max(0, firstByteOffsetUs ?? 0);
  return { status: status ?? 0, firstByteUs, lastByteUs: Math.max(firstByteUs, lastByteOffsetUs ?? 0) };
}

type MirrorEnd =
  | ({ readonly kind: 'answered' } & Answered)
  | { readonly kind: 'failed'; readonly why: MirrorFailure };

/** Sockets that are connected. An agent may reuse the socket of another request, connected or not. */
const connected = new WeakSet<Socket>();

/** One request to the mirror. Its end is reported once. */
class MirroredRequest {
  readonly #request: ClientRequest;
  readonly #clock: Clock;
  readonly #beganNs: number;
  readonly #timer: NodeJS.Timeout;
  readonly #onEnd: (end: MirrorEnd) => void;
  #connected = false;
  #over = false;

  constructor(
    request: ClientRequest,
    { timeoutMs, clock }: { readonly timeoutMs: number; readonly clock: Clock },
    onEnd: (end: MirrorEnd) => void,
  ) {
    this.#request = request;
    this.#clock = clock;
    this.#beganNs = clock.nowNs();
    this.#onEnd = onEnd;
    this.#timer = setTimeout(() => this.giveUp('timeout'), timeoutMs);
    request.on('socket', (socket) => {
      this.#connected = connected.has(socket);
      if (this.#connected) return;
      // With TLS, a connection is established when its certificate was accepted.
      socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => {
        connected.add(socket);
        this.#connected = true;
      });
    });
    request.on('error', () => this.#end({ kind: 'failed', why: this.#connected ? 'broken' : 'connect' }));
    request.on('response', (response) => this.#read(response));
    // The mirror sent an upgrade that was not requested.
    request.on('upgrade', (_, socket) => {
      socket.destroy();
      this.giveUp('broken');
    });
  }

  giveUp(why: MirrorFailure): void {
    this.#end({ kind: 'failed', why });
    this.#request.destroy();
  }

  #read(response: IncomingMessage): void {
    const firstByteUs = this.#sinceUs();
    let bytes = 0;
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MIRROR.answerBytes) this.giveUp('answer_too_large');
    });
    response.on('error', () => this.giveUp('broken'));
    response.on('close', () => {
      if (!response.complete) this.giveUp('broken');
    });
    response.on('end', () => {
      const status = response.statusCode ?? 0;
      this.#end({ kind: 'answered', status, firstByteUs, lastByteUs: this.#sinceUs() });
    });
  }

  #sinceUs(): number {
    return Math.round((this.#clock.nowNs() - this.#beganNs) / 1e3);
  }

  #end(end: MirrorEnd): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#onEnd(end);
  }
}

type Compared = Pick<
  MirrorReading,
  | 'answered'
  | 'otherStatus'
  | 'slower'
  | 'statuses'
  | 'productionSeconds'
  | 'mirrorSeconds'
  | 'latencyMs'
  | 'firstByteMs'
>;

/** Differences between the answers of the mirror and of production to the same requests. */
class Differences {
  readonly #production = { first: new Histogram(), last: new Histogram() };
  readonly #mirror = { first: new Histogram(), last: new Histogram() };
  readonly #seconds: {
    readonly production: Counted<SecondsHistogram>;
    readonly mirror: Counted<SecondsHistogram>;
  };
  readonly #statuses: Map<string, number>;
  #answered: number;
  #otherStatus: number;
  #slower: number;

  constructor(earlier: MirrorReading | null) {
    const continued = (histogram: SecondsHistogram | undefined) =>
      structuredClone(histogram ?? emptyHistogram(DURATION_BOUNDS_S)) as Counted<SecondsHistogram>;
    this.#seconds = {
      production: continued(earlier?.productionSeconds),
      mirror: continued(earlier?.mirrorSeconds),
    };
    this.#statuses = new Map(Object.entries(earlier?.statuses ?? {}));
    this.#answered = earlier?.answered ?? 0;
    this.#otherStatus = earlier?.otherStatus ?? 0;
    this.#slower = earlier?.slower ?? 0;
  }

  add(production: Answered, mirror: Answered): void {
    this.#answered += 1;
    if (mirror.lastByteUs > production.lastByteUs) this.#slower += 1;
    for (const [times, { firstByteUs, lastByteUs }] of [
      [this.#production, production],
      [this.#mirror, mirror],
    ] as const) {
      times.first.record(firstByteUs);
      times.last.record(lastByteUs);
    }
    addSeconds(this.#seconds.production, production.lastByteUs / 1e6);
    addSeconds(this.#seconds.mirror, mirror.lastByteUs / 1e6);
    if (production.status === mirror.status) return;
    this.#otherStatus += 1;
    const pair = `${production.status} ${mirror.status}`;
    const known = this.#statuses.get(pair);
    if (known !== undefined || this.#statuses.size < MIRROR.statusPairs)
      this.#statuses.set(pair, (known ?? 0) + 1);
  }

  reading(): Compared {
    return {
      answered: this.#answered,
      otherStatus: this.#otherStatus,
      slower: this.#slower,
      statuses: Object.fromEntries(this.#statuses),
      productionSeconds: structuredClone(this.#seconds.production),
      mirrorSeconds: structuredClone(this.#seconds.mirror),
      latencyMs: { production: timesOf(this.#production.last), mirror: timesOf(this.#mirror.last) },
      firstByteMs: { production: timesOf(this.#production.first), mirror: timesOf(this.#mirror.first) },
    };
  }
}

function timesOf(histogram: Histogram): MirrorTimes {
  const ms = (percent: number) => {
    const us = histogram.percentile(percent);
    return us === null ? null : us / 1e3;
  };
  return { p50: ms(50), p95: ms(95), p99: ms(99) };
}
