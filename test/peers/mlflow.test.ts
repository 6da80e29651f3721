import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import type { PublicationDocument } from '../../src/documents/publication.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { freePort } from '../support/free-port.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import { playedAt, searched } from '../support/searched.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const mlflow = pythonWith(['mlflow==3.17.2']);

interface ReadRun {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly datasets: readonly { readonly name: string; readonly digest: string }[];
  readonly started: number;
  readonly ended: number;
  readonly params: Record<string, string>;
  readonly tags: Record<string, string>;
  readonly metrics: Record<string, [step: number, timestamp: number, value: number][]>;
  readonly artefacts: Record<string, string>;
}

async function startServer(python: string): Promise<string> {
  const [port, directory] = [await freePort(), temporaryDirectory()];
  const args = [
    ...['server', '--host', '127.0.0.1', '--port', String(port), '--workers', '1'],
    ...['--backend-store-uri', `sqlite:///${directory}/runs.sqlite`],
    ...['--artifacts-destination', join(directory, 'artefacts')],
  ];
  const server = spawn(join(dirname(python), 'mlflow'), args, {
    env: { ...process.env, MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false' },
    detached: true,
    stdio: 'ignore',
  });
  // Its workers are processes of its group.
  atFileEnd(() => process.kill(-(server.pid ?? Number.NaN), 'SIGKILL'));
  for (let tries = 0; ; tries += 1) {
    const socket = connect(port, '127.0.0.1');
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isThere) return `127.0.0.1:${port}`;
    if (tries > 400) throw new Error('MLflow does not start');
    await setTimeout(200);
  }
}

/** Passes requests on. The answer to the first request of each of these paths is lost after the server did it. */
async function losing(
  server: string,
  paths: readonly string[],
): Promise<{ address: string; lost: string[] }> {
  const lost: string[] = [];
  const proxy = createServer((asked, answer) => {
    const { method, url: path = '', headers } = asked;
    const passed = request(`http://${server}${path}`, { method, headers }, (answered) => {
      const isLost = paths.some((each) => path.endsWith(each)) && !lost.includes(path);
      if (!isLost) return void answered.pipe(answer.writeHead(answered.statusCode ?? 0, answered.headers));
      lost.push(path);
      answered.resume().on('end', () => answer.destroy());
    });
    asked.pipe(passed);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  atFileEnd(() => proxy.close());
  return { address: `127.0.0.1:${(proxy.address() as AddressInfo).port}`, lost };
}

async function read(python: string, server: string, experiment: string): Promise<ReadRun[]> {
  const program = join(repositoryRoot, 'test/peers/programs/mlflow_reads.py');
  const { stdout, said } = await runPeer(python, [program, `http://${server}`, experiment]);
  expect(stdout, said).not.toBe('');
  const { version, runs } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
    version: string;
    runs: ReadRun[];
  };
  console.log(`MLflow ${version}`);
  return runs;
}

async function published(run: string, ...args: string[]): Promise<PublicationDocument> {
  const file = join(temporaryDirectory(), 'run.json');
  const { status, stderr } = await runCommand(['publish', run, '--to', file, ...args]);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return JSON.parse(readFileSync(file, 'utf8')) as PublicationDocument;
}

describe('MLflow', () => {
  needing(
    mlflow,
    'reads a run as its document has it, each point once though answers were lost',
    async (python) => {
      const server = await startServer(python);
      const origin = await serverOf();
      const { out } = await replayHere(captureOf(requestsOf(300, 10_000)), origin.url, [
        ...['--slo', 'latency: p(95)<500', '--monitor', `pid:${process.pid}`],
      ]);
      const { address, lost } = await losing(server, ['/runs/create', '/runs/log-batch', '/report.html']);
      const sent = await published(out, '--to', `mlflow://${address}`, '--experiment', 'e');
      // Lost were an answer to the creation of the run, to its params, and to an artefact; then again for all of it.
      expect(lost.length).toBe(3);
      await published(out, '--to', `mlflow://${address}`, '--experiment', 'e');
      const runs = await read(python, server, 'e');
      expect(runs).toHaveLength(1);
      const [run] = runs;
      expect(run).toMatchObject({
        name: sent.name,
        status: 'FINISHED',
        datasets: [sent.dataset],
        params: sent.params,
        tags: sent.tags,
      });
      const [startMs, endMs] = [Date.parse(sent.startedAt), Date.parse(sent.endedAt)];
      expect([run!.started, run!.ended]).toEqual([startMs, endMs]);
      const points = {
        ...Object.fromEntries(Object.entries(sent.metrics).map(([key, value]) => [key, [[0, endMs, value]]])),
        ...Object.fromEntries(
          Object.entries(sent.series).map(([key, each]) => [
            key,
            each.map(([second, value]) => [second, startMs + second * 1e3, value]),
          ]),
        ),
      };
      expect(run!.metrics).toEqual(points);
      expect(Object.keys(points).filter((key) => key.startsWith('system/process-1/')).length).toBeGreaterThan(
        2,
      );
      // And the figures are those of the run itself.
      const reader = new RunReader(out);
      const summary = reader.summary as { latencyMs: { scheduled: { p95: number } }; sent: number };
      reader.close();
      expect(run!.metrics['scheduled_latency.p95']).toEqual([[0, endMs, summary.latencyMs.scheduled.p95]]);
      expect(run!.metrics['requests.sent']).toEqual([[0, endMs, summary.sent]]);
      expect(JSON.parse(run!.artefacts['report.json'] ?? '')).toMatchObject({
        kind: 'report',
        summary: { sent: 300 },
      });
      expect(run!.artefacts['report.html']).toMatch(/^<!doctype html>/);
      expect(JSON.stringify(run)).not.toContain(new URL(origin.url).host);

      const search = temporaryDirectory();
      const document = searched([1, 2, 4, 8].map((at) => playedAt(at)));
      writeFileSync(join(search, 'capacity.json'), JSON.stringify(document));
      const { children } = await published(search, '--to', `mlflow://${server}`, '--experiment', 'search');
      const [parent, ...steps] = (await read(python, server, 'search')).sort(
        (a, b) => Number('mlflow.parentRunId' in a.tags) - Number('mlflow.parentRunId' in b.tags),
      );
      expect(Object.keys(parent!.artefacts).sort()).toEqual(['capacity.html', 'capacity.json']);
      expect(steps.map(({ tags }) => tags['mlflow.parentRunId'])).toEqual(
        document.steps.map(() => parent!.id),
      );
      const loads = document.curve.map(({ multiplier }) => Math.round(multiplier * 100));
      expect(parent!.metrics['by_load/scheduled_latency.p99']!.map(([step]) => step)).toEqual(loads);
      // A search that went on replaces its figures, and changes no param, which MLflow would refuse.
      const endedAt = new Date(Date.parse(document.endedAt) + 60_000).toISOString();
      const grown = { ...document, endedAt, budgetS: document.budgetS + 600, spentS: document.spentS + 60 };
      writeFileSync(join(search, 'capacity.json'), JSON.stringify(grown));
      await published(search, '--to', `mlflow://${server}`, '--experiment', 'search');
      const again = await read(python, server, 'search');
      expect(again).toHaveLength(document.steps.length + 1);
      const shown = again.find(({ id }) => id === parent!.id)!;
      expect(shown.metrics['spent_s']!.map(([, , value]) => value).sort()).toEqual(
        [document.spentS, grown.spentS].sort(),
      );
      expect(shown.tags['reprise.budget_s']).toBe(`${grown.budgetS}`);
      const multipliers = (runs_: readonly { params: Record<string, string> }[]) =>
        runs_.map(({ params }) => params['multiplier']).sort();
      expect(multipliers(steps)).toEqual(multipliers(children as never));
    },
  );
});
