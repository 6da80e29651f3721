import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { leastMemoryBytes } from '../../src/app/recording/memory-budget.ts';
import { parseBytes } from '../../src/core/units.ts';
import { deploy, yamlOf } from '../support/manifests.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const values = yamlOf('helm/reprise/values.yaml');

function jsonOf(path: string) {
  return JSON.parse(readFileSync(join(repositoryRoot, path), 'utf8'));
}

describe('the chart', () => {
  test('knows every flag of record by its published schema', () => {
    const schema = jsonOf('deploy/helm/reprise/values.schema.json');
    const published = jsonOf('docs/config.schema.json').properties.record;
    // A key of the configuration file alone: the chart makes a flag of each value.
    const { routes, ...flags } = published.properties;
    expect(routes.items.type).toBe('object');
    expect(schema.$defs.record, 'run: npm run --silent config-schema').toEqual({
      ...published,
      properties: flags,
    });
    expect(schema.$defs.record.additionalProperties).toBe(false);
    const page = readFileSync(join(repositoryRoot, 'docs/reference/commands.md'), 'utf8');
    expect(Object.keys(flags).filter((name) => !page.includes(`--${name}`))).toEqual([]);
  });

  test('records as the manifests of deploy/kubernetes do, but for a key and a shipping of one’s own', () => {
    const {
      'hash-key-file': key,
      'on-seal': shipped,
      ...record
    } = yamlOf('kubernetes/base/reprise.yaml').record;
    expect(values.record).toEqual(record);
    expect([key, shipped]).toEqual(['/etc/reprise-keys/hash.key', expect.anything()]);
    const [recorder] = yamlOf('kubernetes/base/deployment.yaml').spec.template.spec.initContainers;
    expect(values.resources).toEqual(recorder.resources);
  });

  test('gives a recorder of its own room on its volume', () => {
    const { record, storage } = values.standalone;
    expect(parseBytes(`${storage.size}B`, 'size')).toBeGreaterThan(
      parseBytes(record['max-disk'], 'max-disk'),
    );
  });

  test('has the limit of memory that its connections need at least', () => {
    const limit = parseBytes(`${values.resources.limits.memory}B`, 'limit');
    expect(leastMemoryBytes(values.record['max-connections'])).toBeLessThanOrEqual(limit);
  });

  test('tests monthly as the manifests of deploy/kubernetes do', () => {
    const scenario = yamlOf('kubernetes/gate/monthly-scenario.yaml');
    const { preset, capture, target, slo, description, ...settings } = scenario;
    expect([preset, capture, [values.monthly.settings.slo]]).toEqual([
      values.monthly.preset,
      values.monthly.capture,
      slo,
    ]);
    expect(values.monthly.settings).toEqual({ ...settings, slo: slo[0] });
    expect([typeof target, typeof description]).toEqual(['string', 'string']);
    const job = yamlOf('kubernetes/gate/monthly.yaml').spec;
    expect(values.monthly).toMatchObject({
      schedule: job.schedule,
      timeZone: job.timeZone,
      activeDeadlineSeconds: job.jobTemplate.spec.activeDeadlineSeconds,
      resources: job.jobTemplate.spec.template.spec.containers[0].resources,
    });
  });

  test('explains each of its values', () => {
    const text = readFileSync(join(deploy, 'helm/reprise/values.yaml'), 'utf8');
    expect(Object.keys(jsonOf('deploy/helm/reprise/values.schema.json').properties).sort()).toEqual(
      [...Object.keys(values), 'global'].sort(),
    );
    expect(text.match(/^\s*#/gm)?.length).toBeGreaterThan(20);
  });
});
