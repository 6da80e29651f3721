import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { leastMemoryBytes } from '../../src/app/recording/memory-budget.ts';
import { parseBytes, parseDurationMs } from '../../src/core/units.ts';
import { metricsOf } from '../../src/proxy/control/metrics.ts';
import { RunInstruments } from '../../src/telemetry/instruments.ts';
import { samplesOf as samplesOfRun } from '../../src/telemetry/remote-write.ts';
import { runCommand } from '../support/command-here.ts';
import { deploy, filesUnder, type Manifest, yamlOf } from '../support/manifests.ts';
import { samplesOf } from '../support/metrics.ts';
import { failed, refused, send } from '../support/sends.ts';
import { someStatus } from '../support/some-status.ts';

/** Kubernetes' binary quantities, bytes. */
function quantityBytes(text: string): number {
  return parseBytes(text.replace(/i$/, 'iB'), 'quantity');
}

/** The value of a flag in a container's arguments. */
function flagOf(container: Manifest, name: string): string {
  const found = (container.args as string[]).find((argument) => argument.startsWith(`--${name}=`));
  expect(found, `--${name}`).toBeDefined();
  return (found as string).slice(name.length + 3);
}

const settingsFiles = filesUnder(deploy).filter((path) => path.endsWith('reprise.yaml'));

describe('deploy/', () => {
  test('has settings for base, overlay, stateful set and systemd', () => {
    expect(settingsFiles).toHaveLength(4);
  });

  test.each(settingsFiles)('%s is a configuration that record takes', async (path) => {
    const { status, stderr } = await runCommand(['--config', path, 'config', 'print', 'record']);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('the arguments for KServe are a command line that record takes', async () => {
    const service = yamlOf('kserve/inferenceservice.yaml');
    const [recorder] = service.spec.predictor.containers;
    const { status, stderr } = await runCommand(['config', 'print', ...recorder.args]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('every YAML file is YAML', () => {
    for (const path of filesUnder(deploy)) {
      if (!path.endsWith('.yaml') || path.includes('/templates/')) continue;
      const problems = parseAllDocuments(readFileSync(path, 'utf8'));
      expect(Array.isArray(problems) ? problems.flatMap((document) => document.errors) : []).toEqual([]);
    }
  });
});

describe('the memory that a recording needs at least', () => {
  test.each([
    ['base', () => sidecar('base/deployment.yaml', 'base/reprise.yaml')],
    ['production', () => sidecar('base/deployment.yaml', 'overlays/production/reprise.yaml')],
    ['stateful set', () => sidecar('statefulset/statefulset.yaml', 'statefulset/reprise.yaml')],
    [
      'KServe',
      () => {
        const [recorder] = yamlOf('kserve/inferenceservice.yaml').spec.predictor.containers;
        return [recorder.resources.limits.memory, flagOf(recorder, 'max-connections')];
      },
    ],
    [
      'compose',
      () => {
        const { recorder } = yamlOf('compose/compose.yaml').services;
        return [recorder.mem_limit, flagOf({ args: recorder.command }, 'max-connections')];
      },
    ],
    [
      'systemd',
      () => {
        const unit = readFileSync(join(deploy, 'systemd/reprise.service'), 'utf8');
        return [
          /^MemoryMax=(.*)$/m.exec(unit)?.[1],
          yamlOf('systemd/reprise.yaml').record['max-connections'],
        ];
      },
    ],
  ])('is within the limit of the example for %s', (_, example) => {
    const [limit, connections] = example();
    const limitBytes = parseBytes(String(limit).toUpperCase().replace(/I?$/, 'iB'), 'limit');
    expect(leastMemoryBytes(Number(connections))).toBeLessThanOrEqual(limitBytes);
  });

  function sidecar(workload: string, settings: string): [string, number] {
    const [recorder] = yamlOf(`kubernetes/${workload}`).spec.template.spec.initContainers;
    return [recorder.resources.limits.memory, yamlOf(`kubernetes/${settings}`).record['max-connections']];
  }
});

describe('the sidecar', () => {
  const pod = yamlOf('kubernetes/base/deployment.yaml').spec.template.spec;
  const [recorder] = pod.initContainers;
  const [model] = pod.containers;
  const settings = yamlOf('kubernetes/base/reprise.yaml').record;

  test('starts before the model server and stops after it', () => {
    expect(recorder.restartPolicy).toBe('Always');
    expect(recorder.startupProbe.httpGet.path).toBe('/livez');
  });

  test('has its endpoints withdrawn before the model server stops, and time for all of it', () => {
    const sleepS = model.lifecycle.preStop.sleep.seconds;
    const drainS =
      (parseDurationMs(settings['drain-delay'], 'delay') +
        parseDurationMs(settings['drain-deadline'], 'deadline')) /
      1000;
    expect(sleepS).toBeGreaterThanOrEqual(5);
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(sleepS + 20 + drainS + 15);
  });

  test('fits its volume, and hands over what the volume would take with it', () => {
    const [capture] = pod.volumes;
    expect(quantityBytes(capture.emptyDir.sizeLimit)).toBeGreaterThan(
      parseBytes(settings['max-disk'], 'max-disk') * 1.1,
    );
    expect(settings['on-seal']).toContain('$REPRISE_SEGMENT');
  });

  test('may do nothing but forward and write its volume', () => {
    expect(pod.enableServiceLinks).toBe(false);
    expect(pod.securityContext.runAsNonRoot).toBe(true);
    expect(recorder.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });

  test('is ready or not by its own word, which the model server has no part in', () => {
    expect(recorder.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'probes' });
    expect(recorder.livenessProbe.httpGet).toEqual({ path: '/livez', port: 'probes' });
  });

  test('keeps its capture on a volume of its own where it must outlive the pod', () => {
    const set = yamlOf('kubernetes/statefulset/statefulset.yaml').spec;
    const [claim] = set.volumeClaimTemplates;
    expect(claim.metadata.name).toBe('capture');
    expect(set.persistentVolumeClaimRetentionPolicy).toEqual({ whenDeleted: 'Retain', whenScaled: 'Retain' });
    const ofSet = yamlOf('kubernetes/statefulset/reprise.yaml').record;
    expect(quantityBytes(claim.spec.resources.requests.storage)).toBeGreaterThan(
      parseBytes(ofSet['max-disk'], 'max-disk'),
    );
  });
});

describe('the image', () => {
  const lines = readFileSync(join(deploy, 'Dockerfile'), 'utf8').split('\n');

  test('is made from a base that a digest names, in each of its stages', () => {
    const bases = lines.filter((line) => line.startsWith('FROM '));
    expect(bases).toHaveLength(2);
    for (const base of bases)
      expect(base).toMatch(/^FROM node:[\d.]+-bookworm-slim@\$\{NODE_DIGEST\}( AS package)?$/);
    // Without a value: a build that names none fails.
    expect(lines).toContain('ARG NODE_DIGEST');
  });

  test('takes its dependencies from the lockfile alone, and none of those of development', () => {
    const npm = lines.flatMap((line) => line.match(/npm (?:ci|install|i|add|update|exec|pack)\b.*/g) ?? []);
    expect(npm).toHaveLength(2);
    for (const command of npm) expect(command).toMatch(/^npm ci --ignore-scripts /);
    expect(npm.at(-1)).toContain('--omit=dev');
  });

  test('says what it is, under which licence, and holds that licence', () => {
    const text = lines.join('\n');
    const { version, license } = JSON.parse(readFileSync(join(deploy, '../package.json'), 'utf8'));
    const labels = Object.fromEntries(
      [...text.matchAll(/org\.opencontainers\.image\.([\w.]+)="([^"]+)"/g)].map(([, name, value]) => [
        name,
        value,
      ]),
    );
    expect(labels).toMatchObject({ version, licenses: license, title: 'reprise' });
    expect(text).toContain(`FROM ${labels['base.name']?.replace('docker.io/library/', '')}@`);
    expect(text).toMatch(/^COPY --from=package .*\/opt\/reprise\/LICENSE/m);
  });

  test('is released for amd64 and arm64, for which its native parts are there', () => {
    const workflow = readFileSync(join(deploy, '../.github/workflows/release.yml'), 'utf8');
    expect(workflow).toMatch(/^ +platforms: linux\/amd64,linux\/arm64$/m);
    const prebuilt = readdirSync(join(deploy, '../node_modules/better-sqlite3/prebuilds'));
    expect(prebuilt).toEqual(expect.arrayContaining(['linux-x64.node', 'linux-arm64.node']));
  });

  test('starts the recorder and nothing beside it', () => {
    expect(lines).toContain('ENTRYPOINT ["reprise"]');
    expect(lines.filter((line) => line.startsWith('ENTRYPOINT'))).toHaveLength(1);
  });

  test('listens to what is outside of the container also by a file that names no address', () => {
    const command: string[] = JSON.parse(lines.find((line) => line.startsWith('CMD '))?.slice(4) ?? '[]');
    const afterFlag = (flag: string) => command[command.indexOf(flag) + 1];
    expect([afterFlag('--config'), afterFlag('--listen'), afterFlag('--probe-listen')]).toEqual([
      '/etc/reprise/reprise.yaml',
      ':8080',
      ':9464',
    ]);
    expect(lines).toContain('EXPOSE 8080 9464');
  });
});

describe('a recorder beside a model server', () => {
  test.each([
    ['base', () => yamlOf('kubernetes/base/deployment.yaml').spec.template.spec],
    ['stateful set', () => yamlOf('kubernetes/statefulset/statefulset.yaml').spec.template.spec],
    ['KServe', () => yamlOf('kserve/inferenceservice.yaml').spec.predictor],
  ])('has a container of its own in the example for %s, with what was measured to be enough', (_, podOf) => {
    const pod = podOf();
    const all: Manifest[] = [...(pod.initContainers ?? []), ...pod.containers];
    const [recorder, ...others] = all.filter(({ image }) => image.includes('/reprise:'));
    expect(others).toEqual([]);
    expect([recorder?.command, recorder?.args[0]]).toEqual([undefined, 'record']);
    expect(recorder?.resources).toEqual({
      requests: { cpu: '250m', memory: '192Mi' },
      limits: { memory: '256Mi' },
    });
  });

  test.each([
    ['base', 'kubernetes/base', { 'app.kubernetes.io/name': 'model' }, ['http', 'probes']],
    ['stateful set', 'kubernetes/statefulset', { 'app.kubernetes.io/name': 'model' }, ['http', 'probes']],
    ['KServe', 'kserve', { 'serving.kserve.io/inferenceservice': 'sentiment' }, [8080, 9464]],
  ])(
    'is reached at its port by all, and at its probes by Prometheus alone: %s',
    (_, directory, labels, ports) => {
      const policy = yamlOf(`${directory}/networkpolicy.yaml`).spec;
      expect(policy.podSelector.matchLabels).toEqual(labels);
      expect(policy.policyTypes).toEqual(['Ingress']);
      const monitoring = { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } };
      expect(policy.ingress).toEqual([
        { ports: [{ port: ports[0] }] },
        { from: [{ namespaceSelector: monitoring }], ports: [{ port: ports[1] }] },
      ]);
    },
  );

  test.each(['base', 'statefulset'])('has its policy and its pod labels in the kustomization: %s', (name) => {
    const { resources, labels } = yamlOf(`kubernetes/${name}/kustomization.yaml`);
    expect(resources).toContain('networkpolicy.yaml');
    expect(labels[0]).toMatchObject({ pairs: { 'app.kubernetes.io/name': 'model' }, includeTemplates: true });
  });
});

/** What a replay exports, by name and with each outcome. */
function replaySamples(): string[] {
  const instruments = new RunInstruments();
  instruments.addSends([send({ index: 0 }), failed(1), refused(2)]);
  return samplesOfRun(instruments.collect(), {}, true).flatMap(({ labels: { __name__: name, outcome } }) =>
    outcome === undefined ? [`${name}`] : [`${name}{outcome="${outcome}"}`],
  );
}

describe('monitoring', () => {
  test('scrapes the probe port of the pods by its name', () => {
    const { selector, podMetricsEndpoints } = yamlOf('kubernetes/monitoring/podmonitor.yaml').spec;
    expect(selector.matchLabels).toEqual({ 'app.kubernetes.io/name': 'model' });
    const [recorder] = yamlOf('kubernetes/base/deployment.yaml').spec.template.spec.initContainers;
    const ports: Manifest[] = recorder.ports;
    expect(podMetricsEndpoints).toMatchObject([{ port: ports.at(-1)?.name, path: '/metrics' }]);
    expect(ports.at(-1)?.containerPort).toBe(9464);
  });

  test('alerts on metrics that a scrape has, with labels that it has', async () => {
    const status = someStatus({ disk: { directory: '/c', bytes: 1, maxBytes: 1, freeBytes: 1 } });
    const samples = [...samplesOf(await metricsOf(status)).keys(), ...replaySamples()];
    const groups: Manifest[] = yamlOf('kubernetes/monitoring/alerts.yaml').spec.groups;
    const rules: Manifest[] = groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(10);
    for (const { alert, expr } of rules) {
      const uses = [...expr.matchAll(/(reprise_\w+)(?:\{(\w+)=~?"([^"]+)"\})?/g)];
      expect(uses.length, alert).toBeGreaterThan(0);
      for (const [, name, label, values] of uses) {
        const wanted = values?.split('|').map((value: string) => `${name}{${label}="${value}"}`) ?? [name];
        for (const one of wanted)
          expect(
            samples.some((key) => key === one || (!label && key.startsWith(`${one}{`))),
            one,
          ).toBe(true);
      }
    }
  });
});

test('the unit of systemd goes on when the kernel ends one of its processes for want of memory', () => {
  expect(readFileSync(join(deploy, 'systemd/reprise.service'), 'utf8')).toMatch(/^OOMPolicy=continue$/m);
});

describe('as KServe has it', () => {
  const { predictor } = yamlOf('kserve/inferenceservice.yaml').spec;
  const [recorder] = predictor.containers;

  test('takes the name that steers the service to it, and the model another port', () => {
    expect(recorder.name).toBe('transformer-container');
    expect(recorder.ports[0].containerPort).toBe(8080);
    expect(predictor.model.args).toContain('--http_port=8085');
    expect(flagOf(recorder, 'target')).toBe('http://127.0.0.1:8085');
    expect(predictor.logger ?? predictor.batcher).toBeUndefined();
  });

  test('is outlived by the model, which is told to stop at the same moment', () => {
    const drainS =
      (parseDurationMs(flagOf(recorder, 'drain-delay'), 'delay') +
        parseDurationMs(flagOf(recorder, 'drain-deadline'), 'deadline')) /
      1000;
    const sleepS = predictor.model.lifecycle.preStop.sleep.seconds;
    expect(sleepS).toBeGreaterThan(drainS);
    expect(predictor.terminationGracePeriodSeconds).toBeGreaterThan(sleepS + 30);
  });

  test('fits its volume', () => {
    const [capture] = predictor.volumes;
    expect(quantityBytes(capture.emptyDir.sizeLimit)).toBeGreaterThan(
      parseBytes(flagOf(recorder, 'max-disk'), 'max-disk') * 1.1,
    );
  });
});

describe('the replay by an indexed job', () => {
  const job = yamlOf('kubernetes/replay/replay.yaml').spec;
  const [shard] = job.template.spec.containers;
  const merging = yamlOf('kubernetes/replay/merge.yaml').spec;
  const [merge] = merging.template.spec.containers;

  /** A container's arguments as its index and the config map make them. */
  function argumentsOf(container: Manifest, index: number): string[] {
    const values: Record<string, string> = {
      JOB_COMPLETION_INDEX: String(index),
      START_AT: '2026-11-24T12:00:00Z',
      RUN: 'monday',
    };
    return container.args.map((argument: string) =>
      argument.replace(/\$\((\w+)\)/g, (_, name: string) => values[name] ?? `no ${name}`),
    );
  }

  test('plays every shard once, all at the same time, and none again', () => {
    expect(job.completionMode).toBe('Indexed');
    expect(job.parallelism).toBe(job.completions);
    expect(flagOf(shard, 'shard')).toBe(`$(JOB_COMPLETION_INDEX)/${job.completions},start=$(START_AT)`);
    expect(job.backoffLimitPerIndex).toBe(0);
    expect(merging.backoffLimit).toBe(0);
    for (const { template } of [job, merging]) expect(template.spec.restartPolicy).toBe('Never');
  });

  test('is merged from the run of each of them', () => {
    const outs = Array.from({ length: job.completions }, (_, index) =>
      argumentsOf(shard, index)
        .find((argument) => argument.startsWith('--out='))
        ?.slice('--out='.length),
    );
    expect(new Set(outs).size).toBe(job.completions);
    expect(argumentsOf(merge, 0).filter((argument) => argument.startsWith('/'))).toEqual(outs);
    const claims = [job, merging].map(({ template }) =>
      template.spec.volumes.find((volume: Manifest) => volume.name === 'runs'),
    );
    expect(claims[0]).toEqual(claims[1]);
    expect(parseDurationMs(flagOf(merge, 'wait'), 'wait')).toBeLessThan(merging.activeDeadlineSeconds * 1e3);
  });

  test.each([
    ['replay', shard],
    ['merge', merge],
  ])('the arguments of %s are a command line that it takes', async (_, container) => {
    const { status, stderr } = await runCommand(['config', 'print', ...argumentsOf(container, 2)]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('has no quota on the CPU, and generators on nodes of their own', () => {
    expect(shard.resources.limits.cpu).toBeUndefined();
    const [spread] = job.template.spec.topologySpreadConstraints;
    expect(spread.labelSelector.matchLabels).toEqual(job.template.metadata.labels);
    expect(spread.whenUnsatisfiable).toBe('DoNotSchedule');
    expect(spread.nodeTaintsPolicy).toBe('Honor');
  });
});
