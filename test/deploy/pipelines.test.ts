import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { GATE_OPTIONS, resolveGateOptions } from '../../src/app/gate/gate.ts';
import { capacityCommand } from '../../src/cli/commands/capacity.ts';
import { replayCommand } from '../../src/cli/commands/replay.ts';
import { statementCommand } from '../../src/cli/commands/statement.ts';
import { resolveScenario } from '../../src/cli/config/scenario.ts';
import { byProgram } from '../../src/core/options.ts';
import { parseDurationMs } from '../../src/core/units.ts';
import { deploy, yamlOf } from '../support/manifests.ts';
import { runProcess } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COMMANDS = [replayCommand(), capacityCommand(), statementCommand()];
const scenarioIn = (path: string) =>
  resolveScenario({ file: join(deploy, path), stated: {}, sets: [] }, COMMANDS);

describe('the gate in Kubernetes', () => {
  const pod = yamlOf('kubernetes/gate/gate.yaml').spec.template.spec;
  const args = pod.containers[0].args as string[];
  const flagOf = (name: string) => args.find((arg) => arg.startsWith(`--${name}=`))?.split(/=(.*)/s)[1] ?? '';

  test('serves what its Service and its scenarios name', () => {
    expect(args[0]).toBe('gate');
    const options = () =>
      resolveGateOptions(byProgram(GATE_OPTIONS, { serve: flagOf('serve'), scenario: flagOf('scenario') }));
    // Other hosts can reach it: without its token file it would not start.
    expect(options).toThrow(/other hosts could start tests/);
    expect(flagOf('token-file')).toBe('/etc/reprise-token/token');
    const [name, file] = flagOf('scenario').split('=');
    expect([name, file]).toEqual(['release', '/etc/reprise/release.yaml']);
    expect(flagOf('serve')).toMatch(/:8099$/);
    expect(pod.containers[0].ports[0].containerPort).toBe(8099);
  });

  test('has scenarios that resolve, with the history of one file', () => {
    const [release, monthly] = [
      scenarioIn('kubernetes/gate/release.yaml'),
      scenarioIn('kubernetes/gate/monthly-scenario.yaml'),
    ];
    expect([release.command, monthly.command]).toEqual(['replay', 'statement']);
    for (const { args: line } of [release, monthly]) expect(line).toContain('--history=/runs/history.sqlite');
    const { configMapGenerator } = yamlOf('kubernetes/gate/kustomization.yaml');
    expect(configMapGenerator[0].files).toEqual(['release.yaml', 'monthly.yaml=monthly-scenario.yaml']);
    const job = yamlOf('kubernetes/gate/monthly.yaml').spec;
    expect(job.jobTemplate.spec.template.spec.containers[0].args).toEqual([
      'run',
      '/etc/reprise/monthly.yaml',
    ]);
    expect(job.jobTemplate.spec.backoffLimit).toBe(0);
  });
});

describe('controllers', () => {
  test('Argo Rollouts waits longer than the gate makes it wait, and counts no other answer as one', () => {
    const [metric] = yamlOf('argo-rollouts/analysistemplate.yaml').spec.metrics;
    const { url, timeoutSeconds, jsonPath, jsonBody } = metric.provider.web;
    const { pathname, searchParams } = new URL(url);
    expect(pathname).toBe('/argo/release');
    expect(timeoutSeconds * 1e3).toBeGreaterThan(parseDurationMs(searchParams.get('wait') ?? '', 'wait'));
    expect([metric.successCondition, metric.failureCondition]).toEqual([
      "result == 'PASS'",
      "result == 'FAIL'",
    ]);
    expect([metric.count, metric.inconclusiveLimit, jsonPath, jsonBody.id]).toEqual([
      1,
      undefined,
      '{$.result}',
      '{{ args.revision }}',
    ]);
  });

  test('Flagger promotes by one hook and rolls back by another', () => {
    const { webhooks } = yamlOf('flagger/canary.yaml').spec.analysis;
    const paths = webhooks.map(({ type, url }: { type: string; url: string }) => [
      type,
      new URL(url).pathname,
    ]);
    expect(paths).toEqual([
      ['confirm-promotion', '/flagger/release'],
      ['rollback', '/flagger/release/rollback'],
    ]);
  });
});

describe('pipelines', () => {
  /** The arguments of `reprise run` in a script, its variables replaced. */
  const settings = (line: string) =>
    [...line.matchAll(/--set(?:=|\s+)"?([\w-]+=[^\s"]+)/g)].map(([, set = '']) => set);

  test.each([
    ['github/action.yml', 2],
    ['gitlab/reprise.gitlab-ci.yml', 3],
    ['cloud-build/cloudbuild.yaml', 2],
  ])('%s sets what a scenario has', (path, count) => {
    const sets = settings(readFileSync(join(deploy, path), 'utf8'));
    expect(sets).toHaveLength(count);
    const file = join(deploy, 'kubernetes/gate/release.yaml');
    expect(() => resolveScenario({ file, stated: {}, sets }, COMMANDS)).not.toThrow();
    expect(sets.some((set) => set.startsWith('ci-report=junit='))).toBe(true);
  });

  test('GitLab stops for anything but a PASS, keeps the report of a FAIL, and names a resource group it allows', () => {
    const job = yamlOf('gitlab/reprise.gitlab-ci.yml')['.reprise'];
    expect(job.allow_failure).toBeUndefined();
    expect(job.script).toHaveLength(1);
    expect(job.after_script.join()).toContain('--html report.html');
    expect(job.resource_group).toMatch(/^[\w$./ -]+$/);
    expect(job.resource_group).not.toContain('TARGET');
  });

  test.each([
    [0, 0],
    [3, 1],
    [4, 1],
    [5, 1],
    [null, 1],
  ])(
    'Cloud Build uploads the verdict of a test that ends with %s, and ends with %i',
    async (status, expected) => {
      const { steps, artifacts } = yamlOf('cloud-build/cloudbuild.yaml');
      expect(steps.map(({ id }: { id: string }) => id)).toEqual(['capture', 'test', 'upload', 'verdict']);
      expect(artifacts).toBeUndefined();
      const [, played, upload, verdict] = steps;
      expect([played.allowFailure, upload.allowFailure]).toEqual([true, true]);
      expect(played.args[1]).not.toContain('{_');
      const folder = temporaryDirectory();
      const script = (text: string) => text.replaceAll('$$', '$').replaceAll('/workspace', folder);
      if (status !== null) {
        writeFileSync(join(folder, 'reprise'), `#!/bin/sh\nexit ${status}\n`, { mode: 0o755 });
        const env = { PATH: `${folder}:${process.env['PATH']}`, SCENARIO: 's.yaml', TARGET: 'http://t' };
        expect((await runProcess('sh', ['-c', script(played.args[1])], { env })).status).toBe(status);
      }
      expect((await runProcess('sh', ['-c', script(verdict.args[1])])).status).toBe(expected);
    },
  );

  test('the GitHub action runs no text of its inputs', () => {
    const steps = yamlOf('github/action.yml').runs.steps as { run: string }[];
    for (const { run } of steps) expect(run).not.toContain('${{');
  });

  /** Ends of the action's first step, with a program in place of npm that prints what it is to install. */
  async function installing(given: string, cwd: string) {
    const programs = temporaryDirectory();
    writeFileSync(join(programs, 'npm'), '#!/bin/sh\necho "installs $5"\n', { mode: 0o755 });
    const [install] = yamlOf('github/action.yml').runs.steps as { run: string }[];
    const env = { ...process.env, PATH: `${programs}:${process.env['PATH']}`, PACKAGE: given };
    return await runProcess('bash', ['-c', install?.run ?? ''], { cwd, env });
  }

  test('the GitHub action installs a file or a URL, and never a name that somebody else could take', async () => {
    const folder = temporaryDirectory();
    for (const file of ['reprise', 'packed.tgz']) writeFileSync(join(folder, file), '');
    for (const [given, installed] of [
      ['reprise', join(folder, 'reprise')],
      ['./packed.tgz', join(folder, 'packed.tgz')],
      ['https://files.example/packed.tgz', 'https://files.example/packed.tgz'],
    ] as const) {
      expect((await installing(given, folder)).stdout).toBe(`installs ${installed}\n`);
    }
    for (const given of ['', 'reprise@0.1.0', '@reprise-load/reprise', 'left-pad']) {
      const { status, stdout } = await installing(given, folder);
      expect([given, status]).toEqual([given, 1]);
      expect(stdout).toMatch(/^::error title=/);
    }
    expect(yamlOf('github/action.yml').inputs.package).toMatchObject({ required: true });
    expect(yamlOf('github/action.yml').inputs.package.default).toBeUndefined();
  });

  test('the GitHub action says which file it misses, and how to make it', async () => {
    const ended = await installing('./packed.tgz', temporaryDirectory());
    expect(ended.status).toBe(1);
    expect(ended.stdout).toMatch(/^::error title=.*\.\/packed\.tgz.*npm pack/);
  });
});
