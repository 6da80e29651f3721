import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { runCommand } from '../../support/command-here.ts';
import { deploy, type Manifest, yamlOf } from '../../support/manifests.ts';
import { goModule, goProgram } from '../../support/peer-tools.ts';
import { repositoryRoot } from '../../support/shared-data.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { KUBERNETES, needingAll, runTool, validators } from './validators.ts';

const helm = goProgram('helm.sh/helm/v3/cmd/helm@v3.21.4', 'helm');
const kustomize = goProgram('sigs.k8s.io/kustomize/kustomize/v5@v5.7.1', 'kustomize');
const operator = goModule('github.com/prometheus-operator/prometheus-operator@v0.85.0');
const checker = join(repositoryRoot, 'test', 'peers', 'deploy', 'validate-kubernetes.py');

const home = temporaryDirectory();
const charts = join(home, 'helm');
const environment = {
  ...process.env,
  HELM_CACHE_HOME: join(home, 'cache'),
  HELM_CONFIG_HOME: join(home, 'config'),
  HELM_DATA_HOME: join(home, 'data'),
};
const everything = ['--values', join(charts, 'reprise/ci/all-values.yaml')];

// Dependencies are packed into the charts' own directories.
beforeAll(() => cpSync(join(deploy, 'helm'), charts, { recursive: true }));

/** Runs helm on the copies. */
function run(program: string, ...args: readonly string[]) {
  return runTool(program, args, '', environment);
}

/** What a chart renders, as text. */
function rendered(program: string, chart: string, ...args: readonly string[]): string {
  const { status, stdout, said } = run(
    program,
    'template',
    'model',
    join(charts, chart),
    '--kube-version',
    KUBERNETES,
    ...args,
  );
  expect(status, said).toBe(0);
  return stdout;
}

/** As Kubernetes reads them: YAML 1.1, where 0440 is octal. */
function objectsOf(yaml: string): Manifest[] {
  return parseAllDocuments(yaml, { version: '1.1' }).map((document) => document.toJS());
}

/** The arguments as the kubelet gives them: two dollars are one. */
function argumentsOf(container: Manifest): string[] {
  return container.args.map((argument: string) => argument.replaceAll('$$', '$'));
}

/** Every setting of a recorder, by its arguments and perhaps the file that they name. */
async function settingsOf(args: readonly string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await runCommand([...args]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const { settings } = JSON.parse(stdout) as { settings: { key: string; value: unknown }[] };
  return Object.fromEntries(settings.map(({ key, value }) => [key, value]));
}

describe('the chart', () => {
  needingAll([helm], 'passes helm lint, bare and with everything on', (program) => {
    for (const args of [[], everything])
      expect(run(program, 'lint', '--strict', join(charts, 'reprise'), ...args)).toMatchObject({ status: 0 });
  });

  needingAll([helm], 'renders nothing that nobody asked for', (program) => {
    expect(rendered(program, 'reprise').trim()).toBe('');
  });

  needingAll([helm, validators], 'renders objects that Kubernetes knows', (program, interpreter) => {
    const yaml = rendered(program, 'reprise', ...everything);
    expect(
      objectsOf(yaml)
        .map(({ kind }) => kind)
        .sort(),
    ).toEqual([
      'ConfigMap',
      'ConfigMap',
      'CronJob',
      'NetworkPolicy',
      'PodDisruptionBudget',
      'PodMonitor',
      'PrometheusRule',
      'Service',
      'Service',
      'StatefulSet',
    ]);
    const known = withoutCustom(yaml);
    expect(runTool(interpreter as string, [checker, KUBERNETES], known)).toMatchObject({ status: 0 });
  });

  needingAll(
    [helm, validators, operator],
    'renders a monitor and alerts that the Prometheus operator knows',
    (program, interpreter, source) => {
      const definitions = join(source as string, 'example/prometheus-operator-crd');
      for (const [kind, file] of [
        ['PodMonitor', 'podmonitors'],
        ['PrometheusRule', 'prometheusrules'],
      ]) {
        const object = objectsOf(rendered(program, 'reprise', ...everything)).find(
          (each) => each.kind === kind,
        );
        const crd = join(definitions, `monitoring.coreos.com_${file}.yaml`);
        const check = (text: string) =>
          runTool(interpreter as string, [join(checker, '../validate-crd.py'), crd], text);
        expect(check(stringify(object))).toMatchObject({ status: 0 });
        expect(check(stringify(object).replace('spec:', 'spec:\n  nothing: 1')).status).toBe(1);
      }
    },
  );

  needingAll([helm], 'chooses its own recorders wherever it chooses pods', (program) => {
    const objects = objectsOf(rendered(program, 'reprise', ...everything));
    const set = specOf(objects, 'StatefulSet');
    const { labels, annotations } = set.template.metadata;
    const recorders = {
      'app.kubernetes.io/name': 'reprise',
      'app.kubernetes.io/instance': 'model',
      'app.kubernetes.io/component': 'recorder',
    };
    expect(labels).toMatchObject(recorders);
    expect(annotations).toEqual({ 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false' });
    const [spread] = set.template.spec.topologySpreadConstraints;
    const services = objects.filter(({ kind }) => kind === 'Service');
    expect([
      set.selector.matchLabels,
      spread.labelSelector.matchLabels,
      specOf(objects, 'PodDisruptionBudget').selector.matchLabels,
      specOf(objects, 'PodMonitor').selector.matchLabels,
      specOf(objects, 'NetworkPolicy').podSelector.matchLabels,
      ...services.map(({ spec }) => spec.selector),
    ]).toEqual(Array.from({ length: 7 }, () => recorders));
    // A StatefulSet names its pods by a Service without an address.
    const [headless] = services.filter(({ metadata }) => metadata.name === set.serviceName);
    expect(headless?.spec.clusterIP).toBe('None');
    const ports = set.template.spec.containers[0].ports.map(({ name }: Manifest) => name);
    expect(ports).toContain(specOf(objects, 'PodMonitor').podMetricsEndpoints[0].port);
  });

  needingAll([helm], 'carries the alerts and dashboards of deploy, for a sidecar as well', (program) => {
    const monitored = [
      ...['--set', 'monitoring.podMonitor.enabled=true', '--set', 'monitoring.alerts.enabled=true'],
      ...['--set', 'monitoring.dashboards.enabled=true'],
      ...['--set', 'monitoring.podMonitor.matchLabels.app=mine'],
    ];
    const objects = objectsOf(rendered(program, 'reprise', ...monitored));
    expect(specOf(objects, 'PodMonitor').selector.matchLabels).toEqual({ app: 'mine' });
    expect(specOf(objects, 'PrometheusRule')).toEqual(yamlOf('kubernetes/monitoring/alerts.yaml').spec);
    const boards = objects
      .filter(({ kind }) => kind === 'ConfigMap')
      .map(({ data }) => Object.values(data)[0]);
    const files = readdirSync(join(deploy, 'grafana')).filter((name) => name.endsWith('.json'));
    expect(boards).toEqual(files.sort().map((name) => readFileSync(join(deploy, 'grafana', name), 'utf8')));
  });

  needingAll([helm], 'says which file a copy lacks that was made without links', (program) => {
    const copy = join(temporaryDirectory(), 'reprise');
    cpSync(join(charts, 'reprise'), copy, { recursive: true, filter: (path) => !path.endsWith('/files') });
    for (const [option, file] of [
      ['alerts', 'files/alerts.yaml'],
      ['dashboards', 'files/dashboards'],
    ]) {
      const args = ['template', 'model', copy, '--kube-version', KUBERNETES];
      const { status, said } = run(program, ...args, '--set', `monitoring.${option}.enabled=true`);
      expect(status).toBe(1);
      expect(said).toContain(`${file} is not in this copy`);
    }
  });

  needingAll([helm], 'refuses a capture that would fill its volume', (program) => {
    const refuses = (chart: string, ...settings: string[]) => {
      const args = ['template', 'model', join(charts, chart), '--kube-version', KUBERNETES];
      const enabled = chart === 'reprise' ? ['--set', 'standalone.enabled=true'] : [];
      const { status, said } = run(
        program,
        ...args,
        ...enabled,
        ...settings.flatMap((each) => ['--set-string', each]),
      );
      return status === 1 && said.includes('max-disk');
    };
    const withSet = (...settings: string[]) =>
      refuses('reprise', 'standalone.record.target=http://m', ...settings);
    expect(withSet()).toBe(false);
    for (const size of ['91Gi', '97G', '0.1Ti', '100000000000'])
      expect([size, withSet(`standalone.storage.size=${size}`)]).toEqual([size, false]);
    for (const size of ['90Gi', '96G', '50Gi', '90000M', '0.05Ti', '90000000000'])
      expect([size, withSet(`standalone.storage.size=${size}`)]).toEqual([size, true]);
    for (const most of ['100GiB', '1.5 TB', '200000000000'])
      expect([most, withSet(`standalone.record.max-disk=${most}`)]).toEqual([most, true]);
    // The sidecar of a chart of one's own.
    expect(run(program, 'dependency', 'build', join(charts, 'model'))).toMatchObject({ status: 0 });
    expect(refuses('model', 'reprise.capture.sizeLimit=9Gi')).toBe(false);
    expect(refuses('model', 'reprise.capture.sizeLimit=8Gi')).toBe(true);
  });

  needingAll([helm], 'refuses what would not start', (program) => {
    for (const [setting, named] of [
      ['record.retian=28d', 'retian'],
      ['record.mode=wier', 'mode'],
      ['standalone.enabled=true', 'target'],
      ['monthly.enabled=true', 'target'],
      ['image.digest=latest', 'digest'],
      ['sidcar=1', 'sidcar'],
    ]) {
      const { status, said } = run(
        program,
        'template',
        'model',
        join(charts, 'reprise'),
        '--kube-version',
        KUBERNETES,
        '--set',
        setting as string,
      );
      expect({ setting, status }).toEqual({ setting, status: 1 });
      expect(said).toContain(named);
    }
  });

  needingAll(
    [helm],
    'leaves a flag out for null, and writes large numbers and lists as they are',
    (program) => {
      const [recorder] = objectsOf(
        rendered(program, 'reprise', ...everything, '--set', 'record.retain=null'),
      ).find(({ kind }) => kind === 'StatefulSet').spec.template.spec.containers;
      expect(argumentsOf(recorder)).toEqual(
        expect.arrayContaining([
          '--bodies=all,max-request=10000000',
          '--max-connections=10000000',
          '--identify-session=openai-user',
          '--identify-session=header:x-session-id',
        ]),
      );
      expect(argumentsOf(recorder).join(' ')).not.toContain('--retain');
      expect(argumentsOf(recorder)).toContain(
        '--on-seal=rclone copy "$REPRISE_SEGMENT" "captures:traffic/model"',
      );
    },
  );

  needingAll(
    [helm],
    'starts a recorder of its own, and a monthly test, by command lines that they take',
    async (program) => {
      const objects = objectsOf(rendered(program, 'reprise', ...everything));
      const [recorder] = objects.find(({ kind }) => kind === 'StatefulSet').spec.template.spec.containers;
      expect(await settingsOf(['config', 'print', '--json', ...argumentsOf(recorder)])).toMatchObject({
        'record.target': ['http://model:8000'],
        'record.max-disk': '90GiB',
        'record.drain-delay': '5s',
        'record.listen': [':8080'],
      });
      const [monthly] = objects.find(({ kind }) => kind === 'CronJob').spec.jobTemplate.spec.template.spec
        .containers;
      const { status, stdout, stderr } = await runCommand([...argumentsOf(monthly), '--dry-run']);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      for (const part of [
        'reprise statement',
        '/captures/monday',
        '--budget',
        '1h',
        'realtime',
        'http://model-staging',
      ])
        expect(stdout).toContain(part);
    },
  );
});

describe('a chart of one’s own with the sidecar', () => {
  needingAll(
    [helm, validators, kustomize],
    'means what deploy/kubernetes/base means',
    async (program, interpreter, builder) => {
      expect(run(program, 'dependency', 'build', join(charts, 'model'))).toMatchObject({ status: 0 });
      expect(run(program, 'lint', '--strict', join(charts, 'model'))).toMatchObject({ status: 0 });
      const yaml = rendered(program, 'model');
      expect(runTool(interpreter as string, [checker, KUBERNETES], yaml)).toMatchObject({ status: 0 });
      const built = runTool(builder as string, ['build', join(deploy, 'kubernetes/base')]);
      const [ours, theirs] = [objectsOf(yaml), objectsOf(built.stdout)];
      for (const kind of ['Service', 'NetworkPolicy'])
        expect(specOf(ours, kind)).toEqual(specOf(theirs, kind));
      const [pod, base] = [specOf(ours, 'Deployment'), specOf(theirs, 'Deployment')];
      expect(meaningOf(pod)).toEqual(meaningOf(base));

      const flags = await settingsOf([
        'config',
        'print',
        '--json',
        ...argumentsOf(pod.template.spec.initContainers[0]),
      ]);
      const file = join(deploy, 'kubernetes/base/reprise.yaml');
      const settings = await settingsOf(['--config', file, 'config', 'print', '--json', 'record']);
      // Where there is no terminal the log is JSON by default.
      expect({ ...flags, 'log-format': settings['log-format'] }).toEqual(settings);
      expect(yamlOf('kubernetes/base/reprise.yaml')['log-format']).toBe('json');
    },
  );
});

/** Without the objects whose schema is not one of Kubernetes itself. */
function withoutCustom(yaml: string): string {
  return yaml
    .split(/^---$/m)
    .filter((document) => !document.includes('monitoring.coreos.com'))
    .join('---');
}

function specOf(objects: readonly Manifest[], kind: string): Manifest {
  return objects.find((object) => object.kind === kind)?.spec;
}

/**
 * A deployment without what the chart does another way: its settings are arguments and not a file, its volumes have
 * names that others' volumes do not have, and its container states the user that the pod states as well.
 */
function meaningOf({ template, ...deployment }: Manifest): Manifest {
  const { initContainers, volumes, ...pod } = template.spec;
  const [recorder] = initContainers;
  const { args, imagePullPolicy, ...container } = recorder;
  const { runAsNonRoot, runAsUser, runAsGroup, ...security } = recorder.securityContext;
  const named = (name: string) => name.replace(/^reprise-/, '');
  expect([args[0], imagePullPolicy ?? 'IfNotPresent']).toEqual(['record', 'IfNotPresent']);
  expect([runAsNonRoot ?? true, runAsUser ?? 10001, runAsGroup ?? 10001]).toEqual([true, 10001, 10001]);
  return {
    ...deployment,
    pod,
    recorder: {
      ...container,
      securityContext: security,
      volumeMounts: recorder.volumeMounts
        .filter(({ name }: Manifest) => name !== 'config')
        .map((mount: Manifest) => ({ ...mount, name: named(mount.name) }))
        .sort(byName),
    },
    volumes: volumes
      .filter(({ name }: Manifest) => name !== 'config')
      .map((volume: Manifest) => ({ ...volume, name: named(volume.name) }))
      .sort(byName),
  };
}

function byName(one: Manifest, other: Manifest): number {
  return one.name < other.name ? -1 : 1;
}
