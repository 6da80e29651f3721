import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { SHOW_OPTIONS, show } from '../../src/app/show.ts';
import { systemClock } from '../../src/core/clock.ts';
import { byProgram, resolveOptions } from '../../src/core/options.ts';
import type { Send } from '../../src/core/run.ts';
import { RunTelemetry } from '../../src/telemetry/exporter.ts';
import type { Receiver } from '../../src/telemetry/options.ts';
import { TraceSample } from '../../src/telemetry/traces.ts';
import { captureOf, querySegment } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { freePort } from '../support/free-port.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { runPeer } from '../support/peer-run.ts';
import { goPackage, pythonWith, systemProgram } from '../support/peer-tools.ts';
import { startProcess } from '../support/process.ts';
import { documentOf, replay, serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';
import { send } from '../support/sends.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const collector = goPackage(join(import.meta.dirname, 'programs', 'collector'));
const prometheus = systemProgram('prometheus');
const instrumented = pythonWith([
  ...['openai==3.57.0', 'httpx==0.28.1'],
  ...['opentelemetry-sdk==1.45.2', 'opentelemetry-exporter-otlp-proto-http==1.45.2'],
  ...['opentelemetry-instrumentation-openai-v2==2.4b0', 'opentelemetry-util-genai==0.4b0'],
  ...['opentelemetry-instrumentation-openai==0.62.4', 'openinference-instrumentation-openai==0.1.66'],
]);

const REQUESTS = 240;
/** The server fails one request in so many. */
const FAILS = 12;

function start(command: string, args: readonly string[]): void {
  const running = startProcess(command, args);
  atFileEnd(() => running.kill('SIGKILL'));
}

async function answers(url: string): Promise<void> {
  for (let tries = 0; tries < 150; tries += 1) {
    if (
      await fetch(url).then(
        ({ status }) => status < 500,
        () => false,
      )
    )
      return;
    await setTimeout(100);
  }
  throw new Error(`nothing answers at ${url}`);
}

/** Starts a collector that takes OTLP over HTTP; answers its URL. */
async function collectorAt(
  program: string,
  exporters: Readonly<Record<string, object>>,
  signals: readonly string[],
): Promise<string> {
  const port = await freePort();
  const pipeline = { receivers: ['otlp'], exporters: Object.keys(exporters) };
  const config = {
    receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${port}` } } } },
    exporters,
    service: {
      telemetry: { metrics: { level: 'none' } },
      pipelines: Object.fromEntries(signals.map((signal) => [signal, pipeline])),
    },
  };
  start(program, [`--config=yaml:${JSON.stringify(config)}`]);
  await answers(`http://127.0.0.1:${port}/v1/traces`);
  return `http://127.0.0.1:${port}`;
}

/** Chats of two models, a hundred a second, each of three tokens. */
async function chats() {
  const target = await serverOf((request, response) => {
    const at = Number(new URL(request.target, 'http://x').searchParams.get('n'));
    if (at % FAILS === 0) {
      response.writeHead(503).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const content of ['a', 'b', 'c'])
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`);
    const usage = { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 };
    response.end(
      `data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\ndata: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`,
    );
  });
  const capture = captureOf(
    Array.from({ length: REQUESTS }, (_, at) => {
      const model = at % 3 === 0 ? 'large' : 'small';
      return exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 10_000,
        route: 'POST /v1/chat/completions',
        model,
        streamed: true,
        firstTokenOffsetUs: 4_500,
        traceId: Buffer.from('0af7651916cd43dd8448eb211c80319c', 'hex'),
        request: requestMessage({
          target: `/v1/chat/completions?n=${at}`,
          headers: [
            ['Host', 'model.internal'],
            ['Content-Type', 'application/json'],
            ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
            ['tracestate', 'vendor=recorded'],
          ],
          body: JSON.stringify({ model, stream: true, messages: [] }),
        }),
      });
    }),
  );
  return { target, capture };
}

interface OtlpAttribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: string; readonly arrayValue?: object };
}

interface OtlpPoint {
  readonly attributes?: readonly OtlpAttribute[];
  readonly asInt?: string;
  readonly count?: string;
  readonly sum?: number;
}

interface ExponentialPoint extends OtlpPoint {
  readonly scale: number;
  readonly positive: { readonly offset: number; readonly bucketCounts: readonly string[] };
  readonly exemplars?: readonly { readonly asDouble: number; readonly traceId: string }[];
}

interface OtlpMetric {
  readonly name: string;
  readonly exponentialHistogram?: { readonly dataPoints: readonly ExponentialPoint[] };
  readonly sum?: { readonly dataPoints: readonly OtlpPoint[] };
}

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly OtlpAttribute[];
  readonly status?: { readonly code?: number };
}

const factsOf = (attributes: readonly OtlpAttribute[] = []): Record<string, unknown> =>
  Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? value.arrayValue]),
  );

/** What the collector passed on, as it read it. */
function passedOn(requests: readonly LoggedRequest[]) {
  const bodies = (path: string) =>
    requests.filter(({ target }) => target === path).map(({ body }) => JSON.parse(body.toString()));
  const metrics = bodies('/v1/metrics').map((body): OtlpMetric[] =>
    body.resourceMetrics.flatMap((each: { scopeMetrics: { metrics: OtlpMetric[] }[] }) =>
      each.scopeMetrics.flatMap((scope) => scope.metrics),
    ),
  );
  const spans = bodies('/v1/traces').flatMap((body): OtlpSpan[] =>
    body.resourceSpans.flatMap((each: { scopeSpans: { spans: OtlpSpan[] }[] }) =>
      each.scopeSpans.flatMap((scope) => scope.spans),
    ),
  );
  return { metrics, spans };
}

test('an OpenTelemetry collector has the figures of the document, and the spans that the server was told of', {
  timeout: 120_000,
}, async ({ skip }) => {
  if ('missing' in collector) return skip(collector.missing);
  const sink = await serverOf((_, response) => response.writeHead(200).end());
  const exporter = { otlp_http: { endpoint: sink.url, encoding: 'json', compression: 'none' } };
  const collecting = await collectorAt(collector.path, exporter, ['metrics', 'traces']);
  const { target, capture } = await chats();
  const result = await replay(capture, target.url, [
    ...['--json', '--otlp', `${collecting},traces=50%,interval=500ms`],
  ]);
  const document = documentOf(result);
  expect(document.sent).toBe(REQUESTS);
  expect(document.failed).toBe(REQUESTS / FAILS);
  const [receiver] = document.telemetry?.receivers ?? [];
  expect(receiver).toMatchObject({ failed: 0, rejected: 0, complete: true, lastError: null });
  const spansSent = document.telemetry?.spans.delivered ?? 0;
  for (let tries = 0; tries < 100 && passedOn(sink.requests).spans.length < spansSent; tries += 1)
    await setTimeout(100);
  const { metrics, spans } = passedOn(sink.requests);

  const last = (name: string) => {
    const found = metrics.at(-1)?.find((each) => each.name === name);
    return found?.sum?.dataPoints ?? found?.exponentialHistogram?.dataPoints ?? [];
  };
  const total = (points: readonly OtlpPoint[], asked: Record<string, string> = {}) =>
    points
      .filter(({ attributes }) => Object.entries(asked).every(([key, is]) => factsOf(attributes)[key] === is))
      .reduce((sum, { asInt, count }) => sum + Number(asInt ?? count), 0);
  const requests = last('reprise.replay.requests');
  for (const outcome of ['completed', 'failed', 'cancelled', 'refused'] as const)
    expect(total(requests, { outcome })).toBe(document[outcome]);
  expect(total(requests, { 'gen_ai.request.model': 'large' })).toBe(REQUESTS / 3);
  const durations = last('gen_ai.client.operation.duration');
  expect(total(durations)).toBe(document.sent);
  expect(total(durations, { 'error.type': '503' })).toBe(document.failed);
  expect(total(last('gen_ai.client.operation.time_to_first_chunk'))).toBe(document.completed);
  const tokens = last('gen_ai.client.token.usage');
  const sumOf = (type: string) =>
    tokens
      .filter(({ attributes }) => factsOf(attributes)['gen_ai.token.type'] === type)
      .reduce((sum, each) => sum + (each.sum ?? 0), 0);
  expect([sumOf('input'), sumOf('output')]).toEqual([document.tokens.prompt, document.tokens.output]);

  // Every span is of a request that the server saw with that traceparent, and nothing else of the trace was sent.
  const seen = new Map(
    target.requests.map(({ headers }) => [
      headers
        .filter(([name]) => name === 'traceparent')
        .map(([, value]) => value)
        .join(),
      headers.some(([name]) => name === 'tracestate'),
    ]),
  );
  expect(spans.length).toBe(spansSent);
  expect(spansSent).toBeGreaterThan(REQUESTS * 0.3);
  expect(spansSent).toBeLessThan(REQUESTS * 0.7);
  for (const { traceId, spanId } of spans) expect(seen.get(`00-${traceId}-${spanId}-01`)).toBe(false);
  expect(seen.size).toBe(spansSent + 1);
  // The slowest of them is found by `show`, with the id of its trace.
  const { requests: slow } = show(result.out, [], {
    ...resolveOptions(SHOW_OPTIONS, byProgram(SHOW_OPTIONS, { slowest: String(REQUESTS) })),
  });
  const traces = slow.flatMap(({ trace }) => trace ?? []);
  expect(new Set(traces)).toEqual(new Set(spans.map(({ traceId }) => traceId)));
  const failed = spans.filter(({ status }) => status?.code === 2);
  expect(failed.length).toBe(
    target.requests.filter(({ target: path, headers }) => {
      const parent = headers.find(([name]) => name === 'traceparent')?.[1] ?? '';
      return Number(path.split('n=')[1]) % FAILS === 0 && !parent.includes('0af7651916cd43dd');
    }).length,
  );
  const [span] = spans.filter(({ status }) => status?.code !== 2);
  expect(span?.name).toMatch(/^chat (?:large|small)$/);
  expect(factsOf(span?.attributes)).toMatchObject({
    'gen_ai.operation.name': 'chat',
    'gen_ai.usage.input_tokens': '7',
    'gen_ai.usage.output_tokens': '3',
    'http.response.status_code': '200',
    'server.port': String(target.port),
  });
  // The attribute names the recorded request as `show` takes it.
  const named = String(factsOf(span?.attributes)['reprise.exchange']);
  const [recorded] = show(
    capture,
    [named],
    resolveOptions(SHOW_OPTIONS, byProgram(SHOW_OPTIONS, {})),
  ).requests;
  expect(recorded).toMatchObject({
    route: 'POST /v1/chat/completions',
    trace: '0af7651916cd43dd8448eb211c80319c',
  });
  const startMs = Number(BigInt(span?.startTimeUnixNano ?? 0) / 1_000_000n);
  expect(startMs).toBeGreaterThanOrEqual(Date.parse(document.startedAt) - 10);
  expect(startMs).toBeLessThanOrEqual(Date.parse(document.endedAt) + 10);
});

/** Starts a Prometheus that takes remote write; answers its API, and queries with one sample. */
async function prometheusWith(features: readonly string[]) {
  const port = await freePort();
  const directory = temporaryDirectory();
  const config = join(directory, 'prometheus.yml');
  writeFileSync(config, 'global: {scrape_interval: 15s}\n');
  start('prometheus', [
    ...[`--config.file=${config}`, `--storage.tsdb.path=${join(directory, 'data')}`],
    ...[`--web.listen-address=127.0.0.1:${port}`, '--web.enable-remote-write-receiver'],
    ...features.map((feature) => `--enable-feature=${feature}`),
  ]);
  const api = `http://127.0.0.1:${port}/api/v1`;
  await answers(`http://127.0.0.1:${port}/-/ready`);
  const results = async (query: string) => {
    const answer = await fetch(`${api}/query?${new URLSearchParams({ query })}`);
    const { data } = (await answer.json()) as { data: { result: { value: [number, string] }[] } };
    return data.result;
  };
  const ask = async (query: string): Promise<number> => {
    const result = await results(query);
    expect(result.length, query).toBe(1);
    return Number(result[0]?.value[1]);
  };
  return { api, results, ask };
}

const WITHOUT_NATIVE: readonly string[] = [];
const WITH_NATIVE = ['native-histograms', 'exemplar-storage'];

test('a Prometheus has the figures of the document by remote write', { timeout: 120_000 }, async ({
  skip,
}) => {
  if ('missing' in prometheus) return skip(prometheus.missing);
  const { api, ask } = await prometheusWith(WITHOUT_NATIVE);
  const { target, capture } = await chats();
  const document = documentOf(
    await replay(capture, target.url, [
      ...['--json', '--remote-write', `${api}/write,interval=500ms`, '--name', 'nightly'],
    ]),
  );
  expect(document.telemetry?.receivers).toMatchObject([{ failed: 0, complete: true, lastError: null }]);
  expect(
    target.requests.every(({ headers }) => headers.some(([, value]) => value.includes('0af76519'))),
  ).toBe(true);
  const of = `instance="${document.run}",test="nightly"`;
  for (const outcome of ['completed', 'failed'] as const)
    expect(await ask(`sum(reprise_replay_requests_total{${of},outcome="${outcome}"})`)).toBe(
      document[outcome],
    );
  expect(await ask(`sum(reprise_replay_request_duration_seconds_count{${of}})`)).toBe(document.sent);
  expect(await ask(`sum(reprise_replay_request_duration_seconds_bucket{${of},le="+Inf"})`)).toBe(
    document.sent,
  );
  expect(await ask(`sum(reprise_replay_tokens_sum{${of},type="output"})`)).toBe(document.tokens.output);
  expect(await ask(`sum(reprise_replay_lag_seconds_count{${of}})`)).toBe(document.sent);
  expect(await ask(`sum(reprise_replay_inflight{${of}})`)).toBe(0);
  // The offered rate is what was planned: a hundred a second while the run lasted.
  expect(await ask(`max(max_over_time(reprise_replay_offered_rate{${of}}[1m]))`)).toBe(100);
  const p50 = await ask(
    `histogram_quantile(0.5, sum by (le) (reprise_replay_scheduled_latency_seconds_bucket{${of}}))`,
  );
  // Bounds of neighbouring buckets differ by a factor of 2.5 or less.
  const p50S = (document.latencyMs.scheduled.p50 ?? 0) / 1e3;
  expect(p50).toBeGreaterThanOrEqual(p50S / 2.5);
  expect(p50).toBeLessThanOrEqual(p50S * 2.5);
});

test('the alert on refused requests sees one burst at the start of a short run', { timeout: 60_000 }, async ({
  skip,
}) => {
  if ('missing' in prometheus) return skip(prometheus.missing);
  const { api, ask, results } = await prometheusWith(WITHOUT_NATIVE);
  const { target, capture } = await chats();
  const flags = ['--json', '--remote-write', `${api}/write`, '--max-rate', '50'];
  const document = documentOf(await replay(capture, target.url, flags));
  expect(document.refused).toBeGreaterThan(0);
  const rules = parse(readFileSync(join(repositoryRoot, 'deploy/kubernetes/monitoring/alerts.yaml'), 'utf8'));
  const alerts = rules.spec.groups.flatMap(({ rules: of }: { rules: object[] }) => of);
  const { expr } = alerts.find(({ alert }: { alert: string }) => alert === 'RepriseReplayRefuses');
  expect(await ask(expr)).toBeGreaterThan(0);
  // Every outcome has a series, also those that no request had.
  expect(await results(`sum by (outcome) (reprise_replay_requests_total)`)).toHaveLength(5);
});

/** A run with slow requests, all of them traced, exported by `RunTelemetry` to one receiver. */
async function slowRun(receiver: Pick<Receiver, 'kind' | 'url'>) {
  const startNs = systemClock.nowNs() - 60e9;
  const telemetry = new RunTelemetry({
    options: {
      receivers: [{ ...receiver, headers: [] }],
      traceShare: 1,
      intervalMs: 60_000,
      otlpHistograms: 'exponential',
    },
    run: { id: 'run', version: '1', name: null, tested: {}, server: { address: 'target', port: 80 } },
    clock: systemClock,
    startNs: () => startNs,
    inFlight: () => 0,
  });
  const first = { firstTokenOffsetNs: 35.1e9, promptTokens: 1, outputTokens: 1 };
  telemetry.ended(
    Array.from({ length: 100 }, (_, index) =>
      send({
        index,
        intendedOffsetNs: 0,
        actualOffsetNs: 2.3e9,
        startOffsetNs: 2.3e9,
        lastByteOffsetNs: 50e9,
        streamed: true,
        answer: { ...first, finish: null } as Send['answer'],
      }),
    ),
  );
  await telemetry.end({ verdict: null, slo: [] });
  const traces = Array.from({ length: 100 }, (_, index) => new TraceSample('run', 1).of(index)?.traceId);
  return { document: telemetry.document(), traces };
}

const FIRST_TOKEN = 'reprise_replay_time_to_first_token_seconds';
const LAG = 'reprise_replay_lag_seconds';

test.each([
  ['without native histograms, within its bucket', WITHOUT_NATIVE, 2.5],
  ['with native histograms, within 9 %', WITH_NATIVE, 1.1],
])(
  'a Prometheus shows a first token of 32.8 s and a lag of 2.3 s: %s',
  { timeout: 60_000 },
  async (_, features, factor) => {
    if ('missing' in prometheus) return;
    const { api, ask, results } = await prometheusWith(features);
    const { document, traces } = await slowRun({ kind: 'remote_write', url: `${api}/write` });
    expect(document.receivers).toMatchObject([{ failed: 0, complete: true, lastError: null }]);
    for (const [name, truth] of [
      [FIRST_TOKEN, 32.8],
      [LAG, 2.3],
    ] as const) {
      const native = `histogram_quantile(0.5, ${name})`;
      const classic = `histogram_quantile(0.5, sum by (le) (${name}_bucket))`;
      for (const query of features === WITH_NATIVE ? [native, classic] : [classic]) {
        const within = query === native ? factor : 2.5;
        const shown = await ask(query);
        expect(shown).toBeGreaterThan(truth / within);
        expect(shown).toBeLessThan(truth * within);
      }
    }
    expect(await results(FIRST_TOKEN)).toHaveLength(features === WITH_NATIVE ? 1 : 0);
    if (features !== WITH_NATIVE) return;
    const range = {
      query: `${FIRST_TOKEN}_bucket`,
      start: String(systemClock.epochUs() / 1e6 - 600),
      end: String(systemClock.epochUs() / 1e6 + 60),
    };
    const found = await fetch(`${api}/query_exemplars?${new URLSearchParams(range)}`);
    const { data } = (await found.json()) as {
      data: { exemplars: { value: string; labels: Record<string, string> }[] }[];
    };
    const exemplars = data.flatMap((each) => each.exemplars);
    expect(exemplars).toMatchObject([{ value: '32.8' }]);
    expect(traces).toContain(exemplars[0]?.labels['trace_id']);
  },
);

test('a collector takes exponential histograms with the traces of slow requests', {
  timeout: 60_000,
}, async ({ skip }) => {
  if ('missing' in collector) return skip(collector.missing);
  const sink = await serverOf((_, response) => response.writeHead(200).end());
  const exporter = { otlp_http: { endpoint: sink.url, encoding: 'json', compression: 'none' } };
  const url = await collectorAt(collector.path, exporter, ['metrics', 'traces']);
  const { document, traces } = await slowRun({ kind: 'otlp', url });
  expect(document.receivers).toMatchObject([{ failed: 0, rejected: 0, complete: true }]);
  for (let tries = 0; tries < 100 && passedOn(sink.requests).metrics.length === 0; tries += 1)
    await setTimeout(100);
  const first = passedOn(sink.requests)
    .metrics.at(-1)
    ?.find(({ name }) => name.endsWith('first_chunk'));
  const [point] = first?.exponentialHistogram?.dataPoints ?? [];
  const { scale = 0, positive, exemplars = [] } = point ?? {};
  expect(positive?.bucketCounts).toEqual(['100']);
  const lower = 2 ** ((positive?.offset ?? 0) / 2 ** scale);
  expect(lower).toBeLessThan(32.8);
  expect(lower * 2 ** (1 / 2 ** scale)).toBeGreaterThanOrEqual(32.8);
  expect(exemplars).toMatchObject([{ asDouble: 32.8 }]);
  expect(traces).toContain(exemplars[0]?.traceId);
});

/** An OpenAI-compatible server that answers chats and embeddings, and refuses who asks to fail. */
async function openAi() {
  return await serverOf(({ target, body }, response) => {
    const asked = JSON.parse(body.toString());
    const usage = { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 };
    const reply = { id: 'x', created: 1, model: asked.model };
    const json = (status: number, answer: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    if (body.includes('"fail"')) json(429, { error: { message: 'slow down' } });
    else if (target.endsWith('/embeddings')) {
      const data = [{ object: 'embedding', index: 0, embedding: [1, 2] }];
      json(200, { ...reply, object: 'list', data, usage: { prompt_tokens: 3, total_tokens: 3 } });
    } else if (asked.stream === true) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const choices = [...'abc'].map((content) => [{ index: 0, delta: { content }, finish_reason: null }]);
      for (const each of [...choices, [{ index: 0, delta: {}, finish_reason: 'stop' }]])
        response.write(
          `data: ${JSON.stringify({ ...reply, object: 'chat.completion.chunk', choices: each })}\n\n`,
        );
      const last = { ...reply, object: 'chat.completion.chunk', choices: [], usage };
      response.end(`data: ${JSON.stringify(last)}\n\ndata: [DONE]\n\n`);
    } else {
      const message = { role: 'assistant', content: 'hi' };
      json(200, {
        ...reply,
        object: 'chat.completion',
        choices: [{ index: 0, message, finish_reason: 'stop' }],
        usage,
      });
    }
  });
}

/** How many whole messages a file holds, each with its length before it. */
function packedMessages(path: string): number {
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  let [count, at] = [0, 0];
  while (at + 4 <= bytes.length) {
    at += 4 + bytes.readUInt32BE(at);
    if (at <= bytes.length) count += 1;
  }
  return count;
}

test('calls that three instrumentations of the OpenAI client traced are imported and replayed as they were asked', {
  timeout: 120_000,
}, async ({ skip }) => {
  if ('missing' in collector) return skip(collector.missing);
  if ('missing' in instrumented) return skip(instrumented.missing);
  const file = join(temporaryDirectory(), 'traces.jsonl');
  const packed = join(temporaryDirectory(), 'traces.binpb');
  const exporters = { file: { path: file }, 'file/packed': { path: packed, format: 'proto' } };
  const collecting = await collectorAt(collector.path, exporters, ['traces']);
  const spansWritten = async (count: number) => {
    const written = () => (existsSync(file) ? readFileSync(file, 'utf8').split('"spanId"').length - 1 : 0);
    for (let tries = 0; tries < 300 && written() < count; tries += 1) await setTimeout(100);
    expect(written()).toBe(count);
  };
  const model = await openAi();
  const program = join(import.meta.dirname, 'programs', 'otel_calls.py');
  const conventions = ['official', 'openllmetry', 'openinference'];
  for (const ended of await Promise.all(
    conventions.map((each) => runPeer(instrumented.path, [program, each, model.url, collecting])),
  ))
    expect(ended).toMatchObject({ status: 0 });
  // Two spans of the program and five of calls.
  await spansWritten(3 * 7);

  const hashKey = join(temporaryDirectory(), 'key');
  writeFileSync(hashKey, randomBytes(32).toString('base64'));
  const imported = async (from: string) => {
    const out = join(temporaryDirectory(), 'capture');
    const key = ['--hash-key-file', hashKey, '--build-prompts', 'none'];
    const { stdout } = await runCommand(['import', 'otlp', from, ...key, '--out', out, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      exchanges: 15,
      lacking: { 'a built prompt: it had no messages': 1 },
    });
    return out;
  };
  const rowsOf = (from: string) =>
    querySegment<{ model: string; status: number; first_token_ms: number | null; session: string }>(
      from,
      'SELECT * FROM exchanges ORDER BY arrival_us',
    );
  const capture = await imported(file);
  const rows = rowsOf(capture);
  const batches = readFileSync(file, 'utf8').trimEnd().split('\n').length;
  for (let tries = 0; tries < 300 && packedMessages(packed) < batches; tries += 1) await setTimeout(100);
  expect(rowsOf(await imported(packed))).toEqual(rows);
  const counted = (key: 'model' | 'status') =>
    Object.fromEntries([...Map.groupBy(rows, (row) => row[key])].map(([name, of]) => [name, of.length]));
  expect(counted('model')).toEqual({ small: 9, large: 3, vectors: 3 });
  expect(counted('status')).toEqual({ 200: 12, 429: 3 });
  expect(rows.filter(({ first_token_ms: at }) => at !== null)).toHaveLength(2);
  // Two calls of each program are one conversation.
  expect(new Set(rows.map(({ session }) => session)).size).toBe(12);

  const twin = await openAi();
  const replayed = documentOf(
    await replay(capture, twin.url, ['--json', '--otlp', `${collecting},traces=100%`]),
  );
  expect(replayed).toMatchObject({ sent: 15, completed: 15 });
  const asked = (server: typeof model) =>
    server.requests
      .map(({ target, body }) => {
        const { model: name, messages, input } = JSON.parse(body.toString());
        return JSON.stringify([target, name, messages ?? input]);
      })
      .filter((text) => !text.includes('vectors'))
      .sort();
  expect(asked(twin)).toEqual(asked(model));
  // The calls of the replay itself have spans too.
  await spansWritten(3 * 7 + 15);
  const both = join(temporaryDirectory(), 'both');
  const again = await runCommand(['import', 'otlp', file, '--out', both, '--json']);
  expect(JSON.parse(again.stdout)).toMatchObject({ exchanges: 30 });
});
