import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { goModule, goProgram, pythonWith, systemProgram } from '../../support/peer-tools.ts';
import { repositoryRoot } from '../../support/shared-data.ts';
import { KUBERNETES, needingAll as needing, validators as python, runTool as run } from './validators.ts';

const deploy = join(repositoryRoot, 'deploy');
const here = join(repositoryRoot, 'test', 'peers', 'deploy');

const kustomize = goProgram('sigs.k8s.io/kustomize/kustomize/v5@v5.7.1', 'kustomize');
const composeSpec = goModule('github.com/compose-spec/compose-go/v2@v2.16.2');
const argo = goModule('github.com/argoproj/argo-rollouts@v1.9.0');
const flagger = goModule('github.com/fluxcd/flagger@v1.36.1');
const pipelines = pythonWith(['check-jsonschema==0.39.0']);
const systemdAnalyze = systemProgram('systemd-analyze');

function deployed(path: string): string {
  return readFileSync(join(deploy, path), 'utf8');
}

describe('what is in deploy/', () => {
  for (const [directory, holds] of [
    ['base', 'Service'],
    ['overlays/production', 'Service'],
    ['statefulset', 'Service'],
    ['replay', 'Job'],
    ['gate', 'CronJob'],
  ] as const) {
    needing(
      [kustomize, python],
      `kubernetes/${directory} builds and is valid`,
      (builder = '', interpreter = '') => {
        const built = run(builder, ['build', join(deploy, 'kubernetes', directory)]);
        expect(built.said).toContain(`kind: ${holds}\n`);
        expect(built.status).toBe(0);
        const checked = run(interpreter, [join(here, 'validate-kubernetes.py'), KUBERNETES], built.stdout);
        expect(checked).toMatchObject({ status: 0 });
      },
    );
  }

  for (const [path, source, crd] of [
    ['argo-rollouts/analysistemplate.yaml', argo, 'manifests/crds/analysis-template-crd.yaml'],
    ['flagger/canary.yaml', flagger, 'artifacts/flagger/crd.yaml'],
  ] as const) {
    needing([python, source], `${path} is what its controller knows`, (interpreter = '', directory = '') => {
      const check = (text: string) =>
        run(interpreter, [join(here, 'validate-crd.py'), join(directory, crd)], text);
      expect(check(deployed(path))).toMatchObject({ status: 0 });
      const wrong = check(deployed(path).replace(/^( +)url:/m, '$1urll:'));
      expect(wrong.status).toBe(1);
      expect(wrong.said).toContain('urll');
    });
  }

  for (const [path, name] of [
    ['gitlab/reprise.gitlab-ci.yml', 'gitlab-ci'],
    ['cloud-build/cloudbuild.yaml', 'cloudbuild'],
    ['github/action.yml', 'github-actions'],
  ] as const) {
    needing([pipelines], `${path} keeps to its schema`, (checker = '') => {
      const program = join(checker, '..', 'check-jsonschema');
      expect(run(program, ['--builtin-schema', `vendor.${name}`, join(deploy, path)])).toMatchObject({
        status: 0,
      });
    });
  }

  needing([python], 'a misspelt field of Kubernetes is found', (interpreter = '') => {
    const wrong = deployed('kubernetes/base/service.yaml').replace('targetPort', 'targetprot');
    const checked = run(interpreter, [join(here, 'validate-kubernetes.py'), KUBERNETES], wrong);
    expect(checked.status).toBe(1);
    expect(checked.said).toContain('targetprot');
  });

  needing([kustomize], 'kubernetes/monitoring builds', (builder = '') => {
    const built = run(builder, ['build', join(deploy, 'kubernetes', 'monitoring')]);
    expect(built.status).toBe(0);
    expect(built.stdout.match(/^kind: .*$/gm)?.sort()).toEqual(['kind: PodMonitor', 'kind: PrometheusRule']);
  });

  needing([python], 'the network policy of the InferenceService is valid', (interpreter = '') => {
    const policy = deployed('kserve/networkpolicy.yaml');
    const checked = run(interpreter, [join(here, 'validate-kubernetes.py'), KUBERNETES], policy);
    expect(checked).toMatchObject({ status: 0 });
  });

  needing([python], 'the InferenceService is what KServe knows', (interpreter = '') => {
    const service = deployed('kserve/inferenceservice.yaml');
    const checked = run(interpreter, [join(here, 'validate-kserve.py')], service);
    expect(checked).toMatchObject({ status: 0 });
    const wrong = run(
      interpreter,
      [join(here, 'validate-kserve.py')],
      service.replace('lifecycle:', 'lifecycel:'),
    );
    expect(wrong.status).toBe(1);
    expect(wrong.said).toContain('lifecycel');
  });

  needing(
    [python, composeSpec],
    'the compose file keeps to the specification',
    (interpreter = '', source = '') => {
      const schema = join(source, 'schema', 'compose-spec.json');
      const checked = run(
        interpreter,
        [join(here, 'validate-compose.py'), schema],
        deployed('compose/compose.yaml'),
      );
      expect(checked).toMatchObject({ status: 0 });
    },
  );

  needing([python], 'the Dockerfile passes hadolint', (interpreter = '') => {
    const linter = join(interpreter, '..', 'hadolint');
    expect(run(linter, [join(deploy, 'Dockerfile')])).toMatchObject({ status: 0, said: '' });
  });

  needing([systemdAnalyze], 'the systemd unit is valid and closed in', (analyze = '') => {
    const unit = join(deploy, 'systemd', 'reprise.service');
    const complaints = run(analyze, ['verify', unit])
      .said.split('\n')
      // The command is not installed where this runs.
      .filter((line) => line !== '' && !line.includes('/usr/local/bin/reprise is not executable'));
    expect(complaints).toEqual([]);
    expect(run(analyze, ['security', '--offline=true', '--threshold=40', unit])).toMatchObject({ status: 0 });
  });
});
