import { describe, expect, test } from 'vitest';
import type { PublishedRun } from '../../src/documents/publication.ts';
import { publishToMlflow } from '../../src/trackers/mlflow.ts';
import type { TrackedRun } from '../../src/trackers/tracker.ts';
import { MlflowStandIn } from './mlflow-stand-in.ts';

const STARTED = '2026-11-28T10:00:00.000Z';

function runOf(parts: Partial<PublishedRun> = {}): PublishedRun {
  return {
    ...{
      id: 'run-a',
      kind: 'replay',
      verdict: 'PASS',
      startedAt: STARTED,
      endedAt: '2026-11-28T10:01:00.000Z',
    },
    complete: true,
    note: '**PASS**',
    params: { multiplier: '2' },
    tags: { 'reprise.run': 'run-a' },
    metrics: { 'request_latency.p99': 12.5, request_count: 3 },
    series: {
      'over_time/in_flight': [
        [0, 1],
        [1, 2],
        [2, 2],
      ],
    },
    ...parts,
  };
}

function trackedOf(run: PublishedRun, children: PublishedRun[] = []): TrackedRun {
  return {
    experiment: 'load tests',
    publication: { schemaVersion: 1, published: true, version: '0.1.0', ...run, children },
    artefacts: [{ name: 'report.html', mediaType: 'text/html', content: '<p>hello' }],
  };
}

async function publishTo(standIn: MlflowStandIn, tracked: TrackedRun, authorization: string | null = null) {
  const pauses: number[] = [];
  const pause = async (ms: number) => void pauses.push(ms);
  const delivery = await publishToMlflow({ url: standIn.url, authorization, pause }, tracked);
  return { delivery, pauses };
}

/** More points than a batch may have, in series of two hours. */
const LONG = Object.fromEntries(
  [1, 2, 3].map((at) => [
    `system/target/${at}`,
    Array.from({ length: 720 }, (_, step): [number, number] => [step, step % 7]),
  ]),
);

describe('a run in MLflow', () => {
  test('has params, tags, metrics at the end of the run, series at their seconds, and its artefacts', async () => {
    const standIn = await new MlflowStandIn().start();
    const { delivery } = await publishTo(standIn, trackedOf(runOf()), 'Bearer secret');
    const [run] = standIn.runs;
    expect(delivery).toEqual({ run: 'run1', children: 0, notes: [] });
    expect(standIn.experiments).toEqual(['load tests']);
    expect([...standIn.authorizations]).toEqual(['Bearer secret']);
    expect(Object.fromEntries(run!.params)).toEqual({ multiplier: '2' });
    expect(Object.fromEntries(run!.tags)).toMatchObject({
      'reprise.run': 'run-a',
      'mlflow.note.content': '**PASS**',
    });
    const timestamp = Date.parse(STARTED);
    expect(run!.points).toEqual([
      { key: 'request_latency.p99', value: 12.5, timestamp: timestamp + 60_000, step: 0 },
      { key: 'request_count', value: 3, timestamp: timestamp + 60_000, step: 0 },
      { key: 'over_time/in_flight', value: 1, timestamp, step: 0 },
      { key: 'over_time/in_flight', value: 2, timestamp: timestamp + 1_000, step: 1 },
      { key: 'over_time/in_flight', value: 2, timestamp: timestamp + 2_000, step: 2 },
    ]);
    expect(run!.status).toBe('FINISHED');
    expect([...standIn.files]).toEqual([
      ['mlflow-artifacts/artifacts/1/run1/artifacts/report.html', '<p>hello'],
    ]);
  });

  test('of a search has its steps below it', async () => {
    const standIn = await new MlflowStandIn().start();
    const step = runOf({
      id: 'run-a-step-1',
      kind: 'step',
      tags: { 'reprise.run': 'run-a-step-1' },
      complete: false,
    });
    const { delivery } = await publishTo(standIn, trackedOf(runOf({ kind: 'capacity' }), [step]));
    expect(delivery.children).toBe(1);
    const parents = standIn.runs.map(({ tags, status }) => [tags.get('mlflow.parentRunId'), status]);
    expect(parents).toEqual([
      [undefined, 'FINISHED'],
      ['run1', 'KILLED'],
    ]);
  });

  test('that failed was FINISHED like one that passed, and had no name and no dataset', async () => {
    const standIn = await new MlflowStandIn().start();
    const dataset = { name: 'monday', digest: '0123456789abcdef' };
    const tags = { 'reprise.run': 'run-a', 'reprise.label.commit': '0c1f3a' };
    await publishTo(
      standIn,
      trackedOf(runOf({ verdict: 'FAIL', name: 'nightly 2x', dataset, tags, series: {}, metrics: {} })),
    );
    const [run] = standIn.runs;
    expect(run).toMatchObject({ status: 'FAILED', name: 'nightly 2x' });
    expect([...run!.datasets]).toEqual([['monday', '0123456789abcdef']]);
    expect(run!.tags.get('mlflow.source.git.commit')).toBe('0c1f3a');
  });

  test('of a search is a curve over its loads', async () => {
    const standIn = await new MlflowStandIn().start();
    const curve: PublishedRun['curve'] = {
      'by_load/goodput': [
        [100, 20],
        [150, 28],
      ],
    };
    await publishTo(standIn, trackedOf(runOf({ kind: 'capacity', curve, series: {}, metrics: {} })));
    expect(standIn.runs[0]!.points.map(({ step, value }) => [step, value])).toEqual([
      [100, 20],
      [150, 28],
    ]);
  });

  test('is published to a server without datasets, which is told', async () => {
    const standIn = await new MlflowStandIn().start();
    standIn.mishaps['mlflow/runs/log-inputs'] = [404];
    const { delivery } = await publishTo(
      standIn,
      trackedOf(runOf({ dataset: { name: 'monday', digest: '0123456789abcdef' } })),
    );
    expect(delivery.notes).toHaveLength(1);
    expect(standIn.runs[0]!.status).toBe('FINISHED');
  });

  test('keeps the limits of a batch, cuts what is too long and says so', async () => {
    const standIn = await new MlflowStandIn().start();
    const many = Object.fromEntries(Array.from({ length: 250 }, (_, at) => [`option ${at} {x}`, String(at)]));
    const run = runOf({ series: LONG, params: { ...many, long: 'x'.repeat(900), ['k'.repeat(400)]: 'v' } });
    const { delivery } = await publishTo(standIn, trackedOf(run));
    expect(delivery.notes).toEqual([expect.stringContaining('1 value')]);
    expect(Math.max(...standIn.batches.map(({ metrics }) => metrics))).toBe(1_000);
    expect(standIn.runs[0]!.points).toHaveLength(3 * 720 + 2);
    expect(standIn.runs[0]!.params.size).toBe(252);
  });

  test('keeps two keys apart that a server would take for one', async () => {
    const standIn = await new MlflowStandIn().start();
    await publishTo(standIn, trackedOf(runOf({ metrics: { 'gpu{a}': 1, 'gpu(a)': 2 }, series: {} })));
    expect(new Set(standIn.runs[0]!.points.map(({ key }) => key)).size).toBe(2);
  });
});

describe('a failure of MLflow', () => {
  test.each([
    ['the answer to a batch is lost', 'lost'],
    ['a batch is kept by half', 'half'],
    ['the server is busy', 503],
  ] as const)('logs no point twice where %s', async (_, mishap) => {
    const standIn = await new MlflowStandIn().start();
    // The first two batches have params and tags, the next one points.
    standIn.mishaps['mlflow/runs/log-batch'] = [null, null, mishap, mishap];
    const { pauses } = await publishTo(standIn, trackedOf(runOf({ series: LONG })));
    const { points } = standIn.runs[0]!;
    expect(points).toHaveLength(3 * 720 + 2);
    expect(new Set(points.map((point) => JSON.stringify(point))).size).toBe(points.length);
    expect(pauses.length).toBeGreaterThan(0);
  });

  test('makes no second run where the answer to the first is lost', async () => {
    const standIn = await new MlflowStandIn().start();
    standIn.mishaps['mlflow/runs/create'] = ['lost'];
    await publishTo(standIn, trackedOf(runOf()));
    expect(standIn.runs).toHaveLength(1);
  });

  test('is told when it does not pass, with what the server says', async () => {
    const standIn = await new MlflowStandIn().start();
    standIn.mishaps['mlflow/runs/search'] = Array.from({ length: 5 }, () => 503);
    await expect(publishTo(standIn, trackedOf(runOf()))).rejects.toMatchObject({
      code: 'TRACKER_FAILED',
      message: expect.stringContaining('503, 5 times'),
    });
  });

  test('that a run with other params causes is not repeated', async () => {
    const standIn = await new MlflowStandIn().start();
    await publishTo(standIn, trackedOf(runOf()));
    await expect(publishTo(standIn, trackedOf(runOf({ params: { multiplier: '3' } })))).rejects.toMatchObject(
      {
        message: expect.stringContaining('Changing param values'),
      },
    );
  });

  test('is no reason to leave half a run: the same command completes it', async () => {
    const standIn = await new MlflowStandIn().start();
    standIn.mishaps['mlflow/runs/log-batch'] = [null, null, 'half', ...Array.from({ length: 5 }, () => 503)];
    await expect(publishTo(standIn, trackedOf(runOf({ series: LONG })))).rejects.toThrow('5 times');
    standIn.mishaps['mlflow/runs/log-batch'] = [];
    for (let times = 0; times < 2; times += 1) await publishTo(standIn, trackedOf(runOf({ series: LONG })));
    expect(standIn.runs).toHaveLength(1);
    expect(standIn.runs[0]!.points).toHaveLength(3 * 720 + 2);
  });

  test('to take artefacts itself is said, and the run is there', async () => {
    const standIn = await new MlflowStandIn().start();
    standIn.artifactRoot = 's3://bucket/1';
    const { delivery } = await publishTo(standIn, trackedOf(runOf()));
    expect(delivery.notes).toEqual([expect.stringContaining('1 artefact not sent')]);
    expect(standIn.files.size).toBe(0);
  });
});
