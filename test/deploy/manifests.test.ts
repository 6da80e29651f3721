import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { parseBytes, parseDurationMs } from '../../src/core/units.ts';
import { runReprise } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const deploy = join(repositoryRoot, 'deploy');

// biome-ignore lint/suspicious/noExplicitAny: manifests are other people's trees, read at a dozen places
type Manifest = any;

function yamlOf(path: string): Manifest {
  return parse(readFileSync(join(deploy, path), 'utf8'));
}

function filesUnder(directory: string): string[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });
}

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
    const { status, stderr } = await runReprise(['--config', path, 'config', 'print', 'record']);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('the arguments for KServe are a command line that record takes', async () => {
    const service = yamlOf('kserve/inferenceservice.yaml');
    const [recorder] = service.spec.predictor.containers;
    const { status, stderr } = await runReprise(['config', 'print', ...recorder.args]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('every YAML file is YAML', () => {
    for (const path of filesUnder(deploy).filter((one) => one.endsWith('.yaml'))) {
      const problems = parseAllDocuments(readFileSync(path, 'utf8'));
      expect(Array.isArray(problems) ? problems.flatMap((document) => document.errors) : []).toEqual([]);
    }
  });
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
