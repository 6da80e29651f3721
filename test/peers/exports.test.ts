import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse as parseCsv } from 'csv-parse/sync';
import { describe, expect, test } from 'vitest';
import { layK6StandIn } from '../integration/k6-stand-in.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { exported, jsonLines, numberedCapture } from '../support/export-scene.ts';
import { freePort } from '../support/free-port.ts';
import { Agent, IssuingRouter } from '../support/issuing-router.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { checkedBy, needing, runPeer } from '../support/peer-run.ts';
import { goProgram, npmPackages, pythonWith } from '../support/peer-tools.ts';
import { startRecording } from '../support/recording.ts';
import { RequestLogServer } from '../support/request-log-server.ts';
import { sharedData } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COUNT = 200;
const locust = pythonWith(['locust==2.47.0']);
// Large (1.2 GB), and yet the reader the format is for.
const aiperf = pythonWith(['aiperf==0.13.0']);
const vegeta = goProgram('github.com/tsenart/vegeta/v12@v12.13.0', 'vegeta');
const schemas = npmPackages(['har-validator@5.1.5', 'ajv@6.12.6']);
const k6 = goProgram('go.k6.io/k6@v1.8.1', 'k6');
const capture = numberedCapture(COUNT);
async function origin(): Promise<RequestLogServer> {
  const server = await new RequestLogServer((_, response) => {
    response.setHeader('Set-Cookie', 'kept=no');
    setTimeout(() => response.end('{}'), 20);
  }).listen();
  atFileEnd(() => server.close());
  return server;
}

/** Every request once, each with its own body. */
function expectAllOnce({ requests }: RequestLogServer): void {
  const ids = requests.map(({ target }) => Number(/id=(\d+)$/.exec(target)?.[1]));
  expect([...ids].sort((a, b) => a - b)).toEqual(Array.from({ length: COUNT }, (_, id) => id));
  for (const { target, body, headers } of requests) {
    expect(body.toString('latin1')).toContain(String(Number(/id=(\d+)$/.exec(target)?.[1])));
    const names = headers.map(([name]) => name.toLowerCase());
    expect(names).not.toContain('cookie');
    expect(names).toContain('x-reprise-run');
    expect(headers.find(([name]) => name === 'X-Twice')?.[1]).toMatch(/^a/);
  }
}

/**
 * Locust's own CSV has the requests alone, each by its route, and in its totals too. How late each was sent is in the
 * files of the script.
 */
function expectDispatched(out: string, lagFiles: readonly string[]): void {
  const stats = csvRows(join(out, 'locust_stats.csv'));
  expect(
    stats.map((row) => [
      row['Type'],
      row['Name'],
      Number(row['Request Count']),
      Number(row['Failure Count']),
    ]),
  ).toEqual([
    ['POST', '/v1/chat/completions', COUNT, 0],
    ['', 'Aggregated', COUNT, 0],
  ]);
  // The server takes 20 ms for each answer.
  for (const row of stats) expect(Number(row['Median Response Time'])).toBeGreaterThanOrEqual(20);
  expect(readdirSync(out).filter((name) => name.startsWith('dispatch_lag'))).toEqual(lagFiles);
  const lags = lagFiles.flatMap((file) => csvRows(join(out, file)));
  expect(lags.map(({ name }) => name)).toEqual(Array(COUNT).fill('/v1/chat/completions'));
  const times = lags.map((row) => Number(row['lag_ms'])).sort((a, b) => a - b);
  expect(times[0]).toBeGreaterThanOrEqual(0);
  const at = (share: number) => times[Math.floor(share * (times.length - 1))]?.toFixed(2);
  process.stdout.write(`locust dispatch lag: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms\n`);
}

function csvRows(file: string): Record<string, string>[] {
  return parseCsv(readFileSync(file, 'utf8'), { columns: true, bom: true });
}

describe('Locust', () => {
  needing(locust, 'sends all requests once, in one process', async (python) => {
    const server = await origin();
    const { out } = await exported('locust', capture, '--target', server.url);
    const command = ['-m', 'locust', '-f', 'locustfile.py', '--headless', '--csv', 'locust'];
    const { status, said } = await runPeer(python, command, out);
    expect(status, said).toBe(0);
    expectAllOnce(server);
    expectDispatched(out, ['dispatch_lag.csv']);
  });

  needing(locust, 'sends the values that its target issues', async (python) => {
    const [production, target] = [await new IssuingRouter().listen(), await new IssuingRouter().listen()];
    atFileEnd(() => {
      production.close();
      target.close();
    });
    const recording = `${temporaryDirectory()}/capture`;
    const recorder = await startRecording(production.port, recording, ['--identify-session', 'x-session-id']);
    for (const session of ['one', 'two', 'three']) {
      const agent = new Agent(recorder.port, session);
      const first = await agent.turn(null, []);
      await agent.upload(await agent.upload(null));
      const second = await agent.turn(first.id, first.calls);
      const stream = await agent.cancelledTurn(second.id);
      await agent.turn(stream.id, stream.calls);
    }
    await recorder.stop();
    const { out } = await exported('locust', recording, '--multiplier', '2');
    const host = `http://127.0.0.1:${target.port}`;
    const { status, said } = await runPeer(
      python,
      ['-m', 'locust', '-f', 'locustfile.py', '--headless', '--host', host],
      out,
    );
    expect(status, said).toBe(0);
    expect(target.unknown, said).toEqual([]);
    expect(target.answers.length).toBe(2 * production.answers.length);
    expect(said).toMatch(/\d+ waited for values of answers, 0 lacked one/);
  });

  needing(locust, 'sends all requests once, from a master with two workers', async (python) => {
    const server = await origin();
    const { out } = await exported('locust', capture);
    const port = String(await freePort());
    const base = ['-m', 'locust', '-f', 'locustfile.py'];
    const worker = [...base, '--worker', '--master-port', port];
    const master = [
      '--headless',
      '--csv',
      'locust',
      '--host',
      server.url,
      '--master',
      '--expect-workers',
      '2',
    ];
    const [{ status, said }, ...workers] = await Promise.all([
      runPeer(python, [...base, ...master, '--master-bind-port', port], out),
      runPeer(python, worker, out),
      runPeer(python, worker, out),
    ]);
    expect(status, said).toBe(0);
    for (const each of workers) expect(each.status, each.said).toBe(0);
    expect(said).toContain(`replay: ${COUNT} requests sent, 0 without an answer`);
    expectAllOnce(server);
    expectDispatched(out, ['dispatch_lag.0.csv', 'dispatch_lag.1.csv']);
  });
});

needing(vegeta, 'Vegeta attacks with every target once, by the command that is printed', async (path) => {
  const server = await origin();
  const { out, document } = await exported('vegeta', capture, '--target', server.url);
  const command = `PATH="${dirname(path)}:$PATH"\n${document.usage[0]?.replace('FILE', out)} -type=json`;
  const { status, said, stdout } = await runPeer('bash', ['-c', command], dirname(out));
  expect(status, said).toBe(0);
  expectAllOnce(server);
  expect(JSON.parse(stdout)).toMatchObject({
    requests: COUNT,
    success: 1,
    status_codes: { 200: COUNT },
    errors: [],
  });
});

needing(schemas, 'Vegeta targets fit its JSON Schema', async (modules) => {
  const schema = sharedData('vegeta-schema/target.schema.json');
  if (schema === null) return;
  const { out } = await exported('vegeta', capture, '--target', 'http://127.0.0.1:1');
  const { status, said } = await checkedBy(
    modules,
    [
      "const Ajv = require('ajv');",
      "const meta = require('ajv/lib/refs/json-schema-draft-04.json');",
      "const ajv = new Ajv({ schemaId: 'id', meta: false, unknownFormats: 'ignore' }); ajv.addMetaSchema(meta);",
      'const validate = ajv.compile(JSON.parse(fs.readFileSync(process.argv[2])));',
      "for (const line of fs.readFileSync(process.argv[3], 'utf8').trim().split('\\n'))",
      '  if (!validate(JSON.parse(line))) throw new Error(JSON.stringify(validate.errors));',
    ],
    [schema, out],
  );
  expect(status, said).toBe(0);
});

needing(
  k6,
  'k6 plays scripts of both modes, each request once, and the history takes its summary',
  async (program) => {
    const history = join(temporaryDirectory(), 'history.sqlite');
    for (const mode of ['exact', 'rate']) {
      const server = await origin();
      const { out } = await exported('k6', capture, '--pacing', mode, '--slo', 'errors: rate<0.5');
      const summary = join(out, 'summary.json');
      const flags = [
        '--quiet',
        '--no-usage-report',
        '--summary-export',
        summary,
        '-e',
        `TARGET=${server.url}`,
      ];
      const { status, said } = await runPeer(program, ['run', ...flags, join(out, 'replay.js')], out);
      // 99: a threshold on how late requests went, which a busy machine crosses.
      expect([0, 99], said).toContain(status);
      expectAllOnce(server);
      const metrics = JSON.parse(readFileSync(summary, 'utf8')).metrics;
      expect(metrics).toMatchObject({ http_reqs: { count: COUNT }, errors: { value: 0 } });
      if (mode === 'exact') console.log(`k6 dispatch error: p50 ${metrics.schedule_lag.med} ms`);
      const added = await runCommand(['history', history, '--add-k6', summary, '--name', mode, '--json']);
      expect(added, added.stderr).toMatchObject({ status: 0 });
      const found = JSON.parse(added.stdout).tests.find((each: { test: string }) => each.test === mode);
      expect(found.metrics.find((each: { name: string }) => each.name === 'sent').values).toEqual([COUNT]);
    }
  },
);

test('k6 scripts run under a stand-in for k6: exact keeps every instant, rate every count', async () => {
  interface Standing {
    readonly sent: { atMs: number; method: string; url: string; body: string; redirects: number }[];
    readonly trends: Readonly<Record<string, number[]>>;
  }
  const play = async (mode: string): Promise<{ out: string } & Standing> => {
    const { out } = await exported('k6', capture, '--pacing', mode, '--target', 'http://t:1');
    const copy = `${out}-played`;
    cpSync(out, copy, { recursive: true });
    const { status, said, stdout } = await runPeer(process.execPath, [layK6StandIn(copy), '20']);
    expect(status, said).toBe(0);
    return { out, ...(JSON.parse(stdout) as Standing) };
  };
  const exact = await play('exact');
  const rows = jsonLines<{ t: number; p: string; b: string }>(join(exact.out, 'requests.jsonl'));
  expect(exact.sent.map(({ url }) => url)).toEqual(rows.map(({ p }) => `http://t:1${p}`));
  expect(exact.sent.map(({ body }) => body)).toEqual(rows.map(({ b }) => b));
  for (const [at, { atMs }] of exact.sent.entries()) expect(atMs).toBeCloseTo(2_000 + (rows[at]?.t ?? 0), 3);
  expect(Math.max(...(exact.trends['schedule_lag'] ?? [Number.NaN]))).toBeLessThan(0.001);
  const rate = await play('rate');
  expect(rate.sent.map(({ url }) => url)).toEqual(exact.sent.map(({ url }) => url));
  const bySecond = (secondsOf: readonly number[]) =>
    secondsOf.reduce<number[]>((counts, second) => {
      counts[second] = (counts[second] ?? 0) + 1;
      return counts;
    }, []);
  const planned = exact.sent.map(({ atMs }) => Math.floor((atMs - 2_000) / 1000 + 1e-9));
  // The last request of a second is due as it ends.
  const played = rate.sent.map(({ atMs }) => Math.ceil(atMs / 1000 - 1e-9) - 1);
  expect(bySecond(played)).toEqual(bySecond(planned));
});

/** A tokenizer that has a token for each byte: AIPerf wants one, and its own would be fetched from the network. */
const TOKENIZER = [
  'import json, os, sys',
  'from tokenizers import Tokenizer, decoders, models, pre_tokenizers',
  'letters = sorted(pre_tokenizers.ByteLevel.alphabet())',
  "vocabulary = {letter: at for at, letter in enumerate([*letters, '[UNK]'])}",
  "bytewise = Tokenizer(models.BPE(vocabulary, [], unk_token='[UNK]'))",
  'bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)',
  'bytewise.decoder = decoders.ByteLevel()',
  "bytewise.save(os.path.join(sys.argv[1], 'tokenizer.json'))",
  "kind = {'tokenizer_class': 'PreTrainedTokenizerFast', 'unk_token': '[UNK]', 'eos_token': '[UNK]', 'bos_token': '[UNK]'}",
  "json.dump(kind, open(os.path.join(sys.argv[1], 'tokenizer_config.json'), 'w'))",
].join('\n');

const CHAT_ANSWER = JSON.stringify({
  id: '1',
  object: 'chat.completion',
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'a b' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
});

/** Lets AIPerf play a trace. @returns the bodies that it posted, and when the server had them */
async function playedByAiperf(python: string, trace: string, more: readonly string[] = []) {
  const arrivedMs: number[] = [];
  const server = await new RequestLogServer(({ method }, response) => {
    if (method === 'POST') arrivedMs.push(performance.now());
    response.setHeader('Content-Type', 'application/json');
    response.end(CHAT_ANSWER);
  }).listen();
  atFileEnd(() => server.close());
  const home = temporaryDirectory();
  expect((await runPeer(python, ['-c', TOKENIZER, home])).status).toBe(0);
  const { status, said } = await runPeer(
    join(dirname(python), 'aiperf'),
    [
      ...['profile', '--model', 'm', '--url', server.url, '--endpoint-type', 'chat', '--ui', 'none'],
      ...['--input-file', trace, '--custom-dataset-type', 'mooncake_trace', '--fixed-schedule'],
      ...['--tokenizer', home, '--artifact-dir', join(home, 'artifacts'), ...more],
    ],
    home,
  );
  expect(status, said).toBe(0);
  const posts = server.requests.filter(({ method }) => method === 'POST');
  return { bodies: posts.map(({ body }) => JSON.parse(String(body))), arrivedMs };
}

needing(aiperf, 'AIPerf replays the Mooncake trace: every payload once', async (python) => {
  const { out } = await exported('mooncake', capture);
  const rows = jsonLines<{ timestamp: number; payload: { id: number } }>(out);
  const { bodies, arrivedMs } = await playedByAiperf(python, out);
  const byId = (a: { id: number }, b: { id: number }) => a.id - b.id;
  expect(bodies.sort(byId)).toEqual(rows.map(({ payload }) => payload).sort(byId));
  const errors = arrivedMs
    .map((at, index) => Math.abs(at - (arrivedMs[0] ?? 0) - (rows[index]?.timestamp ?? 0)))
    .sort((a, b) => a - b);
  process.stdout.write(`AIPerf, arrivals off the trace: p50 ${errors[errors.length >> 1]?.toFixed(1)} ms\n`);
});

needing(
  aiperf,
  'AIPerf makes prompts of hash_ids that share what the recorded ones share',
  async (python) => {
    const BLOCK = 16;
    // Of ten and more AIPerf decodes prompts in processes of its own.
    const chats = Array.from({ length: 9 }, (_, at) => {
      const system = { role: 'system', content: `system ${at % 3} `.repeat(20) };
      const user = { role: 'user', content: `question ${at % 4} `.repeat(8 + at) };
      const body = JSON.stringify({ model: 'm', messages: [system, user] });
      return exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 10_000,
        model: 'm',
        promptTokens: Math.ceil(body.length / 4),
        request: requestMessage({ target: '/v1/chat/completions', body }),
      });
    });
    const { out } = await exported(
      'mooncake',
      captureOf(chats),
      '--omit-payloads',
      '--block-tokens',
      `${BLOCK}`,
    );
    const rows = jsonLines<{ input_length: number; hash_ids: number[] }>(out);
    const { bodies } = await playedByAiperf(python, out, ['--isl-block-size', `${BLOCK}`]);
    // It begins a block by a token that is no text.
    const prompts = bodies.map(
      ({ messages: [message] }) => message.content.replaceAll('[UNK]', '~') as string,
    );
    expect(prompts).toHaveLength(rows.length);
    for (let blocks = 1; blocks <= Math.min(...rows.map(({ hash_ids }) => hash_ids.length)); blocks += 1) {
      const ids = rows.map(({ hash_ids }) => hash_ids.slice(0, blocks).join());
      const texts = prompts.map((prompt) => prompt.slice(0, blocks * BLOCK));
      expect([blocks, new Set(texts).size]).toEqual([blocks, new Set(ids).size]);
    }
  },
);

test('Mooncake rows hold what mooncake_trace asks for', async () => {
  const { out, document } = await exported('mooncake', capture);
  const rows = jsonLines<Record<string, unknown>>(out);
  const binary = COUNT / 10;
  expect(rows).toHaveLength(COUNT - binary);
  expect(Object.values(document.lost)).toEqual([binary]);
  let previous = 0;
  for (const row of rows) {
    expect(Object.keys(row)).toEqual(['timestamp', 'payload']);
    expect(row['timestamp']).toBeGreaterThanOrEqual(previous);
    expect(row['payload']).toMatchObject({ model: 'm' });
    previous = row['timestamp'] as number;
  }
  expect(readFileSync(out, 'utf8')).toContain('12345678901234567890');
});
