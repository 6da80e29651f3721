import type { Server } from 'node:http';
import { type Clock, systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { Logger } from '../../core/ports.ts';
import type { RecorderStatus } from '../../core/status.ts';
import { placeOf } from '../listening.ts';
import { METRICS_TYPE } from './metrics.ts';
import { MetricsPage } from './metrics-page.ts';
import { type Answer, smallServer, text } from './small-http.ts';

/** Where probes and metrics are answered. */
export interface ProbeAddress {
  readonly host: string;
  readonly port: number;
}

/** A port that somebody else still holds (a predecessor that drains, say) is asked for again after so long. */
const RETRY_MS = 5_000;

/**
 * Answers the orchestrator and the scraper: `/livez`, `/readyz`, `/metrics`. Nothing can be changed here and no
 * payload is shown. It is never worth more than traffic: a port that cannot be had is a warning.
 */
export class ProbeServer {
  readonly #statusOf: () => RecorderStatus;
  readonly #metrics: MetricsPage;
  readonly #logger: Logger;
  readonly #retryMs: number;
  readonly #server: Server;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(deps: {
    readonly statusOf: () => RecorderStatus;
    readonly logger: Logger;
    readonly retryMs?: number;
    readonly clock?: Clock;
  }) {
    this.#statusOf = deps.statusOf;
    this.#metrics = new MetricsPage(deps.statusOf, deps.clock ?? systemClock);
    this.#logger = deps.logger;
    this.#retryMs = deps.retryMs ?? RETRY_MS;
    this.#server = smallServer(LIMITS.probeConnections, (method, path) => this.#answer(method, path));
  }

  /** @returns the address that was bound; null when it could not be had, and is tried for again */
  listen(address: ProbeAddress): Promise<ProbeAddress | null> {
    return new Promise((resolve) => {
      let first = true;
      this.#server.on('error', (error) => {
        if (this.#server.listening) return;
        if (first) {
          const fields = { probeListen: `${address.host}:${address.port}`, reason: reasonOf(error) };
          this.#logger.error(fields, 'NO PROBES OR METRICS: their address cannot be had; it is tried again');
        }
        first = false;
        resolve(null);
        if (!this.#closed)
          this.#retry = setTimeout(() => this.#server.listen(placeOf(address)), this.#retryMs);
      });
      this.#server.on('listening', () => {
        const bound = this.#server.address();
        if (bound === null || typeof bound === 'string') return;
        if (!first) this.#logger.info({ port: bound.port }, 'probes and metrics are answered now');
        resolve({ host: bound.address, port: bound.port });
      });
      this.#server.listen(placeOf(address));
    });
  }

  close(): void {
    this.#closed = true;
    if (this.#retry) clearTimeout(this.#retry);
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(method: string, path: string): Promise<Answer> {
    if (path !== '/livez' && path !== '/readyz' && path !== '/metrics') {
      return text(404, 'there are /livez, /readyz and /metrics');
    }
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'ask with GET', { Allow: 'GET, HEAD' });
    if (path === '/livez') return text(200, 'live');
    if (path === '/metrics') return { status: 200, type: METRICS_TYPE, body: await this.#metrics.text() };
    const status = this.#statusOf();
    if (status.ready) return text(200, 'ready');
    return text(503, status.draining ? 'draining' : 'not accepting connections');
  }
}
