import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect } from 'vitest';
import type { PublicationDocument } from '../../src/documents/publication.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import { playedAt, searched } from '../support/searched.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const sdks = pythonWith(['wandb==0.31.0', 'clearml==2.1.12', 'ruff==0.17.6']);
const program = join(repositoryRoot, 'test/peers/programs/offline_reads.py');

/** A run with monitors, against a server that is gone afterwards. */
async function playedRun(): Promise<{ out: string; host: string }> {
  const origin = await serverOf();
  const { out } = await replayHere(captureOf(requestsOf(200, 10_000)), origin.url, [
    ...['--slo', 'latency: p(95)<500', '--monitor', `pid:${process.pid}`],
  ]);
  return { out, host: new URL(origin.url).host };
}

function searchDirectory(): string {
  const directory = temporaryDirectory();
  const document = searched([1, 8].map((at) => playedAt(at)));
  writeFileSync(join(directory, 'capacity.json'), JSON.stringify(document));
  return directory;
}

/** Publishes to a tracker and to a file. @returns what is in the file, and where the tracker's run lies */
async function published(run: string, to: string, python: string) {
  const file = join(temporaryDirectory(), 'run.json');
  const args = ['publish', run, '--to', file, '--to', to, '--python', python, '--json'];
  const { status, stdout, stderr } = await runCommand(args);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const [, { run: place }] = JSON.parse(stdout) as [unknown, { run: string }];
  return { sent: JSON.parse(readFileSync(file, 'utf8')) as PublicationDocument, place };
}

/** As part of a file name. */
function plain(id: string): string {
  return id.replace(/[^\w-]/g, '-');
}

async function read(python: string, tracker: string, path: string) {
  const { stdout, said } = await runPeer(python, [program, tracker, path]);
  expect(stdout, said).not.toBe('');
  const found = JSON.parse(stdout);
  console.log(`${tracker} ${found.version}`);
  return found;
}

describe('Weights & Biases', () => {
  needing(
    sdks,
    'has an offline run with the figures of the document, and nothing of this machine',
    async (python) => {
      const { out, host } = await playedRun();
      const directory = temporaryDirectory();
      const { sent, place } = await published(out, `wandb:${directory}`, python);
      const [file = ''] = readdirSync(place).filter((name) => name.endsWith('.wandb'));
      const found = await read(python, 'wandb', join(place, file));
      expect(found).toMatchObject({
        project: 'reprise',
        name: sent.id,
        job: 'replay',
        notes: sent.note,
        host: 'hidden',
      });
      expect(found.config).toMatchObject({ ...sent.params, ...sent.tags });
      expect(found.summary).toMatchObject(sent.metrics);
      for (const [key, points] of Object.entries(sent.series)) {
        const rows = found.history.filter((row: Record<string, number>) => key in row);
        expect(rows.map((row: Record<string, number>) => [row['seconds'], row[key]])).toEqual(points);
      }
      expect(new Set(found.artefacts)).toEqual(new Set(['report.html', 'report.json']));
      const whole = readFileSync(join(place, file), 'latin1');
      for (const secret of [host, repositoryRoot, out]) expect(whole.includes(secret)).toBe(false);
      // Its own client takes it for a run that can be uploaded.
      const wandb = join(dirname(python), 'wandb');
      const { said } = await runPeer(wandb, ['sync', '--dry-run', place], directory);
      expect(said).toContain(sent.id);
      const again = await runCommand(['publish', out, '--to', `wandb:${directory}`, '--python', python]);
      // It lies there whole, so nothing is left to do.
      expect(again).toMatchObject({ status: 0, stdout: expect.stringContaining(place) });
      expect(readdirSync(dirname(place)).filter((name) => name.startsWith('offline-run-'))).toHaveLength(1);
      for (const name of readdirSync(directory)) {
        if (name.endsWith('.published')) rmSync(join(directory, name));
      }
      const half = await runCommand(['publish', out, '--to', `wandb:${directory}`, '--python', python]);
      expect(half).toMatchObject({ status: 5, stderr: expect.stringContaining('holds this run already') });
    },
  );

  needing(sdks, 'has the steps of a search in one group', async (python) => {
    const directory = temporaryDirectory();
    const { sent, place } = await published(searchDirectory(), `wandb:${directory}`, python);
    const runs = readdirSync(dirname(place)).filter((name) => name.startsWith('offline-run-'));
    expect(runs).toHaveLength(sent.children.length + 1);
    const last = runs.find((name) => name.endsWith(plain(sent.children[1]!.id))) ?? '';
    const [file = ''] = readdirSync(join(dirname(place), last)).filter((name) => name.endsWith('.wandb'));
    const found = await read(python, 'wandb', join(dirname(place), last, file));
    expect(found.group).toBe(plain(sent.id));
    const parent = runs.find((name) => name.endsWith(plain(sent.id))) ?? '';
    const [log = ''] = readdirSync(join(dirname(place), parent)).filter((name) => name.endsWith('.wandb'));
    const { history } = await read(python, 'wandb', join(dirname(place), parent, log));
    expect(Object.keys(sent.curve ?? {})).toContain('by_load/request_throughput');
    for (const [key, points] of Object.entries(sent.curve ?? {})) {
      const rows = history.filter((row: Record<string, number>) => key in row);
      expect(rows.map((row: Record<string, number>) => [row['load_percent'], row[key]])).toEqual(points);
    }
    expect(found.summary).toMatchObject(sent.children[1]!.metrics);
  });
});

describe('ClearML', () => {
  needing(
    sdks,
    'has an offline session with the figures of the document, and nothing of this machine',
    async (python) => {
      const { out, host } = await playedRun();
      const { sent, place } = await published(out, `clearml:${temporaryDirectory()}`, python);
      const { task, metrics, files, log } = await read(python, 'clearml', place);
      expect(task).toMatchObject({
        name: sent.id,
        project_name: 'reprise',
        comment: sent.note,
        type: 'testing',
      });
      const section = (name: string) =>
        Object.fromEntries(
          Object.entries(task.hyperparams[name]).map(([key, each]) => [
            key,
            (each as { value: string }).value,
          ]),
        );
      expect(section('General')).toEqual(sent.params);
      expect(section('Reprise')).toEqual(sent.tags);
      const points: { metric: string; variant: string; iter: number; value: number }[] = metrics.flat();
      const single = points
        .filter(({ metric }) => metric === 'Summary')
        .map(({ variant, value }) => [variant, value]);
      expect(Object.fromEntries(single)).toEqual(sent.metrics);
      for (const [key, expected] of Object.entries(sent.series)) {
        const own = points.filter(({ metric, variant }) => metric === key && variant === key);
        expect(own.map(({ iter, value }) => [iter, value])).toEqual(expected);
      }
      const names = files.map((path: string) => path.split('/').at(-1));
      expect(names).toEqual(expect.arrayContaining(['report.html', 'report.json']));
      const whole = JSON.stringify([task, metrics, log]);
      for (const secret of [host, repositoryRoot, out]) expect(whole.includes(`${secret}`)).toBe(false);
      expect(task.script?.diff ?? '').toBe('');
    },
  );

  needing(sdks, 'has a session for each step of a search', async (python) => {
    const { sent, place } = await published(searchDirectory(), `clearml:${temporaryDirectory()}`, python);
    const archives = readdirSync(dirname(place)).filter((name) => name.endsWith('.zip'));
    expect(archives).toHaveLength(sent.children.length + 1);
    const step = archives.find((name) => name === `${plain(sent.children[1]!.id)}.zip`) ?? '';
    const { metrics } = await read(python, 'clearml', place);
    const points: { metric: string; iter: number; value: number }[] = metrics.flat();
    for (const [key, expected] of Object.entries(sent.curve ?? {})) {
      const own = points.filter(({ metric }) => metric === key);
      expect(own.map(({ iter, value }) => [iter, value])).toEqual(expected);
    }
    const { task } = await read(python, 'clearml', join(dirname(place), step));
    expect(task.hyperparams.Reprise['reprise.parent'].value).toBe(sent.id);
    expect(task.hyperparams.General.multiplier.value).toBe(sent.children[1]!.params['multiplier']);
  });
});

needing(sdks, 'programs in Python that ship are as ruff wants them', async (python) => {
  const shipped = ['src/trackers/programs', 'deploy'].map((folder) => join(repositoryRoot, folder));
  const ruff = join(dirname(python), 'ruff');
  const checked = await runPeer(ruff, [
    'check',
    '--no-cache',
    '--select',
    'E,F,W,I,B,UP',
    '--line-length',
    '120',
    ...shipped,
  ]);
  expect(checked).toMatchObject({ status: 0 });
  const formed = await runPeer(ruff, ['format', '--no-cache', '--check', '--line-length', '120', ...shipped]);
  expect(formed).toMatchObject({ status: 0 });
});
