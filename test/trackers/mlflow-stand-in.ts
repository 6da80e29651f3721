import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { atFileEnd } from '../support/leftovers.ts';

interface Pair {
  readonly key: string;
  readonly value: string;
}
export interface StoredPoint {
  readonly key: string;
  readonly value: number;
  readonly timestamp: number;
  readonly step: number;
}
export interface StoredMlflowRun {
  readonly id: string;
  readonly name: string;
  readonly datasets: Map<string, string>;
  readonly params: Map<string, string>;
  readonly tags: Map<string, string>;
  readonly points: StoredPoint[];
  status: string;
}

/**
 * A mishap of a request: `lost`: it is done, but its answer is lost. `half`: it is half done and fails. Or a status.
 */
export type Mishap = 'lost' | 'half' | number;

/**
 * An MLflow server in memory. It appends every point, rejects batches over the limits, and has the mishap that a test
 * sets for the n-th request of a path.
 */
export class MlflowStandIn {
  readonly runs: StoredMlflowRun[] = [];
  readonly files = new Map<string, string>();
  readonly experiments: string[] = [];
  readonly authorizations = new Set<string | undefined>();
  readonly batches: { metrics: number; params: number; tags: number; bytes: number }[] = [];
  artifactRoot = 'mlflow-artifacts:/1';
  /** Mishaps by path, for its requests in order; null for none. */
  readonly mishaps: Record<string, (Mishap | null)[]> = {};
  url = '';

  async start(): Promise<this> {
    const server = createServer((request, response) => {
      void this.#answer(request).then(
        ([status, answer]) => {
          if (status === 0) response.destroy();
          else response.writeHead(status).end(JSON.stringify(answer));
        },
        (error: unknown) => response.writeHead(418).end(String(error)),
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    atFileEnd(() => server.close());
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return this;
  }

  async #answer(request: IncomingMessage): Promise<[number, object]> {
    this.authorizations.add(request.headers.authorization);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost');
    const path = pathname.replace('/api/2.0/', '');
    const mishap = this.mishaps[path]?.shift() ?? null;
    if (typeof mishap === 'number') return [mishap, { error_code: 'TEMPORARILY_UNAVAILABLE' }];
    if (request.method === 'PUT') this.files.set(decodeURIComponent(path), text);
    const answer = request.method === 'PUT' ? {} : this.#do(path, text, searchParams, mishap === 'half');
    if (answer === null) return [404, { error_code: 'RESOURCE_DOES_NOT_EXIST', message: 'none' }];
    if ('refused' in answer) return [400, { error_code: 'INVALID_PARAMETER_VALUE', message: answer.refused }];
    return [mishap === 'lost' ? 0 : mishap === 'half' ? 500 : 200, answer];
  }

  #do(path: string, text: string, query: URLSearchParams, byHalf: boolean): object | null {
    const body = text === '' ? {} : JSON.parse(text);
    if (path === 'mlflow/experiments/get-by-name') {
      const at = this.experiments.indexOf(query.get('experiment_name') ?? '');
      return at < 0 ? null : { experiment: { experiment_id: String(at + 1) } };
    }
    if (path === 'mlflow/experiments/create')
      return { experiment_id: String(this.experiments.push(body.name)) };
    if (path === 'mlflow/runs/create') return { run: this.#shown(this.#create(body.run_name, body.tags)) };
    if (path === 'mlflow/runs/search') {
      const [, id] = /= '(.*)'$/.exec(body.filter) ?? [];
      const found = this.runs.filter(({ tags }) => tags.get('reprise.run') === id);
      return { runs: found.map((run) => this.#shown(run)) };
    }
    const run = this.runs.find(({ id }) => id === (body.run_id ?? query.get('run_id')));
    if (run === undefined) return null;
    if (path === 'mlflow/runs/get') return { run: this.#shown(run) };
    if (path === 'mlflow/runs/update') {
      run.status = body.status;
      return {};
    }
    if (path === 'mlflow/runs/log-inputs') {
      for (const { dataset } of body.datasets) run.datasets.set(dataset.name, dataset.digest);
      return {};
    }
    if (path === 'mlflow/metrics/get-history') return pageOf(run, query);
    if (path === 'mlflow/runs/log-batch') return this.#log(run, body, text.length, byHalf);
    return null;
  }

  #create(name: string, tags: readonly Pair[]): StoredMlflowRun {
    const id = `run${this.runs.length + 1}`;
    const named = new Map(tags.map(({ key, value }) => [key, value]));
    const run = {
      id,
      name,
      datasets: new Map(),
      params: new Map(),
      tags: named,
      points: [],
      status: 'RUNNING',
    };
    this.runs.push(run);
    return run;
  }

  #log(
    run: StoredMlflowRun,
    { metrics = [], params = [], tags = [] }: { metrics?: StoredPoint[]; params?: Pair[]; tags?: Pair[] },
    bytes: number,
    byHalf: boolean,
  ): object {
    this.batches.push({ metrics: metrics.length, params: params.length, tags: tags.length, bytes });
    if (metrics.length > 1_000 || params.length > 100 || tags.length > 100 || bytes > 1_000_000)
      return { refused: 'A batch logging request is too large' };
    const names = [...metrics, ...params, ...tags].map(({ key }) => key);
    const wrong = names.find((key) => key.length > 250 || !/^[\w. :/-]+$/.test(key));
    if (wrong !== undefined) return { refused: `Invalid name: ${wrong}` };
    if ([...params].some(({ value }) => value.length > 500)) return { refused: 'a param is too long' };
    for (const { key, value } of params) {
      if ((run.params.get(key) ?? value) !== value)
        return { refused: 'Changing param values is not allowed' };
      run.params.set(key, value);
    }
    for (const { key, value } of tags) run.tags.set(key, value);
    run.points.push(...metrics.slice(0, byHalf ? Math.floor(metrics.length / 2) : metrics.length));
    return {};
  }

  #shown({ id, points }: StoredMlflowRun) {
    const lasts = new Map(points.map((point) => [point.key, point]));
    return {
      info: { run_id: id, experiment_id: '1', artifact_uri: `${this.artifactRoot}/${id}/artifacts` },
      data: { metrics: [...lasts.values()] },
    };
  }
}

/** Pages are smaller than requested, because a server may do this. */
const PAGE = 100;

function pageOf({ points }: StoredMlflowRun, query: URLSearchParams): object {
  const own = points.filter(({ key }) => key === query.get('metric_key'));
  const from = Number(query.get('page_token') ?? 0);
  const isLast = from + PAGE >= own.length;
  return {
    metrics: own.slice(from, from + PAGE),
    ...(isLast ? {} : { next_page_token: String(from + PAGE) }),
  };
}
