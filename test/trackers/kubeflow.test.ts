import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { executorOutputsOf, publishToKubeflow } from '../../src/trackers/kubeflow.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('a task that fails has no outputs: what is no executor input is refused before anything is read', () => {
  for (const json of ['', '{}', '{"outputs":{}}'])
    expect(() => executorOutputsOf(json)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }));
});

test('outputs that the component does not know are left alone', () => {
  const folder = temporaryDirectory();
  const artefact = (schemaTitle: string) => ({
    artifacts: [{ name: 'a', uri: join(folder, schemaTitle), type: { schemaTitle } }],
  });
  const outputs = executorOutputsOf(
    JSON.stringify({
      inputs: { parameterValues: { slo: 'x' } },
      outputs: {
        outputFile: join(folder, 'deep/executor_output.json'),
        parameters: {
          verdict: { outputFile: join(folder, 'verdict') },
          other: { outputFile: join(folder, 'other') },
        },
        artifacts: { numbers: artefact('system.Metrics'), page: artefact('system.HTML') },
      },
    }),
  );
  const run = {
    id: 'run-a',
    kind: 'replay',
    verdict: null,
    startedAt: '',
    endedAt: '',
    complete: true,
    note: '',
  } as const;
  publishToKubeflow(outputs, {
    experiment: 'e',
    publication: {
      ...{
        ...run,
        schemaVersion: 1,
        published: true,
        version: '0.1.0',
        params: {},
        tags: {},
        series: {},
        children: [],
      },
      metrics: { request_count: 3 },
    },
    artefacts: [{ name: 'report.html', mediaType: 'text/html', content: '<p>' }],
  });
  expect(readFileSync(join(folder, 'verdict'), 'utf8')).toBe('none');
  expect(readFileSync(join(folder, 'system.HTML'), 'utf8')).toBe('<p>');
  expect(() => readFileSync(join(folder, 'other'))).toThrow('ENOENT');
  const { artifacts } = JSON.parse(readFileSync(join(folder, 'deep/executor_output.json'), 'utf8'));
  expect(artifacts.numbers.artifacts).toEqual([
    expect.objectContaining({ name: 'a', metadata: { request_count: 3 } }),
  ]);
  expect(artifacts.page.artifacts[0].metadata).toEqual({ run: 'run-a' });
});
