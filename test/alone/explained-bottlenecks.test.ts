import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { explainRun } from '../../src/app/report.ts';
import {
  type CauseKind,
  type ExplanationDocument,
  explanationSchema,
} from '../../src/documents/explanation.ts';
import { shownSchema } from '../../src/documents/shown.ts';
import { type Bottleneck, BottleneckServer, bottleneckTraffic } from '../support/bottleneck-server.ts';
import { captureOf } from '../support/captures.ts';
import { startRelay } from '../support/fault-relay.ts';
import { repeated } from '../support/long-form.ts';
import { type PlantedRequest, workers } from '../support/planted-sends.ts';
import { runReprise, startReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

interface Planted {
  readonly name: string;
  readonly bottleneck: () => Bottleneck;
  readonly shape?: (second: number) => number;
  readonly perSecond?: number;
  readonly slo?: string;
  /** A fault of a dependency before the server, in the middle of the run. */
  readonly fault?: boolean;
  /** How often the generator is stopped for 300 ms. */
  readonly stops?: number;
  /** The first cause; null for none. */
  readonly kind: CauseKind | null;
  readonly subject?: string;
}

const during = (nowMs: number, from: number, to: number) => nowMs >= from * 1e3 && nowMs < to * 1e3;
const always = (answer: Bottleneck['answer']) => (): Bottleneck => ({ answer });
const silent: Pick<Bottleneck, 'answer'> = { answer: ({ workMs }) => ({ ms: workMs }) };
const MONITORED = (target: string) => ['--monitor', `${target}/metrics`, '--monitor', 'interval=200ms'];

const PLANTED: readonly Planted[] = [
  {
    name: 'a worker pool',
    shape: (second) => (second === 1 || second === 2 ? 2 : 0.6),
    bottleneck: () => {
      const pool = workers(2);
      return { answer: ({ workMs }, nowMs) => ({ ms: pool(nowMs, 1.5 * workMs) }) };
    },
    kind: 'waiting',
  },
  {
    name: 'one slow route',
    bottleneck: always(({ route, workMs }) => ({ ms: route === 'POST /v1/rank' ? 250 : workMs })),
    kind: 'route',
    subject: 'POST /v1/rank',
  },
  {
    name: 'one slow model',
    bottleneck: always(({ model, workMs }) => ({ ms: model === 'bert' ? 12 * workMs : workMs })),
    kind: 'model',
    subject: 'bert',
  },
  {
    name: 'large bodies',
    bottleneck: always(({ requestBytes, workMs }) => ({
      ms: workMs + (requestBytes > 800 ? requestBytes / 4 : 0),
    })),
    kind: 'size',
    subject: 'request body',
  },
  {
    name: 'a periodic pause',
    bottleneck: always(({ workMs }, nowMs) => {
      const into = (nowMs + workMs) % 1_500;
      return { ms: workMs + (into < 400 ? 400 - into : 0) };
    }),
    kind: 'stalls',
  },
  {
    name: 'a slow dependency',
    bottleneck: always(({ workMs }) => ({ ms: workMs })),
    fault: true,
    kind: 'dependency',
    subject: 'slow-redis',
  },
  {
    name: 'a limit on connections',
    bottleneck: () => ({ answer: ({ workMs }) => ({ ms: 3 * workMs }), connections: 3 }),
    kind: 'connecting',
  },
  {
    name: 'a CPU quota of the target',
    bottleneck: () => {
      const pool = workers(1);
      return {
        answer: ({ workMs }, nowMs) => ({ ms: pool(nowMs, workMs) }),
        metrics: (second) =>
          [
            `container_cpu_cfs_periods_total{container="m"} ${Math.round(second * 10)}`,
            `container_cpu_cfs_throttled_periods_total{container="m"} ${Math.round(second * 8)}`,
          ]
            .join('\n')
            .concat('\n'),
      };
    },
    kind: 'cpu',
  },
  {
    name: 'a late autoscaler',
    bottleneck: () => {
      const [few, many] = [workers(1), workers(4)];
      return {
        answer: ({ workMs }, nowMs) => ({ ms: (nowMs < 2_500 ? few : many)(nowMs, 1.4 * workMs) }),
        metrics: (second) =>
          `kube_deployment_spec_replicas{deployment="m"} 4\nkube_deployment_status_replicas_ready{deployment="m"} ${second < 2.5 ? 1 : 4}\n`,
      };
    },
    kind: 'replicas',
  },
  {
    name: 'a cold start',
    bottleneck: always(({ workMs }, nowMs) => ({ ms: during(nowMs, -1, 1.2) ? 250 + workMs : workMs })),
    kind: 'cold_start',
  },
  {
    name: 'pressure on the KV cache',
    bottleneck: () => ({
      answer: ({ workMs }, nowMs) => ({ ms: during(nowMs, 1.5, 2.5) ? 15 * workMs : workMs }),
      metrics: (second) => `vllm:kv_cache_usage_perc ${second >= 1.5 && second < 2.5 ? 0.99 : 0.4}\n`,
    }),
    kind: 'kv_cache',
  },
  {
    name: 'retries in the target',
    bottleneck: always(({ index, workMs }) => ({ ms: workMs + (index % 8 === 3 ? 300 : 0) })),
    kind: 'retries',
  },
  {
    name: 'our own quota',
    bottleneck: always(({ workMs }) => ({ ms: workMs })),
    stops: 4,
    kind: 'generator',
  },
  {
    name: 'tokens that come slower the more requests are decoded at once',
    perSecond: 50,
    shape: (second) => (second >= 2 && second < 4 ? 1.4 : 0.6),
    bottleneck: () => ({
      ...silent,
      decoding: { tokens: ({ index }) => 10 + (index % 11), stepMs: (requests) => 5 + requests },
    }),
    slo: 'latency: p(95)<200',
    kind: 'waiting',
    subject: 'tokens',
  },
  {
    name: 'long answers, whose tokens come steadily',
    perSecond: 50,
    shape: (second) => (second >= 2 && second < 4 ? 1.4 : 0.6),
    bottleneck: () => ({
      ...silent,
      decoding: { tokens: ({ index }) => (index % 5 === 0 ? 40 : 10), stepMs: () => 8 },
    }),
    slo: 'latency: p(95)<200',
    kind: 'size',
    subject: 'response body',
  },
  { name: 'nothing', bottleneck: always(({ workMs }) => ({ ms: workMs })), kind: null },
  {
    name: 'nothing but a target that is slow for all',
    bottleneck: always(({ workMs }) => ({ ms: 10 * workMs })),
    kind: null,
  },
];

/** Stops the server for a time from some requests on. */
function stopping(begins: (request: PlantedRequest) => boolean, stopMs: number): Bottleneck {
  let untilMs = 0;
  return {
    answer: (request, nowMs) => {
      if (begins(request)) untilMs = Math.max(nowMs, untilMs) + stopMs;
      return { ms: Math.max(0, untilMs - nowMs) + request.workMs };
    },
  };
}

/** Of kinds for which no rule was made at first. */
const MORE: readonly Planted[] = [
  {
    name: 'pauses of all others while a long prompt is read',
    perSecond: 25,
    bottleneck: () => ({
      ...silent,
      decoding: {
        tokens: ({ index }) => 10 + (index % 11),
        stepMs: () => 8,
        prefillMs: ({ requestBytes }) => (requestBytes > 1_500 ? 400 : 2),
      },
    }),
    slo: 'latency: p(95)<300',
    kind: 'stalls',
  },
  {
    name: 'a lock that each fiftieth request takes',
    bottleneck: () => stopping(({ index }) => index % 50 === 20, 300),
    kind: 'stalls',
  },
  {
    name: 'garbage collection after each 80 requests',
    bottleneck: () => stopping(({ index }) => index % 80 === 79, 250),
    kind: 'stalls',
  },
  {
    name: 'a slow disk at fixed intervals, longer each time',
    bottleneck: always(({ workMs }, nowMs) => {
      const into = nowMs % 1_000;
      return { ms: workMs + Math.max(0, 130 * Math.floor(nowMs / 1_000) - into) };
    }),
    kind: 'stalls',
  },
  {
    name: 'a rate limit of each client, by delay',
    bottleneck: () => {
      const freeAt = new Map<string, number>();
      return {
        answer: ({ client, workMs }, nowMs) => {
          const startMs = Math.max(nowMs, freeAt.get(client) ?? 0);
          freeAt.set(client, startMs + 1_000 / 30);
          return { ms: startMs - nowMs + workMs };
        },
      };
    },
    kind: 'waiting',
    subject: 'same client',
  },
  {
    name: 'the set-up of connections that are closed after ten requests',
    bottleneck: () => ({ answer: ({ workMs }) => ({ ms: workMs }), renewed: { requests: 10, ms: 200 } }),
    kind: 'connecting',
    subject: 'new connections',
  },
];

async function explanationOf({
  bottleneck,
  shape,
  perSecond = 100,
  slo = 'latency: p(95)<120',
  fault,
  stops = 0,
}: Planted): Promise<ExplanationDocument & { out: string }> {
  const load = { seed: 5, requests: 400, perSecond, ...(shape === undefined ? {} : { shape }) };
  const { requests, exchanges } = bottleneckTraffic(load);
  const planted = bottleneck();
  const server = await new BottleneckServer(requests, planted).listen();
  const relay = fault ? await startRelay(server.slice('http://'.length)) : null;
  const target = relay === null ? server : `http://127.0.0.1:${relay.port}`;
  const out = join(temporaryDirectory(), 'run');
  const faults = relay === null ? [] : ['--faults', faultPlan(relay.running.control)];
  const replaying = startReprise([
    ...['replay', captureOf(exchanges), '--target', target, '--out', out, '--slo', slo],
    ...(planted.metrics === undefined ? [] : MONITORED(server)),
    ...faults,
  ]);
  for (let stop = 0; stop < stops; stop += 1) {
    await pause(stop === 0 ? 2_500 : 700);
    replaying.child.kill('SIGSTOP');
    await pause(300);
    replaying.child.kill('SIGCONT');
  }
  const replayed = await replaying.finished;
  expect(replayed.stderr).toContain(out);
  return { out, ...explainRun(out) };
}

function faultPlan(control: string): string {
  const file = join(temporaryDirectory(), 'faults.yaml');
  const slow = { name: 'slow-redis', proxy: 'dep', fault: 'http_delay', attributes: { delay: 300 } };
  writeFileSync(file, JSON.stringify({ control, faults: [{ ...slow, start: '1500ms', duration: '1s' }] }));
  return file;
}

/**
 * A run that our own lag broke is played again, twice at most. A busy machine is a true cause, but not the planted one:
 * what is left of it does not count.
 */
async function withoutOurs(planted: Planted): ReturnType<typeof explanationOf> {
  for (let play = 1; ; play += 1) {
    const explained = await explanationOf(planted);
    const causes = explained.causes.filter(({ kind }) => kind !== 'generator');
    if (planted.kind === 'generator' || causes.length === explained.causes.length) return explained;
    if (play === 3) return { ...explained, causes };
  }
}

/** What the command prints, and that show has the requests that prove it: one of the slow route, and another. */
async function checkPrinted(out: string): Promise<void> {
  const printed = await runReprise(['explain', out, '--json']);
  const { causes } = explanationSchema.parse(JSON.parse(printed.stdout));
  const indexes = causes[0]!.proof.map(({ index }) => String(index));
  const shown = await runReprise(['show', out, ...indexes, '--json']);
  const { requests } = shownSchema.parse(JSON.parse(shown.stdout));
  expect(requests.map(({ route }) => route === 'POST /v1/rank')).toEqual([true, false]);
}

describe('explain', () => {
  for (const planted of [...PLANTED, ...repeated([], MORE)]) {
    it(`finds ${planted.name}`, async () => {
      const { out, causes, requests, unexplained } = await withoutOurs(planted);
      const shown = `${JSON.stringify(requests)} ${unexplained}\n${causes.map(({ kind, subject, share, text }) => `${kind} ${subject} ${share}: ${text}`).join('\n')}`;
      expect(causes[0]?.kind ?? null, shown).toBe(planted.kind);
      if (planted.subject !== undefined) expect(causes[0]?.subject).toBe(planted.subject);
      if (planted.kind === 'route') await checkPrinted(out);
    });
  }
});
