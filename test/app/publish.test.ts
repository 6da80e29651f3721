import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PUBLISH_OPTIONS, type PublishRequest, publish } from '../../src/app/publish/publish.ts';
import { byProgram, resolveOptions } from '../../src/core/options.ts';
import type { CapacityDocument } from '../../src/documents/capacity.ts';
import { publicationSchema } from '../../src/documents/publication.ts';
import { storedRun } from '../support/reported-runs.ts';
import { good } from '../support/run-contexts.ts';
import { playedAt, searched } from '../support/searched.ts';
import { stated } from '../support/stated.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { MlflowStandIn } from '../trackers/mlflow-stand-in.ts';

function requestOf(...to: string[]): PublishRequest {
  return resolveOptions(PUBLISH_OPTIONS, byProgram(PUBLISH_OPTIONS, { to }));
}

describe('where a run can go', () => {
  test.each([
    ['mlflow://127.0.0.1:5000', 'http://127.0.0.1:5000'],
    ['mlflow://localhost:5000/prefix/', 'http://localhost:5000/prefix'],
    ['mlflow://tracking.example', 'https://tracking.example'],
    ['mlflow+http://tracking:5000', 'http://tracking:5000'],
    ['mlflow+https://127.0.0.1', 'https://127.0.0.1'],
  ])('%s is %s', (to, url) => {
    expect(requestOf(to).to).toEqual([{ kind: 'mlflow', url }]);
  });

  test.each(['', 'out.txt', 'wandb:', 'mlflow:host', 'mlfow://host', 'mlflow://user:secret@host'])(
    'refuses %j',
    (to) => {
      expect(() => requestOf(to)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
      expect(() => requestOf(to)).not.toThrow(/secret/);
    },
  );
});

test('no address, no path and no name of this machine leaves it, in any document or page', async () => {
  const standIn = await new MlflowStandIn().start();
  const target = 'http://staging.internal.example:8000';
  const directory = storedRun(good(50), {
    slo: ['latency: p(95)<200'],
    run: { target, capture: '/home/me/monday' },
  });
  const file = join(temporaryDirectory(), 'run.json');
  const environment = { MLFLOW_TRACKING_USERNAME: 'me', MLFLOW_TRACKING_PASSWORD: 'word' };
  await publish(directory, requestOf(file, `mlflow+http${standIn.url.slice(4)}`), environment);
  const [run] = standIn.runs;
  expect([...standIn.authorizations]).toEqual([`Basic ${Buffer.from('me:word').toString('base64')}`]);
  expect([...standIn.files.keys()].map((path) => path.split('/').at(-1))).toEqual([
    'report.html',
    'report.json',
  ]);
  const sent = [
    readFileSync(file, 'utf8'),
    ...standIn.files.values(),
    JSON.stringify([...run!.params, ...run!.tags]),
  ];
  for (const text of sent) {
    expect(text).not.toContain('staging.internal');
    expect(text).not.toContain('/home/me');
    expect(text).not.toContain(directory);
  }
  expect(sent[1]).toContain('http://target');
  expect(publicationSchema.parse(JSON.parse(sent[0] ?? '')).params['target']).toBe('http://target');
});

test('two targets were both published as http://target', async () => {
  const directory = storedRun(good(50), { run: { target: 'http://staging.internal.example:8000' } });
  const file = join(temporaryDirectory(), 'run.json');
  const targetOf = async (targetName?: string) => {
    const stated = { to: [file], ...(targetName !== undefined && { targetName }) };
    await publish(directory, resolveOptions(PUBLISH_OPTIONS, byProgram(PUBLISH_OPTIONS, stated)), {});
    return publicationSchema.parse(JSON.parse(readFileSync(file, 'utf8'))).params['target'];
  };
  expect(await targetOf()).toBe('http://target');
  expect(await targetOf('staging-a')).toBe('http://staging-a');
  await expect(targetOf('10.0.0.7')).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  const summary = join(directory, 'summary.json');
  const labelled = { ...JSON.parse(readFileSync(summary, 'utf8')), labels: { target: 'staging-b' } };
  writeFileSync(summary, JSON.stringify(labelled));
  expect(await targetOf()).toBe('http://staging-b');
});

test('no name of a machine leaves it that monitors, faults and queries tell', async () => {
  const standIn = await new MlflowStandIn().start();
  const spread = { samples: 1, missing: 0, min: 1, mean: 1, p50: 1, p95: 1, max: 1 };
  const failing = (name: string, address: string, lastError: string) => ({
    name,
    kind: 'scrape' as const,
    address,
    intervalS: 1,
    looks: 2,
    failed: 2,
    lastError,
    off: null,
    tookMs: { p50: null, max: null },
    ageMs: { p50: null, max: null },
    unknown: 0,
    beyond: 0,
    unstored: 0,
  });
  const query = 'sum(busy{instance="gpu-7:9400"})';
  const names = { nodename: 'rack-n', machine: 'rack-m', ip: '10.9.8.7', host_name: 'rack-h' };
  const directory = storedRun(
    good(50),
    {
      slo: ['latency: p(95)<200'],
      run: {
        target: 'http://modelhost:8000',
        options: { multiplier: 1, monitorQuery: [`busy=${query}`] },
      },
    },
    {
      faults: { control: 'relay.internal:8474', faults: [] },
      monitors: {
        sources: [
          failing('a', 'http://gpu-node-8:9400', 'getaddrinfo ENOTFOUND gpu-node-8'),
          failing('b', 'http://[fd00:10::5]:9400', 'connect ECONNREFUSED fd00:10::5:9400'),
          failing('c', 'http://plainname:9400', 'getaddrinfo EAI_AGAIN plainname'),
        ],
        series: [
          {
            source: 'a',
            name: 'busy',
            metric: query,
            labels: names,
            kind: 'gauge',
            unit: 'share',
            ...spread,
            change: null,
            resets: 0,
            recorded: null,
          },
        ],
        notes: ['the recorded window could not be had of gpu-node-8'],
      },
    },
  );
  const file = join(temporaryDirectory(), 'run.json');
  await publish(directory, requestOf(file, `mlflow+http${standIn.url.slice(4)}`), {});
  const sent = [readFileSync(file, 'utf8'), ...standIn.files.values(), JSON.stringify(standIn.runs)];
  expect(sent[1]).toContain('ENOTFOUND host-');
  const told = [
    ...['modelhost', 'relay.internal', 'gpu-node', 'gpu-7', 'fd00', 'plainname', '10.9.8.7'],
    ...['rack-n', 'rack-m', 'rack-h'],
  ];
  for (const text of sent) expect(told.filter((name) => text.includes(name))).toEqual([]);
});

const SEARCH = searched([1, 2, 4, 8].map((at) => playedAt(at)));

test('a search goes with its steps, and a run without an end does not go', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'capacity.json'), JSON.stringify(SEARCH));
  const file = join(temporaryDirectory(), 'search.json');
  const [published] = await publish(directory, requestOf(file), {});
  expect(published!.children).toBe(SEARCH.steps.length);
  expect(readFileSync(file, 'utf8')).not.toContain('127.0.0.1');
  await expect(publish(storedRun(good(5), null), requestOf(file), {})).rejects.toMatchObject({
    code: 'INPUT_INVALID',
  });
});

test('a statement goes with its verdict and its figures, and without addresses', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'statement.json'), JSON.stringify(stated()));
  const file = join(temporaryDirectory(), 'statement-run.json');
  await publish(directory, requestOf(file), {});
  const text = readFileSync(file, 'utf8');
  expect(text).not.toContain('127.0.0.1');
  const { kind, verdict, complete, metrics, tags } = JSON.parse(text);
  expect({ kind, verdict, complete }).toEqual({ kind: 'statement', verdict: 'PASS', complete: true });
  expect(metrics).toMatchObject({ passes_multiplier: 4.5, latency_p95_multiplied: expect.any(Number) });
  expect(tags).toMatchObject({ 'reprise.part.spike': 'PASS' });
});

test('a search that went on is published again: MLflow shows its new figures, and keeps its params', async () => {
  const standIn = await new MlflowStandIn().start();
  const directory = temporaryDirectory();
  const publishes = async (document: CapacityDocument) => {
    writeFileSync(join(directory, 'capacity.json'), JSON.stringify(document));
    await publish(directory, requestOf(`mlflow+http${standIn.url.slice(4)}`), {});
  };
  const later = new Date(Date.parse(SEARCH.endedAt) + 60_000).toISOString();
  await publishes(SEARCH);
  // Its first step was spoilt and is played again; more were added.
  const grown = searched([2, 4, 8, 16].map((at) => playedAt(at)).concat(playedAt(1, { spentS: 16 })));
  await publishes({ ...grown, endedAt: later, budgetS: 9_000, scaling: 'thin' });
  const [parent, ...steps] = standIn.runs;
  expect(standIn.runs.filter(({ tags }) => tags.get('reprise.kind') === 'capacity')).toHaveLength(1);
  expect(steps.map(({ params }) => params.get('multiplier'))).toEqual(['1', '2', '4', '8', '16']);
  expect(parent!.tags.get('reprise.budget_s')).toBe('9000');
  const shown = parent!.points
    .filter(({ key }) => key === 'spent_s')
    .sort((a, b) => b.step - a.step || b.timestamp - a.timestamp || b.value - a.value);
  expect(shown[0]!.value).toBe(grown.spentS);
  expect(new Set(shown.map(({ timestamp }) => timestamp)).size).toBe(2);
});

test('a missing Python is named', async () => {
  const request = { ...requestOf(`wandb:${temporaryDirectory()}`), python: 'no-such-python' };
  await expect(publish(storedRun(good(5)), request, {})).rejects.toMatchObject({
    code: 'TRACKER_FAILED',
    message: expect.stringContaining('no-such-python'),
  });
});

test('every destination is tried, and those that failed are named at the end', async () => {
  const [lacking, file] = [
    join(temporaryDirectory(), 'a.json', 'b.json'),
    join(temporaryDirectory(), 'run.json'),
  ];
  writeFileSync(dirname(lacking), '');
  const done: string[] = [];
  const request = { ...requestOf(`wandb:${temporaryDirectory()}`, lacking, file), python: 'no-such-python' };
  const published = publish(storedRun(good(5)), request, {}, ({ to }) => done.push(to));
  await expect(published).rejects.toMatchObject({
    code: 'TRACKER_FAILED',
    message: expect.stringMatching(/2 of 3 .*wandb:.*no-such-python.*a\.json/),
  });
  expect(done).toEqual([file]);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ published: true });
});
