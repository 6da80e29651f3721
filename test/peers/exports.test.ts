import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { exported, jsonLines, numberedCapture } from '../support/export-scene.ts';
import { freePort } from '../support/free-port.ts';
import { layK6StandIn } from '../support/k6-stand-in.ts';
import { checkedBy, endings, needing, runPeer } from '../support/peer-run.ts';
import { goProgram, npmPackages, pythonWith } from '../support/peer-tools.ts';
import { RequestLogServer } from '../support/request-log-server.ts';
import { repositoryRoot, sharedData } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COUNT = 200;
const locust = pythonWith(['locust==2.47.0']);
// Large (1.2 GB), and yet the reader the format is for.
const aiperf = pythonWith(['aiperf==0.13.0']);
const vegeta = goProgram('github.com/tsenart/vegeta/v12@v12.13.0', 'vegeta');
const schemas = npmPackages(['har-validator@5.1.5', 'ajv@6.12.6']);
const k6Types = npmPackages(['@types/k6@2.3.0']);
const capture = numberedCapture(COUNT);
async function origin(): Promise<RequestLogServer> {
  const server = await new RequestLogServer((_, response) => {
    response.setHeader('Set-Cookie', 'kept=no');
    setTimeout(() => response.end('{}'), 20);
  }).listen();
  endings.push(() => server.close());
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

interface LocustRow {
  readonly name: string;
  readonly method: string;
  readonly num_requests: number;
  readonly num_failures: number;
  readonly response_times: Readonly<Record<string, number>>;
}

/** The rows of `--json`, and the median of the dispatch error in Locust's own resolution, whole milliseconds. */
function expectDispatched(stdout: string): void {
  const rows = JSON.parse(stdout.slice(stdout.indexOf('['))) as LocustRow[];
  const lag = rows.find(({ name }) => name === 'dispatch_lag');
  expect(lag?.num_requests).toBe(COUNT);
  const sent = rows.filter(({ name }) => name !== 'dispatch_lag');
  expect(sent.map(({ method, name }) => `${method} ${name}`)).toEqual(['POST POST /v1/chat/completions']);
  expect(sent[0]).toMatchObject({ num_requests: COUNT, num_failures: 0 });
  const times = Object.entries(lag?.response_times ?? {})
    .flatMap(([ms, count]) => Array.from({ length: count }, () => Number(ms)))
    .sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(share * (times.length - 1))];
  process.stdout.write(`locust dispatch error: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms\n`);
}

describe('Locust', () => {
  needing(locust, 'sends all requests once, in one process', async (python) => {
    const server = await origin();
    const { out } = await exported('locust', capture, '--target', server.url);
    const { status, said, stdout } = await runPeer(
      python,
      ['-m', 'locust', '-f', 'locustfile.py', '--headless', '--json'],
      out,
    );
    expect(status, said).toBe(0);
    expectAllOnce(server);
    expectDispatched(stdout.slice(stdout.indexOf('\n[')));
  });

  needing(locust, 'sends all requests once, from a master with two workers', async (python) => {
    const server = await origin();
    const { out } = await exported('locust', capture);
    const port = String(await freePort());
    const base = ['-m', 'locust', '-f', 'locustfile.py'];
    const worker = [...base, '--worker', '--master-port', port];
    const master = ['--headless', '--json', '--host', server.url, '--master', '--expect-workers', '2'];
    const [{ status, said, stdout }, ...workers] = await Promise.all([
      runPeer(python, [...base, ...master, '--master-bind-port', port], out),
      runPeer(python, worker, out),
      runPeer(python, worker, out),
    ]);
    expect(status, said).toBe(0);
    for (const each of workers) expect(each.status, each.said).toBe(0);
    expect(said).toContain(`replay: ${COUNT} requests sent, 0 without an answer`);
    expectAllOnce(server);
    expectDispatched(stdout.slice(stdout.indexOf('\n[')));
  });
});

needing(vegeta, 'Vegeta attacks with every target once', async (path) => {
  const server = await origin();
  const { out } = await exported('vegeta', capture, '--target', server.url);
  const results = `${out}.bin`;
  const flags = ['-format=json', '-lazy', '-rate=400/s', '-redirects=-1', '-duration=20s'];
  const attack = await runPeer(path, ['attack', ...flags, `-targets=${out}`, `-output=${results}`]);
  expect(attack.status, attack.said).toBe(0);
  const { stdout } = await runPeer(path, ['report', '-type=json', results]);
  expect(server.requests).toHaveLength(COUNT);
  expectAllOnce(server);
  expect(JSON.parse(stdout)).toMatchObject({ status_codes: { 200: COUNT } });
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

needing(k6Types, 'k6 scripts of both modes fit the types of k6', async (modules) => {
  for (const mode of ['exact', 'rate']) {
    const { out } = await exported('k6', capture, '--mode', mode);
    symlinkSync(modules, join(out, 'node_modules'));
    const compilerOptions = {
      allowJs: true,
      checkJs: true,
      strict: true,
      noEmit: true,
      target: 'es2022',
      module: 'esnext',
      moduleResolution: 'bundler',
      types: ['k6'],
      skipLibCheck: true,
    };
    writeFileSync(join(out, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['replay.js'] }));
    const tsc = join(repositoryRoot, 'node_modules', 'typescript', 'bin', 'tsc');
    const { status, said } = await runPeer(process.execPath, [tsc, '-p', out]);
    expect(status, said).toBe(0);
    // And the check sees what it should: a misspelt option is an error.
    const script = readFileSync(join(out, 'replay.js'), 'utf8');
    writeFileSync(join(out, 'replay.js'), script.replace(/vus:|preAllocatedVUs:/, 'users:'));
    expect((await runPeer(process.execPath, [tsc, '-p', out])).status).not.toBe(0);
  }
});

test('k6 scripts run under a stand-in for k6: exact keeps every instant, rate every count', async () => {
  interface Standing {
    readonly sent: { atMs: number; method: string; url: string; body: string; redirects: number }[];
    readonly trends: Readonly<Record<string, number[]>>;
  }
  const play = async (mode: string): Promise<{ out: string } & Standing> => {
    const { out } = await exported('k6', capture, '--mode', mode, '--target', 'http://t:1');
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
  const bySecond = (sent: readonly { atMs: number }[], startMs: number) =>
    sent.reduce<number[]>((counts, { atMs }) => {
      const second = Math.floor((atMs - startMs) / 1000 + 1e-9);
      counts[second] = (counts[second] ?? 0) + 1;
      return counts;
    }, []);
  expect(bySecond(rate.sent, 0)).toEqual(bySecond(exact.sent, 2_000));
});

/** A tokenizer of three words: AIPerf wants one, and its own would be fetched from the network. */
const TOKENIZER = [
  'import json, os, sys',
  'from tokenizers import Tokenizer, models, pre_tokenizers',
  "words = Tokenizer(models.WordLevel({'[UNK]': 0, 'a': 1, 'b': 2}, unk_token='[UNK]'))",
  'words.pre_tokenizer = pre_tokenizers.Whitespace()',
  "words.save(os.path.join(sys.argv[1], 'tokenizer.json'))",
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

needing(aiperf, 'AIPerf replays the Mooncake trace: every payload once', async (python) => {
  const arrivedMs: number[] = [];
  const server = await new RequestLogServer(({ method }, response) => {
    if (method === 'POST') arrivedMs.push(performance.now());
    response.setHeader('Content-Type', 'application/json');
    response.end(CHAT_ANSWER);
  }).listen();
  endings.push(() => server.close());
  const { out } = await exported('mooncake', capture);
  const rows = jsonLines<{ timestamp: number; payload: { id: number } }>(out);
  const home = temporaryDirectory();
  expect((await runPeer(python, ['-c', TOKENIZER, home])).status).toBe(0);
  const { status, said } = await runPeer(
    join(dirname(python), 'aiperf'),
    [
      ...['profile', '--model', 'm', '--url', server.url, '--endpoint-type', 'chat', '--ui', 'none'],
      ...['--input-file', out, '--custom-dataset-type', 'mooncake_trace', '--fixed-schedule'],
      ...['--tokenizer', home, '--artifact-dir', join(home, 'artifacts')],
    ],
    home,
  );
  expect(status, said).toBe(0);
  const posts = server.requests.filter(({ method }) => method === 'POST');
  const sent = posts.map(({ body }) => JSON.parse(String(body)) as { id: number });
  const byId = (a: { id: number }, b: { id: number }) => a.id - b.id;
  expect(sent.sort(byId)).toEqual(rows.map(({ payload }) => payload).sort(byId));
  const errors = arrivedMs
    .map((at, index) => Math.abs(at - (arrivedMs[0] ?? 0) - (rows[index]?.timestamp ?? 0)))
    .sort((a, b) => a - b);
  process.stdout.write(`AIPerf, arrivals off the trace: p50 ${errors[errors.length >> 1]?.toFixed(1)} ms\n`);
});

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
