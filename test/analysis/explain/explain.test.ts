import { expect, it } from 'vitest';
import { explainSends } from '../../../src/analysis/explain/explain.ts';
import type { SeenSeries } from '../../../src/analysis/explain/moments.ts';
import type { Send } from '../../../src/core/run.ts';
import type { CauseKind, Explanation } from '../../../src/documents/explanation.ts';
import type { ReplayDocument } from '../../../src/documents/replay.ts';
import {
  type PlantedAnswer,
  type PlantedRequest,
  plantedRequests,
  plantedSends,
  plantedSeries,
  workers,
} from '../../support/planted-sends.ts';

interface Planted {
  readonly name: string;
  readonly load?: Partial<Parameters<typeof plantedRequests>[0]>;
  /** A server with the fault. */
  readonly server: (requests: readonly PlantedRequest[]) => (request: PlantedRequest) => PlantedAnswer;
  readonly series?: readonly SeenSeries[];
  readonly faults?: ReplayDocument['faults'];
  readonly slo?: string;
  /** The first cause; null for none. */
  readonly kind: CauseKind | null;
  readonly subject?: string | null;
}

const unlimited = (msOf: (request: PlantedRequest) => number) => () => (request: PlantedRequest) => ({
  ms: msOf(request),
});
const isIn = (request: PlantedRequest, from: number, to: number) =>
  request.atMs >= from * 1e3 && request.atMs < to * 1e3;

const PLANTED: readonly Planted[] = [
  {
    name: 'a worker pool',
    load: { shape: (second) => (second > 8 && second < 14 ? 3 : 1) },
    server: () => {
      const pool = workers(2);
      return ({ atMs, workMs }) => ({ ms: pool(atMs, workMs) });
    },
    kind: 'waiting',
  },
  {
    name: 'a worker pool that is too small all the time',
    server: () => {
      const pool = workers(1);
      return ({ atMs, workMs }) => ({ ms: pool(atMs, workMs) });
    },
    kind: 'waiting',
  },
  {
    name: 'one slow route',
    server: unlimited(({ route, workMs }) => (route === 'POST /v1/rank' ? 12 * workMs : workMs)),
    kind: 'route',
    subject: 'POST /v1/rank',
  },
  {
    name: 'one slow route that fills a worker pool',
    server: () => {
      const pool = workers(4);
      return ({ atMs, route, workMs }) => ({
        ms: pool(atMs, route === 'POST /v1/rank' ? 9 * workMs : workMs),
      });
    },
    kind: 'route',
    subject: 'POST /v1/rank',
  },
  {
    name: 'one slow model',
    server: unlimited(({ model, workMs }) => (model === 'bert' ? 10 * workMs : workMs)),
    kind: 'model',
    subject: 'bert',
  },
  {
    name: 'one model with a worker of its own',
    server: () => {
      const pool = workers(1);
      return ({ atMs, model, workMs }) => ({ ms: model === 'bert' ? pool(atMs, 1.8 * workMs) : workMs });
    },
    kind: 'model',
    subject: 'bert',
  },
  {
    name: 'one slow client',
    server: unlimited(({ client, workMs }) => (client.endsWith('3') ? 200 + workMs : workMs)),
    kind: 'client',
    subject: '0000000000000003',
  },
  {
    name: 'large bodies',
    server: unlimited(({ requestBytes, workMs }) => workMs + (requestBytes > 900 ? requestBytes / 5 : 0)),
    kind: 'size',
    subject: 'request body',
  },
  {
    name: 'a periodic pause',
    server: unlimited(({ atMs, workMs }) => {
      const into = (atMs + workMs) % 4_000;
      return workMs + (into < 500 ? 500 - into : 0);
    }),
    kind: 'stalls',
  },
  {
    name: 'a dependency with a planned fault',
    server: unlimited((request) => request.workMs + (isIn(request, 8, 13) ? 300 : 0)),
    faults: {
      control: '',
      faults: [
        {
          name: 'redis-slow',
          proxy: 'redis',
          fault: 'latency',
          fromS: 8,
          toS: 13,
          appliedS: 8,
          removedS: 13,
        },
      ] as unknown as NonNullable<ReplayDocument['faults']>['faults'],
    },
    kind: 'dependency',
    subject: 'redis-slow',
  },
  {
    name: 'a dependency that a monitor watched',
    server: unlimited(
      (request) => request.workMs + (isIn(request, 8, 11) || isIn(request, 16, 18) ? 300 : 0),
    ),
    series: [
      plantedSeries(
        'redis_time',
        (second) => ((second >= 8 && second < 11) || (second >= 16 && second < 18) ? 0.3 : 0.002),
        { unit: 's', kind: 'mean' },
      ),
    ],
    kind: 'dependency',
    subject: 'redis_time',
  },
  {
    name: 'a limit on connections',
    server:
      () =>
      ({ draw, workMs, atMs }) => {
        const isNew = draw() < 0.15;
        const startOffsetNs = Math.round((atMs + 0.05 + (isNew ? 0.4 : 0.03)) * 1e6);
        return { ms: workMs + (isNew ? 600 * draw() : 0), facts: { startOffsetNs } };
      },
    kind: 'connecting',
  },
  {
    name: 'a CPU quota that monitors saw',
    server: () => {
      const pool = workers(1);
      return ({ atMs, workMs }) => ({ ms: pool(atMs, 1.1 * workMs) });
    },
    series: [plantedSeries('cpu_throttled', () => 0.7)],
    kind: 'cpu',
  },
  {
    name: 'a late autoscaler',
    load: { shape: (second) => (second > 6 ? 3 : 1), requests: 2_500 },
    server: () => {
      const [one, four] = [workers(2), workers(6)];
      return (request) => ({ ms: (request.atMs < 14_000 ? one : four)(request.atMs, request.workMs) });
    },
    series: [plantedSeries('replicas_ready', (second) => (second < 14 ? 1 : 3), { unit: 'count' })],
    kind: 'replicas',
  },
  {
    name: 'a cold start',
    server: unlimited((request) => (isIn(request, 0, 4) ? 250 + request.workMs : request.workMs)),
    kind: 'cold_start',
  },
  {
    name: 'a slow time',
    server: unlimited((request) => (isIn(request, 10, 14) ? 250 + request.workMs : request.workMs)),
    kind: 'episode',
  },
  {
    name: 'a full KV cache',
    server: unlimited((request) => request.workMs * (isIn(request, 9, 15) ? 14 : 1)),
    series: [plantedSeries('kv_cache_utilization', (second) => (second >= 9 && second < 15 ? 0.99 : 0.5))],
    kind: 'kv_cache',
  },
  {
    name: 'retries in the target',
    server: unlimited(({ draw, workMs }) => workMs + (draw() < 0.12 ? (draw() < 0.2 ? 400 : 200) : 0)),
    kind: 'retries',
  },
  {
    name: 'refusals',
    server:
      () =>
      ({ draw, workMs }) =>
        draw() < 0.2 ? { ms: 1, status: 503 } : { ms: workMs },
    slo: 'errors: rate<0.01',
    kind: 'refusals',
    subject: 'status_503',
  },
  {
    name: 'our own quota',
    server: () => (request) => ({ ms: request.workMs, lagMs: isIn(request, 5, 9) ? 300 : 0.05 }),
    kind: 'generator',
  },
  {
    name: 'nothing but chance',
    server: unlimited(({ workMs, draw }) => -workMs * 2 * Math.log(1 - draw())),
    kind: null,
  },
  {
    name: 'a target that is slow for everyone',
    server: unlimited(({ workMs }) => 8 * workMs),
    kind: null,
  },
  {
    name: 'nothing',
    server: unlimited(({ workMs }) => workMs),
    kind: null,
  },
];

function explanationOf(
  { load, server, series = [], faults = null, slo = 'latency: p(95)<100' }: Planted,
  seed: number,
): Explanation {
  const requests = plantedRequests({ seed, ...load });
  const sends: Send[] = plantedSends(requests, server(requests));
  const document = { slo: [{ expression: slo, ok: false }], faults } as unknown as ReplayDocument;
  return explainSends(sends, { document, series });
}

for (const planted of PLANTED) {
  it(`finds ${planted.name}`, () => {
    for (const seed of [1, 2, 3]) {
      const { causes } = explanationOf(planted, seed);
      const shown = causes.map(({ kind, share, text }) => `${kind} ${share}: ${text}`).join('\n');
      expect([seed, causes[0]?.kind ?? null], shown).toEqual([seed, planted.kind]);
      if (planted.subject !== undefined) expect(causes[0]?.subject).toBe(planted.subject);
    }
  });
}
