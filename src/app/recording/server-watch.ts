import { readFileSync } from 'node:fs';
import type { Clock } from '../../core/clock.ts';
import type { Exchange } from '../../core/exchange.ts';
import { headerPairsOf, headerValue, parseRequestHead } from '../../core/headers.ts';
import { SERVER_DETAILS } from '../../core/limits.ts';
import { joinedDetails, type ServerDetails } from '../../documents/server-details.ts';
import { type AskedServer, DetailReader, isOfPlace, serverAt } from '../../monitors/server-details.ts';
import type { UpstreamTls } from '../../proxy/data-plane.ts';
import { authorityOf, type Endpoint, placeOfTarget, speaksTls } from '../../proxy/net/endpoint.ts';
import type { RecordingPolicy } from '../../redaction/recording-policy.ts';
import { trustOf } from '../../replay/guard.ts';

/** Whom a recorder asks about itself. Plain data, because it is sent to the recorder process. */
export interface ServerWatchSettings {
  readonly targets: readonly Endpoint[];
  readonly tls: UpstreamTls | null;
  /** URLs of metrics. */
  readonly metrics: readonly string[];
}

interface ServerWatchDeps {
  /** Null: nobody is asked. */
  readonly settings: ServerWatchSettings | null;
  readonly policy: Pick<RecordingPolicy, 'redact'>;
  readonly clock: Clock;
  /** Gets what is known, whenever that changed. */
  readonly onDetails: (details: ServerDetails) => void;
  /** Gets an error of our own, after which nothing more is watched. The recording goes on. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * Keeps what the recorded servers say of themselves: in the answers that pass by, and, if the user wants it, in answers
 * to a few requests of its own. These are sent by the recorder process, once at the start and then every hour.
 */
export class ServerWatch {
  readonly #deps: ServerWatchDeps;
  readonly #reader: DetailReader;
  readonly #stop = new AbortController();
  readonly #models = new Set<string>();
  #details: ServerDetails = {};
  #timer: NodeJS.Timeout | undefined;
  #readNs = Number.NEGATIVE_INFINITY;

  constructor(deps: ServerWatchDeps) {
    this.#deps = deps;
    this.#reader = new DetailReader(deps.policy.redact.queryKeys);
  }

  /** Takes what a recorded exchange says. Never throws, so that it costs no recording. */
  offer(exchange: Exchange): void {
    if (this.#stop.signal.aborted) return;
    try {
      this.#take(exchange);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The head of an answer is read once a second. */
  #take(exchange: Exchange): void {
    const { response, route, model } = exchange;
    if (response === null) return;
    if (model !== null && this.#models.size < SERVER_DETAILS.models && route?.includes(' /v2/models/'))
      this.#models.add(model);
    const nowNs = this.#deps.clock.nowNs();
    if (nowNs - this.#readNs >= SERVER_DETAILS.headMs * 1e6) {
      this.#readNs = nowNs;
      const server = headerValue(headerPairsOf(response.head), 'server');
      // Added to what is known: behind one address there may be several servers.
      if (server !== null) this.#change(joinedDetails(this.#details, this.#reader.software(server)));
    }
    if (!isOfPlace(exchange) || exchange.status !== 200) return;
    const { kept, truncated } = response.body;
    const isPlain = headerValue(headerPairsOf(response.head), 'content-encoding') === null;
    if (kept === null || truncated || !isPlain || kept.length > SERVER_DETAILS.answerBytes) return;
    const place = placeIn(exchange);
    if (!(place in this.#details) && Object.keys(this.#details).length >= SERVER_DETAILS.places) return;
    const said = this.#reader.answer(place, Buffer.from(kept).toString());
    if (said !== null) this.#set(said);
  }

  /** Asks now, and again after an hour; after a minute if nobody answers. */
  begin(): void {
    const { settings } = this.#deps;
    if (settings !== null) this.#askAll(settings).catch((error: unknown) => this.#fail(error));
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#stop.abort();
  }

  #fail(error: unknown): void {
    this.close();
    this.#deps.onFailure(error);
  }

  async #askAll(settings: ServerWatchSettings): Promise<void> {
    const { signal } = this.#stop;
    let said: ServerDetails = {};
    for (const server of settings.targets.slice(0, SERVER_DETAILS.servers))
      said = joinedDetails(said, await this.#ask(server, settings.tls));
    for (const url of settings.metrics)
      said = joinedDetails(said, await this.#reader.askMetrics(serverAt(url), signal));
    if (signal.aborted) return;
    const isAnswered = Object.keys(said).length > 0;
    if (isAnswered) this.#set(said);
    const againMs = isAnswered ? SERVER_DETAILS.againMs : SERVER_DETAILS.retryMs;
    this.#timer = setTimeout(() => this.begin(), againMs).unref();
  }

  async #ask(target: Endpoint, tls: UpstreamTls | null): Promise<ServerDetails> {
    const server = serverOf(target, tls);
    return server === null ? {} : await this.#reader.ask(server, [...this.#models], this.#stop.signal);
  }

  /** Replaces what is known of these places: a server may have been replaced. */
  #set(said: ServerDetails): void {
    this.#change({ ...this.#details, ...said });
  }

  #change(details: ServerDetails): void {
    if (JSON.stringify(details) === JSON.stringify(this.#details)) return;
    this.#details = details;
    this.#deps.onDetails(details);
  }
}

/** Null if its certificates cannot be read now. */
function serverOf(target: Endpoint, tls: UpstreamTls | null): AskedServer | null {
  const place = placeOfTarget(target);
  const connect = 'path' in place ? { socketPath: place.path } : { hostname: place.host, port: place.port };
  const headers = [['host', target.kind === 'unix' ? 'localhost' : authorityOf(target)]] as const;
  if (!speaksTls(target)) return { connect, basePath: '', headers };
  try {
    const text = (path: string) => readFileSync(path, 'utf8');
    const caPem = tls?.caPath == null ? null : text(tls.caPath);
    const client = tls?.client ?? null;
    const clientCertificate = client && { cert: text(client.certPath), key: text(client.keyPath) };
    const trust = trustOf({ caPem, acceptAnyCertificate: tls?.verify === false, clientCertificate });
    const named = tls?.serverName == null ? {} : { servername: tls.serverName };
    return { connect: { ...connect, ...trust, ...named, protocol: 'https:' }, basePath: '', headers };
  } catch {
    // The proxy reports such a file, because it needs it as well. The recorder asks again later.
    return null;
  }
}

/** The path that an exchange asked for, without its query. */
function placeIn({ request }: Exchange): string {
  return parseRequestHead(request?.head ?? new Uint8Array()).target.replace(/[?#].*$/s, '');
}
