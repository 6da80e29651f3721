import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** As long as the metrics of a busy model server: some known series among a thousand. */
const LINES = 1_000;

/** Model servers that only tell their metrics, for what it costs to read them. */
export class MetricsServers {
  readonly #servers: readonly Server[];

  private constructor(servers: readonly Server[]) {
    this.#servers = servers;
  }

  static async start(count: number): Promise<MetricsServers> {
    const servers = Array.from({ length: count }, () =>
      createServer((_, response) => {
        response.setHeader('content-type', 'text/plain; version=0.0.4');
        response.end(metricsText());
      }).listen(0, '127.0.0.1'),
    );
    await Promise.all(servers.map((server) => once(server, 'listening')));
    return new MetricsServers(servers);
  }

  /** What `replay` is told to watch all of them. */
  get flags(): string[] {
    return this.#servers.flatMap((server) => [
      '--monitor',
      `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`,
    ]);
  }

  stop(): void {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
  }
}

function metricsText(): string {
  const known = Array.from({ length: 100 }, (_, at) => [
    `vllm:num_requests_waiting{model_name="m${at}"} ${at}`,
    `vllm:kv_cache_usage_perc{model_name="m${at}"} 0.${at}`,
    `vllm:generation_tokens_total{model_name="m${at}"} ${at * 1e3}`,
  ]).flat();
  const other = Array.from({ length: LINES - known.length }, (_, at) => `other_bucket{le="${at}"} ${at}`);
  return `${[...known, ...other].join('\n')}\n`;
}
