import fc from 'fast-check';
import { expect, it } from 'vitest';
import { explained } from '../../../src/analysis/explain/explain.ts';
import { RequestCollector } from '../../../src/analysis/explain/requests.ts';
import type { SeenSeries } from '../../../src/analysis/explain/resources.ts';
import type { Send } from '../../../src/core/run.ts';
import { type CauseKind, type Explanation, explanation } from '../../../src/documents/explanation.ts';
import type { ReplayDocument } from '../../../src/documents/replay.ts';
import { type Decoding, decoded, paced, streamed } from '../../support/decoding.ts';
import { repeated } from '../../support/long-form.ts';
import {
  type PlantedAnswer,
  type PlantedRequest,
  plantedRequests,
  plantedSends,
  plantedSeries,
  workers,
} from '../../support/planted-sends.ts';
import { refused } from '../../support/sends.ts';

type PartsOf<Arbitrary> = Arbitrary extends fc.Arbitrary<infer Parts> ? Parts : never;

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

/** All requests are decoded at once, and a step takes longer the more there are. */
const BATCHED: Pick<Decoding, 'tokens' | 'stepMs'> = {
  tokens: (request) => 20 + Math.floor(40 * request.draw()),
  stepMs: (requests) => 8 + requests,
};
const decoding =
  (of: Partial<Decoding>): Planted['server'] =>
  (requests) => {
    const answers = decoded(requests, { ...BATCHED, ...of });
    return ({ index }) => answers[index]!;
  };
/** An answer as a whole, of which no token is seen. */
const whole =
  (server: Planted['server']): Planted['server'] =>
  (requests) => {
    const answer = server(requests);
    return (request) => {
      const { ms, facts } = answer(request);
      return { ms, facts: { recorded: facts?.recorded ?? null } };
    };
  };
/** Servers whose tokens are slow for another reason, which lets requests pile up too. */
const PILED_UP: readonly ((atMs: number) => number)[] = [
  (atMs) => (atMs >= 10_000 && atMs < 14_000 ? 40 : 10),
  (atMs) => (atMs < 4_000 ? 40 : 10),
  (atMs) => 10 + atMs / 700,
  (atMs) => 10 + (atMs % 4_000 < 600 ? 600 - (atMs % 4_000) : 0),
];

/** Reads each twelfth prompt for half a second, in which nobody gets a token. */
const longPrompts: Planted['server'] = (requests) => {
  const isLong = (index: number) => index % 12 === 5;
  const answers = decoded(requests, {
    ...BATCHED,
    stepMs: () => 10,
    prefillMs: ({ index }) => (isLong(index) ? 500 : 5),
    promptTokens: ({ index }) => (isLong(index) ? 8_000 : 100),
  });
  return ({ index }) => answers[index]!;
};
const WAVES = { requests: 700, perSecond: 20, shape: (second: number) => 1 + 0.9 * Math.sin(second) };

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
    name: 'a worker pool, beside what the generator sees of itself',
    load: { shape: (second) => (second > 8 && second < 14 ? 3 : 1) },
    server: () => {
      const pool = workers(2);
      return ({ atMs, workMs }) => ({ ms: pool(atMs, workMs) });
    },
    series: [plantedSeries('generator_lag_seconds', (second) => (second > 8 && second < 30 ? 0.01 : 0.001))],
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
    name: 'a wait, not the only route, of a pool that became slower',
    load: { shape: (second) => (second > 8 && second < 14 ? 3 : 1) },
    server: () => {
      const pool = workers(4);
      return ({ atMs, workMs }) => ({
        ms: pool(atMs, 3 * workMs),
        facts: { route: 'POST /v1/chat', model: 'resnet', client: '0000000000000000', requestBytes: 500 },
      });
    },
    kind: 'waiting',
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
        { kind: 'mean' },
      ),
    ],
    kind: 'dependency',
    subject: 'redis_time',
  },
  {
    name: 'a limit on connections',
    server: () => {
      const open: number[] = [];
      return ({ atMs, workMs }) => {
        const ms = 4 * workMs;
        if (open.filter((end) => end > atMs).length >= 3)
          return { ms: 1, facts: { status: null, error: 'reset', firstByteOffsetNs: null } };
        open.push(atMs + ms);
        return { ms };
      };
    },
    slo: 'errors: rate<0.01',
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
    series: [plantedSeries('replicas_ready', (second) => (second < 14 ? 1 : 3))],
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
    name: 'slow times of all requests',
    server: unlimited((request) => request.workMs * (isIn(request, 4, 6) || isIn(request, 11, 13) ? 10 : 1)),
    kind: 'episode',
  },
  {
    name: 'a target that gets slower',
    server: unlimited(({ atMs, workMs }) => workMs * (1 + atMs / 2_000)),
    kind: 'episode',
  },
  {
    name: 'a model that is loaded at its first request',
    server: unlimited(({ model, atMs, workMs }) =>
      model === 'bert' && atMs < 4_000 ? Math.max(workMs, 4_000 - atMs) : workMs,
    ),
    kind: 'cold_start',
    subject: 'bert',
  },
  {
    name: 'a burst at the start',
    load: { shape: (second) => (second < 4 ? 3 : 1) },
    server: () => {
      const pool = workers(2);
      return ({ atMs, workMs }) => ({ ms: pool(atMs, workMs) });
    },
    kind: 'waiting',
  },
  {
    name: 'large answers',
    server:
      () =>
      ({ draw, workMs }) => {
        const responseBytes = Math.round(1e4 * Math.exp(3 * draw()));
        return { ms: workMs + responseBytes / 1_000, facts: { responseBytes } };
      },
    kind: 'size',
    subject: 'response body',
  },
  {
    name: 'requests that are never answered',
    server:
      () =>
      ({ draw, workMs }) =>
        draw() < 0.08
          ? { ms: 5_000, facts: { status: null, error: 'first_byte_timeout', firstByteOffsetNs: null } }
          : { ms: workMs },
    kind: 'refusals',
    subject: 'first_byte_timeout',
  },
  {
    name: 'errors of one route',
    server:
      () =>
      ({ route, workMs }) =>
        route === 'POST /v1/rank' ? { ms: 1, status: 500 } : { ms: workMs },
    slo: 'errors: rate<0.01',
    kind: 'refusals',
    subject: 'status_500',
  },
  {
    name: 'long prompts',
    server:
      () =>
      ({ atMs, draw }) => {
        const promptTokens = Math.round(50 * Math.exp(4 * draw()));
        return { ms: 3_000, facts: streamed(atMs, 20 + promptTokens / 5, 20, promptTokens) };
      },
    slo: 'ttft: p(95)<150',
    kind: 'size',
    subject: 'prompt',
  },
  {
    name: 'slow tokens while the KV cache is full',
    server: () => (request) => {
      const gapMs = isIn(request, 9, 15) ? 60 + 20 * request.draw() : 8 + 4 * request.draw();
      return { ms: 3_000, facts: streamed(request.atMs, 30, gapMs, 100) };
    },
    series: [plantedSeries('kv_cache_utilization', (second) => (second >= 9 && second < 15 ? 0.99 : 0.5))],
    slo: 'tpot: p(95)<40',
    kind: 'kv_cache',
  },
  {
    name: 'tokens that come slower the more requests are decoded at once',
    load: WAVES,
    server: decoding({}),
    slo: 'latency: p(95)<600',
    kind: 'waiting',
    subject: 'tokens',
  },
  {
    name: 'a batch that is crowded all the time',
    load: { requests: 700, perSecond: 24 },
    server: decoding({}),
    slo: 'tpot: p(95)<20',
    kind: 'waiting',
    subject: 'tokens',
  },
  {
    name: 'slower tokens beyond a batch of ten, before which the memory is the limit',
    load: WAVES,
    server: decoding({ stepMs: (requests) => Math.max(12, 1.2 * requests) }),
    slo: 'latency: p(95)<800',
    kind: 'waiting',
    subject: 'tokens',
  },
  {
    name: 'whole answers that take longer the more requests are served at once',
    load: { ...WAVES, perSecond: 24 },
    server: whole(decoding({})),
    slo: 'latency: p(95)<600',
    kind: 'waiting',
    subject: null,
  },
  {
    name: 'long answers, which see more requests because they live longer',
    load: WAVES,
    server: decoding({ stepMs: () => 12 }),
    slo: 'latency: p(95)<500',
    kind: 'size',
    subject: 'output',
  },
  {
    name: 'a queue for a full batch, whose tokens come steadily',
    load: { ...WAVES, perSecond: 12 },
    server: decoding({ stepMs: () => 8, most: 4 }),
    slo: 'latency: p(95)<700',
    kind: 'waiting',
    subject: null,
  },
  {
    name: 'long prompts that hold up the tokens of all others',
    load: { requests: 500, perSecond: 12 },
    server: longPrompts,
    slo: 'tpot: p(95)<20',
    kind: 'size',
    subject: 'prompt',
  },
  {
    name: 'long prompts that hold up the first tokens of all others',
    load: { requests: 500, perSecond: 12 },
    server: longPrompts,
    slo: 'ttft: p(95)<150',
    kind: 'size',
    subject: 'prompt',
  },
  {
    name: 'a rate limit of each client, by delay',
    server: () => {
      const freeAt = new Map<string, number>();
      return ({ atMs, client, workMs }) => {
        const startMs = Math.max(atMs, freeAt.get(client) ?? 0);
        freeAt.set(client, startMs + 1_000 / 18);
        return { ms: startMs - atMs + workMs };
      };
    },
    kind: 'waiting',
    subject: 'same client',
  },
  {
    name: 'new connections that are answered late',
    server:
      () =>
      ({ index, atMs, workMs }) =>
        index % 10 === 3
          ? { ms: 150 + workMs, facts: { startOffsetNs: Math.round((atMs + 0.4) * 1e6) } }
          : { ms: workMs },
    kind: 'connecting',
    subject: 'new connections',
  },
  {
    name: 'nothing in tokens that are slow for a time, with more requests in flight',
    load: { requests: 700, perSecond: 24, shape: (second) => (second > 8 && second < 14 ? 3 : 1) },
    server:
      () =>
      ({ draw, ...request }) =>
        paced({ ...request, draw }, 20 + 40 * draw(), PILED_UP[0]!),
    slo: 'tpot: p(95)<20',
    kind: null,
  },
  {
    name: 'nothing in steady tokens',
    load: WAVES,
    server: decoding({ stepMs: () => 12 }),
    slo: 'tpot: p(95)<11',
    kind: null,
  },
  {
    name: 'nothing in one slow replica of four',
    server: unlimited(({ draw, workMs }) => (draw() < 0.25 ? workMs * 10 * (0.5 + draw()) : workMs)),
    kind: null,
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

function documentOf(expression: string, faults: ReplayDocument['faults'] = null): ReplayDocument {
  return { slo: [{ expression, ok: false }], faults } as unknown as ReplayDocument;
}

function explanationOf(
  { load, server, series = [], faults = null, slo = 'latency: p(95)<100' }: Planted,
  seed: number,
): Explanation {
  const requests = plantedRequests({ seed, ...load });
  const sends: Send[] = plantedSends(requests, server(requests));
  const document = documentOf(slo, faults);
  const collector = new RequestCollector(document);
  for (const each of sends) collector.add(each);
  return explained(collector.found(), { document, series });
}

for (const planted of PLANTED) {
  it(`finds ${planted.name}`, () => {
    const { causes } = explanationOf(planted, 1);
    const shown = causes.map(({ kind, share, text }) => `${kind} ${share}: ${text}`).join('\n');
    expect(causes[0]?.kind ?? null, shown).toBe(planted.kind);
    if (planted.subject !== undefined) expect(causes[0]?.subject).toBe(planted.subject);
  });
}

it('invents no cause of random latencies', () => {
  const noises: ((request: PlantedRequest) => number)[] = [
    ({ draw }) => -40 * Math.log(1 - draw()),
    ({ draw }) => 15 * (1 - draw()) ** -0.9,
    ({ draw, workMs }) => (draw() < 0.1 ? 150 + 300 * draw() : workMs),
  ];
  for (const noise of noises) {
    for (let seed = 1; seed <= 15; seed += 1) {
      const planted = { name: '', server: unlimited(noise), kind: null, load: { requests: 250 } };
      expect([seed, explanationOf(planted, seed).causes]).toEqual([seed, []]);
    }
  }
});

it('tells a crowded batch from steady tokens, and from what lets requests pile up', () => {
  const loads = [WAVES, { requests: 500, perSecond: 20 }];
  const slos = ['latency: p(95)<600', 'tpot: p(95)<20'];
  const piledUp = PILED_UP.map(
    (gapMs) => () => (request: PlantedRequest) => paced(request, 20 + 40 * request.draw(), gapMs),
  );
  for (const [at, load] of loads.entries()) {
    for (const slo of slos) {
      const areTokens = (server: Planted['server'], seed: number) =>
        explanationOf({ name: '', kind: null, load, slo, server }, seed).causes.map(
          ({ subject }) => subject === 'tokens',
        );
      for (const seed of [1, 2]) {
        expect([at, slo, seed, areTokens(decoding({}), seed)[0]]).toEqual([at, slo, seed, true]);
        const others = [decoding({ stepMs: () => 12 }), ...piledUp];
        const mistaken = others.map((server) => areTokens(server, seed).includes(true));
        expect([at, slo, seed, mistaken]).toEqual([at, slo, seed, others.map(() => false)]);
      }
    }
  }
});

it('shows a crowded request with slow tokens, and one with few others in flight', () => {
  const crowded = PLANTED.find(({ subject }) => subject === 'tokens')!;
  const [cause] = explanationOf(crowded, 1).causes;
  const [affected, other] = cause!.proof;
  const { aloneTokenMs, crowdedTokenMs, fewestInFlight, mostInFlight } = cause!.figures;
  expect(Number(aloneTokenMs)).toBeCloseTo(9 + Number(fewestInFlight), -1);
  expect(Number(crowdedTokenMs)).toBeCloseTo(9 + Number(mostInFlight), -1);
  expect(affected!.tokenMs!).toBeGreaterThan(2 * other!.tokenMs!);
  expect(affected!.meanInFlight).toBeGreaterThan(2 * other!.meanInFlight);
});

it('reported more requests in flight than were sent, where a backlog was still open at the end', () => {
  const load = { requests: 300, perSecond: 50 };
  const server: Planted['server'] = () => {
    const pool = workers(1);
    return ({ atMs, workMs }) => ({ ms: pool(atMs, 20 * workMs) });
  };
  const [cause] = explanationOf({ name: '', kind: 'waiting', load, server }, 1).causes;
  expect(cause!.kind).toBe('waiting');
  expect(cause!.figures['meanInFlight']).toBeGreaterThan(50);
  expect(cause!.figures['meanInFlight']).toBeLessThan(load.requests);
});

it('shows one request with the cause, and one without it', () => {
  const slow = PLANTED.find(({ name }) => name === 'one slow route')!;
  const [cause] = explanationOf(slow, 1).causes;
  const requests = plantedRequests({ seed: 1 });
  const routes = cause?.proof.map(({ index }) => requests[index]?.route === 'POST /v1/rank');
  expect(routes).toEqual([true, false]);
});

it('examines the requests in a row with the most broken ones', () => {
  const isSlow = ({ index }: PlantedRequest) => index >= 800 && index < 900;
  const server = (request: PlantedRequest) => ({ ms: isSlow(request) ? 400 : request.workMs });
  const collector = new RequestCollector(documentOf('latency: p(95)<100'), 250);
  for (const each of plantedSends(plantedRequests({ seed: 1 }), server)) collector.add(each);
  const { sent, requests } = collector.found();
  expect([sent, requests.length]).toEqual([1_500, 250]);
  expect(requests.filter(({ isBroken }) => isBroken)).toHaveLength(100);
});

it('shares out what any run lost, and nothing else', () => {
  const errors = ['reset', 'connect_refused', 'first_byte_timeout', 'stopped', null, null, null] as const;
  const slos = [
    'latency: p(95)<50',
    'ttft: p(95)<50',
    'tpot: p(95)<5',
    'errors: rate<0.01',
    'service: max<30',
  ];
  const parts = fc.record({
    ms: fc.integer({ min: 0, max: 2_000 }),
    lagMs: fc.constantFrom(0, 0.1, 400),
    status: fc.constantFrom(200, 200, 200, 404, 429, 503),
    error: fc.constantFrom(...errors),
    refused: fc.boolean(),
    cancelled: fc.boolean(),
    isStream: fc.boolean(),
    isRecorded: fc.boolean(),
  });
  const answered = (
    { ms, lagMs, status, error, cancelled, isStream, isRecorded }: PartsOf<typeof parts>,
    atMs: number,
  ) => ({
    ...{ ms, lagMs, status },
    facts: {
      ...(error !== null && { error, status: null, firstByteOffsetNs: null }),
      ...(isStream && streamed(atMs, ms / 2, ms / 20, 7)),
      ...(!isRecorded && { recorded: null }),
      cancelled,
    },
  });
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 120 }), fc.constantFrom(...slos, ''), (each, slo) => {
      const requests = plantedRequests({ seed: 1, requests: each.length });
      const answers = plantedSends(requests, ({ index, atMs }) => answered(each[index]!, atMs));
      const sends = answers.map((send, at) =>
        each[at]!.refused ? refused(at, { intendedOffsetNs: send.intendedOffsetNs }) : send,
      );
      const document = slo === '' ? ({ slo: [] } as unknown as ReplayDocument) : documentOf(slo);
      const collector = new RequestCollector(document);
      for (const send of sends) collector.add(send);
      const found = explanation.parse(explained(collector.found(), { document }));
      const shares = found.causes.reduce((sum, { share }) => sum + share, found.unexplained);
      expect(shares).toBeCloseTo(found.requests.broken === 0 ? 0 : 1, 6);
    }),
    { numRuns: repeated(20, 100) },
  );
});
