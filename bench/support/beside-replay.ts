import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Lines of the metrics page of a busy model server: a few known series among a thousand. */
const LINES = 1_000;

/** Servers that run beside a replay, and the flags that make the replay use them. */
export class BesideReplay {
  readonly flags: readonly string[];
  readonly #servers: readonly Server[];
  #requests = 0;

  private constructor(servers: readonly Server[], flags: readonly string[]) {
    this.#servers = servers;
    this.flags = flags;
    for (const server of servers)
      server.on('request', () => {
        this.#requests += 1;
      });
  }

  /** Requests received so far. */
  get requests(): number {
    return this.#requests;
  }

  /** Model servers that only serve metrics, to measure the cost of reading them. */
  static async monitors(count: number): Promise<BesideReplay> {
    const started = await Promise.all(
      Array.from({ length: count }, () =>
        listening((_, response) => {
          response.setHeader('content-type', 'text/plain; version=0.0.4');
          response.end(metricsText());
        }),
      ),
    );
    const flags = started.flatMap(({ url }) => ['--monitor', `${url}/metrics`]);
    return new BesideReplay(
      started.map(({ server }) => server),
      flags,
    );
  }

  /** A receiver of OTLP and remote write that accepts everything, to measure the cost of sending it. */
  static async receiver(): Promise<BesideReplay> {
    const { server, url } = await listening((request, response) => {
      request.resume().on('end', () => response.end());
    });
    return new BesideReplay([server], ['--otlp', url, '--remote-write', `${url}/api/v1/write`]);
  }

  stop(): void {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
  }
}

async function listening(answer: RequestListener): Promise<{ server: Server; url: string }> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
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
