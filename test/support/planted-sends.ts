import { uniformBy } from '../../src/analysis/capacity/queue-model.ts';
import type { SeenSeries } from '../../src/analysis/explain/resources.ts';
import type { Send } from '../../src/core/run.ts';
import { send } from './sends.ts';

const MS = 1e6;

/** One request to a planted server. Times in milliseconds after the start of the run. */
export interface PlantedRequest {
  readonly index: number;
  readonly atMs: number;
  readonly route: string;
  readonly model: string;
  readonly client: string;
  readonly requestBytes: number;
  /** How long a server without a fault works on it. */
  readonly workMs: number;
  /** Uniform, drawn from a seed. */
  readonly draw: () => number;
}

export interface Load {
  readonly seed: number;
  readonly requests?: number;
  readonly perSecond?: number;
  /** Arrivals a second, times `perSecond`, by the second of the run. */
  readonly shape?: (second: number) => number;
}

const ROUTES = ['POST /v1/chat', 'POST /v1/embed', 'POST /v1/rank'] as const;
const MODELS = ['resnet', 'bert'] as const;

/** Poisson arrivals of independent routes, models, clients and sizes. */
export function plantedRequests({
  seed,
  requests = 1_500,
  perSecond = 60,
  shape = () => 1,
}: Load): PlantedRequest[] {
  const draw = uniformBy(seed);
  let atMs = 0;
  return Array.from({ length: requests }, (_, index) => {
    atMs += (-Math.log(1 - draw()) * 1e3) / (perSecond * shape(Math.floor(atMs / 1e3)));
    return {
      index,
      atMs,
      route: ROUTES[Math.floor(draw() * 3)] as string,
      model: MODELS[Math.floor(draw() * 2)] as string,
      client: String(Math.floor(draw() * 4)).padStart(16, '0'),
      requestBytes: Math.round(500 * Math.exp(1.2 * (draw() + draw() + draw() - 1.5))),
      workMs: 10 + 15 * draw(),
      draw,
    };
  });
}

/** What a server answered, and when; sent `lagMs` late. */
export interface PlantedAnswer {
  readonly ms: number;
  readonly lagMs?: number;
  readonly status?: number;
  readonly facts?: Partial<Send>;
}

/** The rows of a run. Each request took its work alone when recorded. */
export function plantedSends(
  requests: readonly PlantedRequest[],
  answer: (request: PlantedRequest) => PlantedAnswer,
): Send[] {
  return requests.map((request) => {
    const { ms, lagMs = 0.05, status = 200, facts = {} } = answer(request);
    const { index, atMs, route, model, client, requestBytes, workMs } = request;
    const intendedOffsetNs = Math.round(atMs * MS);
    const actualOffsetNs = intendedOffsetNs + Math.round(lagMs * MS);
    const lastByteOffsetNs = actualOffsetNs + Math.round(ms * MS);
    return send({
      ...{
        index,
        route,
        model,
        client,
        requestBytes,
        intendedOffsetNs,
        actualOffsetNs,
        lastByteOffsetNs,
        status,
      },
      startOffsetNs: actualOffsetNs + 20_000,
      firstByteOffsetNs: lastByteOffsetNs,
      recorded: {
        status: 200,
        bytes: 20,
        streamed: false,
        tookNs: Math.round(workMs * MS),
        tellsError: false,
      },
      ...facts,
    });
  });
}

/** First come, first served, by so many workers. */
export function workers(count: number): (atMs: number, workMs: number) => number {
  const freeAt = new Array<number>(count).fill(0);
  return (atMs, workMs) => {
    const next = freeAt.indexOf(Math.min(...freeAt));
    const end = Math.max(atMs, freeAt[next] as number) + workMs;
    freeAt[next] = end;
    return end - atMs;
  };
}

/** A monitored series with a reading each half second. */
export function plantedSeries(
  name: string,
  valueAt: (second: number) => number,
  facts: Partial<Pick<SeenSeries, 'kind'>> = {},
  seconds = 60,
): SeenSeries {
  const values = Array.from({ length: 2 * seconds }, (_, at) => ({
    fromMs: at * 500,
    toMs: at * 500 + 500,
    value: valueAt(at / 2),
  }));
  return { name, metric: name, kind: 'gauge', ...facts, values };
}
