import { createHash } from 'node:crypto';
import { request } from 'undici';
import { AppError, reasonOf } from '../core/errors.ts';
import { shownUrl } from '../core/text.ts';
import { countOf } from '../core/units.ts';
import type { PublishedRun } from '../documents/publication.ts';
import type { Artefact, Delivery, TrackedRun } from './tracker.ts';

/**
 * Limits of a `log-batch` request, which Databricks and GitLab enforce as well.
 * @see https://mlflow.org/docs/latest/rest-api.html#log-batch
 */
const MOST = { metrics: 1_000, params: 100, tags: 100 } as const;
/** A key may have 250 characters. Values of params had 500 before MLflow 2, those of tags have 5,000. */
const LONGEST = { key: 250, param: 500, tag: 5_000 } as const;

const TRIES = 5;
const FIRST_PAUSE_MS = 500;
const PATIENCE_MS = 60_000;
const ANSWER_BYTES = 64 * 1024 * 1024;
/** Statuses after which the same request may succeed. */
const PASSING: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** With this tag, MLflow's pages show runs and metrics instead of traces. */
const EXPERIMENT_TAG = { key: 'mlflow.experimentKind', value: 'custom_model_development' };

/** An MLflow server and how to reach it. */
interface MlflowServer {
  /** `http://127.0.0.1:5000`, without a slash at its end. */
  readonly url: string;
  /** Value of the header; null for none. */
  readonly authorization: string | null;
  /** Waits between two tries. */
  readonly pause: (ms: number) => Promise<void>;
}

interface Point {
  readonly key: string;
  readonly value: number;
  readonly timestamp: number;
  readonly step: number;
}

type Pair = { readonly key: string; readonly value: string };

interface StoredRun {
  readonly info: { readonly run_id: string; readonly experiment_id: string; readonly artifact_uri: string };
  /** The last point of each metric. */
  readonly data: { readonly metrics?: readonly Point[] };
}

/**
 * Publishes a run to MLflow by its REST API. An existing run is completed, and points are never logged twice.
 * @throws AppError TRACKER_FAILED if the server cannot be reached or rejects a request
 */
export async function publishToMlflow(server: MlflowServer, tracked: TrackedRun): Promise<Delivery> {
  return await new MlflowPublisher(server).publish(tracked);
}

class MlflowPublisher {
  readonly #server: MlflowServer;
  readonly #notes: string[] = [];
  #shortened = 0;

  constructor(server: MlflowServer) {
    this.#server = server;
  }

  async publish({ experiment, publication, artefacts }: TrackedRun): Promise<Delivery> {
    const experimentId = await this.#experiment(experiment);
    const parent = await this.#run(experimentId, publication, null);
    await this.#upload(parent, artefacts);
    for (const child of publication.children) await this.#run(experimentId, child, parent.info.run_id);
    if (this.#shortened > 0)
      this.#notes.push(`cut to the limits of MLflow: ${countOf(this.#shortened, 'value')}`);
    return { run: parent.info.run_id, children: publication.children.length, notes: this.#notes };
  }

  async #experiment(name: string): Promise<string> {
    const query = new URLSearchParams({ experiment_name: name });
    for (let attempt = 1; ; attempt += 1) {
      const found = await this.#ask('GET', `mlflow/experiments/get-by-name?${query}`, null, [404]);
      if (found !== null)
        return (found as { experiment: { experiment_id: string } }).experiment.experiment_id;
      // Another client may create it at the same time. Then the next look-up finds it.
      const made = await this.#ask(
        'POST',
        'mlflow/experiments/create',
        { name, tags: [EXPERIMENT_TAG] },
        attempt === 1 ? [400] : [],
      );
      if (made !== null) return (made as { experiment_id: string }).experiment_id;
    }
  }

  async #run(experimentId: string, run: PublishedRun, parent: string | null): Promise<StoredRun> {
    const startMs = Date.parse(run.startedAt);
    const known = await this.#find(experimentId, run.id);
    const stored = known ?? (await this.#create(experimentId, run, startMs));
    const runId = stored.info.run_id;
    const commit = run.tags['reprise.label.commit'];
    const tags = {
      ...run.tags,
      ...(commit === undefined ? {} : { 'mlflow.source.git.commit': commit }),
      'mlflow.note.content': run.note,
      'mlflow.source.name': 'reprise',
      ...(parent === null ? {} : { 'mlflow.parentRunId': parent }),
    };
    for (const some of slices(this.#pairs(run.params, LONGEST.param), MOST.params))
      await this.#ask('POST', 'mlflow/runs/log-batch', { run_id: runId, params: some });
    for (const some of slices(this.#pairs(tags, LONGEST.tag), MOST.tags))
      await this.#ask('POST', 'mlflow/runs/log-batch', { run_id: runId, tags: some });
    if (run.dataset !== undefined) await this.#input(runId, run.dataset);
    const points = this.#points(run, startMs);
    const left = known === null ? points : await this.#missing(runId, points);
    for (const some of slices(left, MOST.metrics)) await this.#log(runId, some);
    await this.#ask('POST', 'mlflow/runs/update', {
      run_id: runId,
      status: run.verdict === 'FAIL' ? 'FAILED' : run.complete ? 'FINISHED' : 'KILLED',
      end_time: Date.parse(run.endedAt),
    });
    return stored;
  }

  /** The capture as the dataset of a run. MLflow keeps one input for the same name and digest. */
  async #input(runId: string, { name, digest }: NonNullable<PublishedRun['dataset']>): Promise<void> {
    const dataset = { name, digest, source_type: 'reprise', source: JSON.stringify({ capture: name }) };
    const input = { dataset, tags: [{ key: 'mlflow.data.context', value: 'replay' }] };
    // Servers older than 2.4, and some that imitate MLflow, have no datasets.
    const answer = await this.#ask(
      'POST',
      'mlflow/runs/log-inputs',
      { run_id: runId, datasets: [input] },
      [404, 501],
    );
    if (answer === null) this.#notes.push('the capture was not logged as a dataset: the server has none');
  }

  async #find(experimentId: string, id: string): Promise<StoredRun | null> {
    const filter = `tags."reprise.run" = '${id}'`;
    const asked = { experiment_ids: [experimentId], filter, max_results: 1 };
    const { runs = [] } = (await this.#ask('POST', 'mlflow/runs/search', asked)) as { runs?: StoredRun[] };
    return runs[0] ?? null;
  }

  /** Each retry looks for the run first, because it may exist although the answer was lost. */
  async #create(experimentId: string, run: PublishedRun, startMs: number): Promise<StoredRun> {
    const body = {
      experiment_id: experimentId,
      run_name: run.name ?? run.id,
      start_time: startMs,
      tags: [{ key: 'reprise.run', value: run.id }],
    };
    const created = await this.#again(
      async () => await this.#once('POST', 'mlflow/runs/create', body),
      async () => {
        const run_ = await this.#find(experimentId, run.id);
        return run_ === null ? undefined : { run: run_ };
      },
    );
    return (created as { run: StoredRun }).run;
  }

  /** Logs points. Servers append, and may store a part of a failed request, so a retry sends only missing points. */
  async #log(runId: string, points: readonly Point[]): Promise<void> {
    let left = points;
    await this.#again(
      async () => await this.#once('POST', 'mlflow/runs/log-batch', { run_id: runId, metrics: left }),
      async () => {
        left = await this.#missing(runId, left);
        return left.length === 0 ? {} : undefined;
      },
    );
  }

  /** The points that the server does not have. */
  async #missing(runId: string, points: readonly Point[]): Promise<Point[]> {
    const { run } = (await this.#ask('GET', `mlflow/runs/get?${new URLSearchParams({ run_id: runId })}`)) as {
      run: StoredRun;
    };
    const lasts = run.data.metrics ?? [];
    const kept = new Set(lasts.map(identityOf));
    const open = new Set(points.filter((point) => !kept.has(identityOf(point))).map(({ key }) => key));
    for (const { key } of lasts) {
      if (open.has(key)) for (const each of await this.#history(runId, key)) kept.add(identityOf(each));
    }
    return points.filter((point) => !kept.has(identityOf(point)));
  }

  async #history(runId: string, key: string): Promise<Point[]> {
    const points: Point[] = [];
    let token: string | undefined = '';
    while (token !== undefined) {
      const query = new URLSearchParams({
        run_id: runId,
        metric_key: key,
        max_results: '1000',
        ...(token === '' ? {} : { page_token: token }),
      });
      const page = (await this.#ask('GET', `mlflow/metrics/get-history?${query}`)) as {
        metrics?: Point[];
        next_page_token?: string;
      };
      points.push(...(page.metrics ?? []));
      token = page.next_page_token || undefined;
    }
    return points;
  }

  /** Uploads through the server, which knows its artefact store. */
  async #upload({ info }: StoredRun, artefacts: readonly Artefact[]): Promise<void> {
    if (artefacts.length === 0) return;
    const root = /^mlflow-artifacts:\/(?:\/[^/]*\/)?(.*)$/.exec(info.artifact_uri)?.[1];
    if (root === undefined) {
      const scheme = info.artifact_uri.split(':')[0];
      this.#notes.push(
        `${countOf(artefacts.length, 'artefact')} not sent: the server does not take them itself (${scheme}); start it with --serve-artifacts`,
      );
      return;
    }
    for (const { name, mediaType, content } of artefacts) {
      const path = [...root.split('/'), name].map(encodeURIComponent).join('/');
      await this.#ask('PUT', `mlflow-artifacts/artifacts/${path}`, { mediaType, content });
    }
  }

  #pairs(texts: Readonly<Record<string, string>>, longest: number): Pair[] {
    return this.#renamed(Object.entries(texts)).map(([key, value]) => {
      if (value.length > longest) this.#shortened += 1;
      return { key, value: value.length > longest ? `${value.slice(0, longest - 1)}…` : value };
    });
  }

  /**
   * Points of series are at their seconds after the start of the run, single values at its end. MLflow shows the latest
   * value, so the values of a resumed search replace earlier ones.
   */
  #points({ metrics, series, curve = {}, endedAt }: PublishedRun, startMs: number): Point[] {
    const endMs = Date.parse(endedAt);
    const single = this.#renamed(Object.entries(metrics)).map(
      ([key, value]): Point => ({ key, value, timestamp: endMs, step: 0 }),
    );
    const several = this.#renamed(Object.entries(series)).flatMap(([key, values]) =>
      values.map(([second, value]): Point => {
        return { key, value, timestamp: startMs + Math.round(second * 1e3), step: Math.round(second) };
      }),
    );
    // MLflow's steps are whole numbers, so the load is in percent. A search that goes on keeps its start.
    const byLoad = this.#renamed(Object.entries(curve)).flatMap(([key, values]) =>
      values.map(
        ([percent, value]): Point => ({ key, value, timestamp: startMs, step: Math.round(percent) }),
      ),
    );
    return [...single, ...several, ...byLoad];
  }

  /** Changes keys so that every server accepts them. A key that is too long, or no longer unique, ends in a hash. */
  #renamed<Value>(entries: readonly (readonly [string, Value])[]): [string, Value][] {
    const taken = new Set<string>();
    return entries.map(([key, value]) => {
      const plain = key
        .replace(/[^\w. :/-]/g, '_')
        .replace(/\/+/g, '/')
        .trim();
      const isOwn = plain.length <= LONGEST.key && !taken.has(plain);
      const name = isOwn ? plain : `${plain.slice(0, LONGEST.key - 9)}-${digestOf(key)}`;
      taken.add(name);
      return [name, value];
    });
  }

  /** Sends a request that is safe to retry unchanged. @returns null for a status in `otherwise` */
  async #ask(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    body: object | null = null,
    otherwise: readonly number[] = [],
  ): Promise<object | null> {
    return await this.#again(async () => await this.#once(method, path, body, otherwise));
  }

  /**
   * @param before called before each retry; a result other than undefined is used as the answer
   */
  async #again(
    attempt: () => Promise<object | null>,
    before: () => Promise<object | undefined> = async () => undefined,
  ): Promise<object | null> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await attempt();
      } catch (thrown) {
        if (!(thrown instanceof PassingError)) throw thrown;
        if (tries === TRIES) throw this.#failed(`${thrown.message}, ${TRIES} times`, thrown);
      }
      await this.#server.pause(FIRST_PAUSE_MS * 2 ** (tries - 1));
      const answer = await before();
      if (answer !== undefined) return answer;
    }
  }

  async #once(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    body: object | null,
    otherwise: readonly number[] = [],
  ): Promise<object | null> {
    const { url, authorization } = this.#server;
    const file = body as Artefact | null;
    const isFile = method === 'PUT';
    const { status, text } = await answerOf(`${url}/api/2.0/${path}`, {
      method,
      body: body === null ? null : isFile ? (file?.content ?? '') : JSON.stringify(body),
      headers: {
        'content-type': isFile ? (file?.mediaType ?? '') : 'application/json',
        ...(authorization === null ? {} : { authorization }),
      },
    });
    if (otherwise.includes(status)) return null;
    if (PASSING.has(status)) throw new PassingError(`it answered ${status}`);
    if (status !== 200) throw this.#failed(`it answered ${status} to ${path.split('?')[0]}: ${saidIn(text)}`);
    try {
      return JSON.parse(text === '' ? '{}' : text) as object;
    } catch (cause) {
      throw this.#failed('its answer is no JSON', cause);
    }
  }

  #failed(why: string, cause?: unknown): AppError {
    return new AppError('TRACKER_FAILED', `MLflow at ${shownUrl(this.#server.url)}: ${why}`, {
      hint: 'Check the address, and MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. The same command again completes what is there.',
      cause,
    });
  }
}

/** A failure that may be temporary. */
class PassingError extends Error {}

async function answerOf(
  url: string,
  options: {
    readonly method: 'GET' | 'POST' | 'PUT';
    readonly body: string | null;
    readonly headers: Record<string, string>;
  },
): Promise<{ status: number; text: string }> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    const { statusCode, body } = await request(url, { ...options, signal });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES) throw new Error('its answer is too long');
      chunks.push(chunk);
    }
    return { status: statusCode, text: Buffer.concat(chunks).toString('utf8') };
  } catch (thrown) {
    throw new PassingError(signal.aborted ? 'it does not answer' : reasonOf(thrown));
  }
}

/** The reason that a server gives for a rejection. */
function saidIn(text: string): string {
  try {
    const { error_code: code, message } = JSON.parse(text) as { error_code?: string; message?: string };
    return [code, message]
      .filter((part) => part !== undefined)
      .join(': ')
      .slice(0, 500);
  } catch {
    return text.slice(0, 200);
  }
}

/** MLflow identifies a point by all these members. Some servers return numbers as text. */
function identityOf({ key, value, timestamp, step }: Point): string {
  return JSON.stringify([key, Number(value), Number(timestamp), Number(step)]);
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}

function slices<Item>(items: readonly Item[], most: number): Item[][] {
  const count = Math.ceil(items.length / most);
  return Array.from({ length: count }, (_, at) => items.slice(at * most, (at + 1) * most));
}
