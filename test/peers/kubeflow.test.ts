import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { PublicationDocument } from '../../src/documents/publication.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { freePort } from '../support/free-port.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { runProcess } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const kfp = pythonWith(['kfp==2.17.3', 'docker==7.1.0']);
const folder = join(repositoryRoot, 'deploy/kubeflow');

interface Ran {
  readonly error?: string;
  readonly outputs?: {
    readonly verdict: string;
    readonly metrics: ReadArtefact;
    readonly report: ReadArtefact;
    readonly run: ReadArtefact;
  };
  readonly commands: readonly { readonly image: string; readonly name: string; readonly status: number }[];
}
interface ReadArtefact {
  readonly type: string;
  readonly metadata: Record<string, unknown>;
  readonly path: string;
  readonly exists: boolean;
}
interface Found {
  readonly version: string;
  readonly replay: Ran;
  readonly broken: Ran;
  readonly unreachable: Ran;
  readonly held: Ran;
  readonly gates: Record<'PASS' | 'FAIL' | 'INCONCLUSIVE', Ran>;
}

/** Programs that containers of the example call: our own, and a kubectl without a cluster. */
function programs(): string {
  const directory = temporaryDirectory();
  const reprise = `exec "${process.execPath}" "${join(repositoryRoot, 'bin/reprise.js')}" "$@"`;
  for (const [name, body] of Object.entries({ reprise, kubectl: 'echo kubectl "$@"' }))
    writeFileSync(join(directory, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return directory;
}

describe('Kubeflow Pipelines', () => {
  test('compiles and runs the component and the example, and reads their outputs', {
    timeout: 180_000,
  }, async ({ skip }) => {
    if ('missing' in kfp) return skip(kfp.missing);
    const origin = await serverOf();
    const broken = await serverOf((_, response) => response.writeHead(500).end());
    const unreachable = `http://127.0.0.1:${await freePort()}`;
    const [root, capture] = [temporaryDirectory(), captureOf(requestsOf(300, 10_000))];
    // Longer than the window over which a replay judges that its target has failed.
    const long = captureOf(requestsOf(800, 100_000));
    const program = join(repositoryRoot, 'test/peers/programs/kubeflow_runs.py');
    const env = { PATH: `${programs()}:${process.env['PATH']}`, PYTHONDONTWRITEBYTECODE: '1' };
    const targets = [long, origin.url, broken.url, unreachable];
    const { stdout, stderr } = await runProcess(kfp.path, [program, folder, root, capture, ...targets], {
      env,
    });
    expect(stdout, stderr).toContain('"version"');
    const found = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Found;
    console.log(`kfp ${found.version}`);

    const { outputs, error } = found.replay;
    expect(error).toBeUndefined();
    expect(outputs).toMatchObject({
      metrics: { type: 'system.Metrics' },
      report: { type: 'system.HTML', exists: true },
    });
    expect(readFileSync(outputs!.report.path, 'utf8')).toMatch(/^<!doctype html>/);
    const file = join(root, 'run.json');
    expect((await runCommand(['publish', outputs!.run.path, '--to', file])).status).toBe(0);
    const sent = JSON.parse(readFileSync(file, 'utf8')) as PublicationDocument;
    expect(outputs!.verdict).toBe(sent.verdict);
    expect(outputs!.metrics.metadata).toEqual(sent.metrics);
    expect(sent.params).toMatchObject({ multiplier: '2', 'objective.1': 'latency: p(95)<60000' });

    // Stopped because every answer is a failure: the run is judged, and its outputs are filled.
    expect(found.broken.error).toBeUndefined();
    const stopped = found.broken.outputs!;
    expect(stopped.verdict).toBe('FAIL');
    expect(stopped.metrics.metadata).toMatchObject({ request_count: 0, 'objective.2.observed': 1 });
    expect(readFileSync(stopped.report.path, 'utf8')).toMatch(/^<!doctype html>/);
    const { interrupted } = JSON.parse(
      (await runCommand(['report', stopped.run.path, '--json'])).stdout,
    ).summary;
    expect(interrupted).toBe('RUN_ABORTED');
    // Nothing was sent, so nothing was judged.
    expect(found.unreachable.commands).toMatchObject([{ name: 'replay', status: 5 }]);
    expect(found.unreachable.error).toContain('replay');

    // A target that violates its objective is deployed to staging and replayed against, and the gate holds it.
    expect(found.held.error).toContain('gate');
    expect(found.held.commands.map(({ name, status }) => [name, status])).toEqual([
      ['deploy', 0],
      ['replay', 0],
      ['gate', 1],
    ]);
    expect(Object.values(found.gates).map(({ commands }) => commands[0]?.status)).toEqual([0, 1, 1]);

    const component = parse(readFileSync(join(root, 'component.yaml'), 'utf8').split('\n---')[0] ?? '');
    const { inputDefinitions, outputDefinitions } = component.components['comp-replay'];
    expect(inputDefinitions.parameters).toMatchObject({
      target: { parameterType: 'STRING' },
      slo: { parameterType: 'STRING' },
      multiplier: { parameterType: 'NUMBER_DOUBLE', defaultValue: 1 },
    });
    expect(Object.keys(outputDefinitions.artifacts).sort()).toEqual(['metrics', 'report', 'run']);
  });
});
