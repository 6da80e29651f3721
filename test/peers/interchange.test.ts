import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ModelServer } from '../../fixtures/model-server/model-server.ts';
import type { ReportDocument } from '../../src/documents/report.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { checkedBy, needing, runPeer } from '../support/peer-run.ts';
import { npmPackages, pythonWith } from '../support/peer-tools.ts';
import { replayHere } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const llmd = pythonWith(['llmd-benchmark-report==0.2.1', 'jsonschema==4.26.0']);
const aiperf = pythonWith(['aiperf==0.13.0']);
const k6Readers = npmPackages(['k6-junit@1.2.0']);
const program = join(repositoryRoot, 'test/peers/programs/interchange_reads.py');
const PATH = '/v1/chat/completions';
const COUNT = 100;
let run = '';
let report: ReportDocument;

/** A replay of streamed chats against a model server that counts its tokens. */
beforeAll(async () => {
  const server = new ModelServer({
    baseMs: 1,
    perKibUs: 0,
    tokenMs: 2,
    executors: 32,
    closeDeadlineMs: 1_000,
  });
  atFileEnd(() => server.close());
  const chats = Array.from({ length: COUNT }, (_, at) => {
    const messages = [{ role: 'user', content: `question ${at}` }];
    const usage = { stream: true, stream_options: { include_usage: true } };
    const body = JSON.stringify({ model: 'm', messages, min_tokens: 5, max_tokens: 5, ...usage });
    const headers = [
      ['Host', 'model.internal:8000'],
      ['Content-Type', 'application/json'],
    ] as const;
    return exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 20_000,
      route: `POST ${PATH}`,
      model: 'm',
      streamed: true,
      request: requestMessage({ target: PATH, body, headers: [...headers] }),
    });
  });
  const slo = ['latency: p(95)<1000', 'errors: rate<0.5', 'ttft: p(50)<0.001'].flatMap((line) => [
    '--slo',
    line,
  ]);
  const monitor = ['--monitor', `pid:${process.pid}`];
  ({ out: run } = await replayHere(captureOf(chats), await server.listen(), [...slo, ...monitor]));
  const { stdout } = await runCommand(['report', run, '--json']);
  report = JSON.parse(stdout) as ReportDocument;
  expect(report.counts.completed).toBe(COUNT);
  expect(report.streams.itl.count).toBeGreaterThan(0);
}, 60_000);

async function written(form: string): Promise<string> {
  const { stdout, stderr, status } = await runCommand(['report', run, '--format', form]);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const file = join(temporaryDirectory(), `${form}.json`);
  writeFileSync(file, stdout);
  return file;
}

async function read(python: string, reader: string, file: string) {
  const { stdout, said } = await runPeer(python, [program, reader, file]);
  expect(stdout, said).not.toBe('');
  return JSON.parse(stdout);
}

const figures = () => {
  const { summary, latencyMs, streams } = report;
  const p99 = latencyMs.service.steps.find(({ percent }) => percent === 99)?.ms;
  return { summary: summary!, service: latencyMs.service, p99, streams };
};

needing(llmd, 'the Benchmark Report passes the schema of llm-d and holds the figures', async (python) => {
  const found = await read(python, 'llm-d', await written('llm-d'));
  console.log(`llmd-benchmark-report ${found.version}`);
  const { summary, service, p99, streams } = figures();
  const { aggregate } = found.results.request_performance;
  expect(found.run.uid).toBe(summary.run);
  expect(found.scenario.load.standardized.input_seq_len.value).toBe(summary.tokens.prompt / COUNT);
  expect(aggregate.requests).toMatchObject({ total: COUNT, failures: 0 });
  expect(aggregate.latency.request_latency).toMatchObject({ mean: service.meanMs, p99, max: service.maxMs });
  expect(aggregate.latency.inter_token_latency.mean).toBe(streams.itl.meanMs);
  expect(aggregate.throughput.output_token_rate.mean).toBe(summary.tokens.output / summary.durationS);
  const [first] = summary.monitors?.series ?? [];
  expect(found.results.observability[first!.name].components[0].statistics.max).toBe(first!.max);
});

needing(llmd, 'llm-d converts the export for AIPerf', async (python) => {
  const { results } = await read(python, 'converted', await written('aiperf'));
  const { summary, service, streams } = figures();
  const { requests, latency, throughput } = results.request_performance.aggregate;
  expect(requests.total).toBe(COUNT);
  expect(requests.output_length.mean).toBe(summary.tokens.output / COUNT);
  expect(latency.request_latency.mean).toBeCloseTo(service.meanMs! / 1e3, 9);
  expect(latency.inter_token_latency.mean).toBeCloseTo(streams.tpot.meanMs! / 1e3, 9);
  expect(throughput.request_rate.mean).toBe(COUNT / summary.durationS);
});

needing(aiperf, "AIPerf's own model reads the export", async (python) => {
  const found = await read(python, 'aiperf', await written('aiperf'));
  console.log(`aiperf ${found.version}`);
  const { service, p99, streams } = figures();
  expect(found.request_latency).toMatchObject({ avg: service.meanMs, p99, count: COUNT });
  expect(found.inter_chunk_latency.count).toBe(streams.itl.count);
  expect(found).toMatchObject({ is_complete: true, request_count: { avg: COUNT } });
});

needing(k6Readers, 'k6-junit reads the summary: thresholds and checks', async (modules) => {
  const { status, said, stdout } = await checkedBy(
    modules,
    [
      "const { jUnit } = require('k6-junit');",
      'console.log(jUnit(JSON.parse(fs.readFileSync(process.argv[2]))));',
    ],
    [await written('k6')],
  );
  expect(status, said).toBe(0);
  const failed = [...stdout.matchAll(/<testcase name="([^"]*)"[^>]*>\s*<failure/g)].map(([, name]) => name);
  expect(failed).toContain('ttft: p(50)&lt;0.001');
  expect(failed).not.toContain('latency: p(95)&lt;1000');
  expect(stdout).toContain('testcase name="latency: p(95)&lt;1000"');
});

test('asks for JSON once', async () => {
  expect((await runCommand(['report', run, '--format', 'k6', '--html'])).status).toBe(2);
});
