import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { ComparisonDocument } from '../../src/documents/comparison.ts';
import type { HistoryDocument } from '../../src/documents/history.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { type ServerDifference, serverDifferences } from '../../src/documents/server-details.ts';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { search, searchedDocument } from '../integration/capacity-search.ts';
import { captureOf, newCapture } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { askOnce } from '../support/one-request.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** What a server of ours says of itself. */
const RECORDED = {
  version: '0.6.3',
  software: 'uvicorn',
  model: 'llama-8b',
  maxModelLen: 8192,
  quantization: 'fp8',
  tensorParallel: 2,
  dtype: 'bfloat16',
  modelVersion: '1',
  batch: 8,
  instances: 2,
  kvBlocks: 4000,
  gpu: 'NVIDIA A100',
  image: 'sha256:aa',
};
type Facts = typeof RECORDED;

const SECRET = 'sk-a-secret-that-nobody-may-see';

function answersOf(facts: Facts): Readonly<Record<string, string | object>> {
  const instance = { name: 'resnet_0', kind: 'KIND_GPU', count: facts.instances, gpus: [0] };
  return {
    '/version': { version: facts.version },
    '/info': { model_dtype: facts.dtype, docker_label: facts.image, token: SECRET },
    '/v1/models': {
      object: 'list',
      // Differs at each look, as real servers have it.
      data: [{ id: facts.model, created: Math.random(), max_model_len: facts.maxModelLen, permission: [{}] }],
    },
    '/get_server_info': {
      quantization: facts.quantization,
      tp_size: facts.tensorParallel,
      api_key: SECRET,
      hub: `https://user:${SECRET}@hub.example/m`,
      internal_states: [{ load: Math.random() }],
    },
    '/v2': { name: 'triton', version: '2.40.0' },
    '/v2/models/stats': { model_stats: [{ name: 'resnet', version: '1', inference_count: 7 }] },
    '/v2/models/resnet': { name: 'resnet', versions: [facts.modelVersion], platform: 'onnx' },
    '/v2/models/resnet/config': {
      name: 'resnet',
      max_batch_size: facts.batch,
      instance_group: [instance],
      input: [{ name: 'x', data_type: 'TYPE_FP16', dims: [3, 224, 224] }],
    },
    '/metrics':
      `vllm:cache_config_info{num_gpu_blocks="${facts.kvBlocks}",block_size="16"} 1\n` +
      `DCGM_FI_DEV_GPU_UTIL{UUID="GPU-1",modelName="${facts.gpu}"} 50\nrequests_total 7\n`,
  };
}

function serving(facts: Facts) {
  const answers = answersOf(facts);
  return ({ target }: LoggedRequest, response: ServerResponse) => {
    const answer = answers[target];
    response.setHeader('server', facts.software);
    if (target.startsWith('/v1/x')) response.end('{"id":1}');
    else if (answer === undefined) response.writeHead(404).end('{}');
    else response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  };
}

/** Requests of clients, a few milliseconds apart. */
async function traffic(port: number): Promise<void> {
  for (let id = 0; id < 20; id += 1) {
    await askOnce(port, `POST /v1/x?id=${id} HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n{"id":1}`);
    await setTimeout(5);
  }
}

let captured: Promise<string> | null = null;
const FLAGS = ['--label', 'replicas=4', '--label', 'pool=a', '--server-details', 'target'];

function recorded(): Promise<string> {
  captured ??= (async () => {
    const origin = await serverOf(serving(RECORDED));
    const directory = newCapture();
    const recording = await startRecording(origin.port, directory, FLAGS);
    const isAsked = () => origin.requests.some(({ target }) => target === '/v2/models/resnet/config');
    for (let turn = 0; turn < 200 && !isAsked(); turn += 1) await setTimeout(25);
    await traffic(recording.port);
    expect((await recording.stop()).status).toBe(0);
    return directory;
  })();
  return captured;
}

async function inspected(capture: string): Promise<InspectDocument> {
  return JSON.parse((await runCommand(['inspect', capture, '--json'])).stdout);
}

function differencesIn({ notes }: Pick<ReplayDocument, 'notes'> | ComparisonDocument): ServerDifference[] {
  const note = notes.find(({ code }) => code === 'server_differs');
  return (note?.figures?.['differences'] ?? []) as ServerDifference[];
}

const planted: readonly (readonly [what: string, Partial<Facts>, ServerDifference])[] = [
  [
    'another version of the server',
    { version: '0.7.0' },
    { fact: '/version version', a: '0.6.3', b: '0.7.0' },
  ],
  ['other software', { software: 'nginx' }, { fact: 'answers Server', a: 'uvicorn', b: 'nginx' }],
  ['another model', { model: 'llama-70b' }, { fact: '/v1/models models', a: 'llama-8b', b: 'llama-70b' }],
  ['a shorter context', { maxModelLen: 4096 }, { fact: '/v1/models max_model_len', a: '8192', b: '4096' }],
  [
    'no quantisation',
    { quantization: 'none' },
    { fact: '/get_server_info quantization', a: 'fp8', b: 'none' },
  ],
  ['fewer GPUs for a model', { tensorParallel: 1 }, { fact: '/get_server_info tp_size', a: '2', b: '1' }],
  ['another dtype', { dtype: 'float32' }, { fact: '/info model_dtype', a: 'bfloat16', b: 'float32' }],
  ['another image', { image: 'sha256:bb' }, { fact: '/info docker_label', a: 'sha256:aa', b: 'sha256:bb' }],
  [
    'another version of a model',
    { modelVersion: '2' },
    { fact: '/v2/models/resnet versions', a: '1', b: '2' },
  ],
  ['smaller batches', { batch: 4 }, { fact: '/v2/models/resnet/config max_batch_size', a: '8', b: '4' }],
  [
    'fewer instances of a model',
    { instances: 1 },
    { fact: '/v2/models/resnet/config instance_group.resnet_0.count', a: '2', b: '1' },
  ],
  [
    'a smaller KV cache',
    { kvBlocks: 2000 },
    { fact: 'vllm:cache_config_info num_gpu_blocks', a: '4000', b: '2000' },
  ],
  ['another GPU', { gpu: 'NVIDIA T4' }, { fact: 'gpu model', a: 'NVIDIA A100', b: 'NVIDIA T4' }],
];

test.each(planted)('a target with %s is named, and nothing else', async (_, planted, expected) => {
  const capture = await recorded();
  const server = await serverOf(serving({ ...RECORDED, ...planted }));
  const document = documentOf(await replayHere(capture, server.url, ['--json']));
  const differences = differencesIn(document).filter(({ fact }) => !isOfOneModel(expected, fact));
  expect(differences).toEqual([expected]);
  // It cannot decide the verdict.
  expect(document.reasons.map(({ code }) => code)).not.toContain('server_differs');
});

/** The fields of the only model have its name as well. */
function isOfOneModel(expected: ServerDifference, fact: string): boolean {
  return expected.fact === '/v1/models models' && fact === '/v1/models id';
}

test('replicas that labels or monitors know are named, and a label of one side alone is not', async () => {
  const capture = await recorded();
  const server = await serverOf(serving(RECORDED));
  const labelled = ['--label', 'replicas=2', '--label', 'commit=ab'];
  const document = documentOf(await replayHere(capture, server.url, ['--json', ...labelled]));
  expect(differencesIn(document)).toEqual([{ fact: 'label replicas', a: '4', b: '2' }]);
  const prometheus = await serverOf(({ target }, response) => {
    const isRange = target.includes('query_range');
    const value = isRange ? { values: [[Date.now() / 1e3, '6']] } : { value: [Date.now() / 1e3, '3'] };
    const result = [{ metric: {}, ...value }];
    const resultType = isRange ? 'matrix' : 'vector';
    response.end(JSON.stringify({ status: 'success', data: { resultType, result } }));
  });
  const monitored = documentOf(
    await replayHere(capture, server.url, [
      ...['--json', '--monitor', `prom=${prometheus.url}`, '--monitor', 'interval=100ms'],
      ...['--monitor', 'replicas_ready=sum(x)'],
    ]),
  );
  expect(differencesIn(monitored)).toEqual([{ fact: 'monitors replicas_ready', a: '6', b: '3' }]);
});

test('software that only the answers name is compared, although nobody asked for it', async () => {
  const origin = await serverOf(serving(RECORDED));
  const capture = newCapture();
  const recording = await startRecording(origin.port, capture);
  await traffic(recording.port);
  expect((await recording.stop()).status).toBe(0);
  const differences = async (software: string) => {
    const server = await serverOf(serving({ ...RECORDED, software }));
    return differencesIn(documentOf(await replayHere(capture, server.url, ['--json'])));
  };
  expect(await differences('uvicorn')).toEqual([]);
  expect(await differences('nginx')).toEqual([{ fact: 'answers Server', a: 'uvicorn', b: 'nginx' }]);
});

test('the same server has no difference, its secrets are nowhere, and inspect, report, history and compare name it', async () => {
  const capture = await recorded();
  const same = await serverOf(serving(RECORDED));
  const other = await serverOf(serving({ ...RECORDED, version: '0.7.0' }));
  const history = join(temporaryDirectory(), 'history.sqlite');
  const keeping = ['--json', '--history', history, '--name', 'nightly'];
  const a = await replayHere(capture, same.url, keeping);
  const document = documentOf(a);
  expect(differencesIn(document)).toEqual([]);
  expect(document.serverDetails?.['/version']).toEqual({ version: ['0.6.3'] });
  expect(document.recordedServer?.serverDetails?.['/version']).toEqual({ version: ['0.6.3'] });
  const told = JSON.stringify([document, await inspected(capture)]);
  expect(told).not.toContain(SECRET);
  expect(told).toContain('(masked)');
  const b = await replayHere(capture, other.url, keeping);
  expect((await runCommand(['report', b.out])).stdout).toContain(
    '/version version: 0.6.3 recorded, 0.7.0 here',
  );
  expect((await runCommand(['inspect', capture])).stdout).toContain('/info docker_label: sha256:aa');
  const compared = JSON.parse((await runCommand(['compare', a.out, b.out, '--json'])).stdout);
  expect(differencesIn(compared)).toEqual([{ fact: '/version version', a: '0.6.3', b: '0.7.0' }]);
  const recording = JSON.parse((await runCommand(['compare', capture, b.out, '--json'])).stdout);
  expect(differencesIn(recording)).toEqual([{ fact: '/version version', a: '0.6.3', b: '0.7.0' }]);
  const kept = JSON.parse((await runCommand(['history', history, '--json'])).stdout) as HistoryDocument;
  expect(kept.tests[0]?.runs.map((run) => run.serverDetails?.['/version'])).toEqual([
    { version: ['0.6.3'] },
    { version: ['0.7.0'] },
  ]);
  const shown = (await runCommand(['history', history])).stdout;
  expect(shown).toContain('/version version: 0.6.3 before, 0.7.0 now');
});

test('without --server-details nobody is asked, and what passes by is kept', async () => {
  const origin = await serverOf(serving(RECORDED));
  const directory = newCapture();
  const recording = await startRecording(origin.port, directory, ['--bodies', 'all']);
  await askOnce(recording.port, 'GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n');
  await traffic(recording.port);
  expect((await recording.stop()).status).toBe(0);
  expect(origin.requests.filter(({ target }) => !target.startsWith('/v1/x'))).toHaveLength(1);
  const { serverDetails } = await inspected(directory);
  expect(Object.keys(serverDetails).sort()).toEqual(['/v1/models', 'answers']);
  expect(serverDetails['answers']).toEqual({ Server: ['uvicorn'] });
  const server = await serverOf(serving(RECORDED));
  const asked = () => server.requests.filter(({ target }) => target === '/version').length;
  // A client asked for its models while it was recorded.
  const document = documentOf(await replayHere(directory, server.url, ['--json']));
  expect({ asked: asked(), differences: differencesIn(document) }).toEqual({ asked: 1, differences: [] });
  const requests = captureOf(requestsOf(20));
  documentOf(await replayHere(requests, server.url, ['--json']));
  expect(asked()).toBe(1);
  const watched = documentOf(await replayHere(requests, server.url, ['--json', '--monitor', 'target']));
  expect(asked()).toBe(1);
  expect(watched.serverDetails?.['gpu']).toEqual({ model: ['NVIDIA A100'], count: ['1'] });
});

test('a server that says nothing, never answers, or answers without end costs a bounded time and no request', async () => {
  const capture = await recorded();
  for (const answer of [
    (response: ServerResponse) => void response.writeHead(500).end(),
    // Hangs.
    () => undefined,
    (response: ServerResponse) => void response.end(Buffer.alloc(3 * 2 ** 20, '{"a":')),
  ]) {
    const server = await serverOf(({ target }, response) => {
      if (target.startsWith('/v1/x')) response.end('{"id":1}');
      else answer(response);
    });
    const document = documentOf(await replayHere(capture, server.url, ['--json']));
    expect(document).toMatchObject({ sent: 20, completed: 20 });
    expect(document.serverDetails).toEqual({});
    expect(differencesIn(document)).toEqual([]);
    // The marker keeps a recorder in front of the target from recording the questions.
    const asked = server.requests.filter(({ target }) => target === '/version');
    expect(asked).toHaveLength(1);
    expect(asked[0]?.headers.map(([name]) => name.toLowerCase())).toContain('x-reprise-run');
  }
});

test('a search asks its target, and names the difference', async () => {
  const capture = await recorded();
  const server = await serverOf(serving({ ...RECORDED, kvBlocks: 2000 }));
  const out = join(temporaryDirectory(), 'search');
  const result = await search(capture, server.url, ['--json', '--multiplier', '2', '--out', out]);
  const document = searchedDocument(result);
  expect(serverDifferences(document.recordedServer ?? {}, document)).toEqual([
    { fact: 'vllm:cache_config_info num_gpu_blocks', a: '4000', b: '2000' },
  ]);
  const text = (await runCommand(['report', out, '--markdown'])).stdout.replaceAll('\\', '');
  expect(text).toContain('num_gpu_blocks: 4000 recorded, 2000 here');
});
