import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { AppError, reasonOf } from '../core/errors.ts';
import type { Delivery, TrackedRun } from './tracker.ts';

const artefact = z.looseObject({
  uri: z.string(),
  type: z.looseObject({ schemaTitle: z.string().optional() }),
});

/** The part of Kubeflow's `ExecutorInput` that names the outputs of a task. */
const executorInput = z.object({
  outputs: z.object({
    outputFile: z.string(),
    parameters: z.record(z.string(), z.object({ outputFile: z.string() })).optional(),
    artifacts: z.record(z.string(), z.object({ artifacts: z.array(artefact) })).optional(),
  }),
});
export type ExecutorOutputs = z.infer<typeof executorInput>['outputs'];

/** Where Kubeflow mounts object stores in the container of a task. */
const MOUNTS: readonly (readonly [scheme: string, directory: string])[] = [
  ['gs://', '/gcs/'],
  ['minio://', '/minio/'],
  ['s3://', '/s3/'],
];

/**
 * Parses the value that Kubeflow puts in place of the placeholder `{{$}}` of a task.
 * @throws AppError OPTION_INVALID for anything else
 */
export function executorOutputsOf(json: string): ExecutorOutputs {
  try {
    return executorInput.parse(JSON.parse(json)).outputs;
  } catch (cause) {
    throw new AppError(
      'OPTION_INVALID',
      `--to kubeflow: is no executor input: ${reasonOf(cause).split('\n')[0]}`,
      {
        hint: 'A component passes {{$}}: see deploy/kubeflow/component.py.',
        cause,
      },
    );
  }
}

/**
 * Writes the outputs of a task of Kubeflow Pipelines: numbers to each Metrics artefact, the page to each HTML artefact,
 * `verdict` and `run` to the parameters of these names, and `executor_output.json`.
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function publishToKubeflow(
  { outputFile, parameters = {}, artifacts = {} }: ExecutorOutputs,
  { publication, artefacts }: TrackedRun,
): Delivery {
  const texts: Readonly<Record<string, string>> = {
    verdict: publication.verdict ?? 'none',
    run: publication.id,
  };
  const page = artefacts.find(({ mediaType }) => mediaType === 'text/html');
  for (const [name, parameter] of Object.entries(parameters)) {
    const text = texts[name];
    if (text !== undefined) write(parameter.outputFile, text);
  }
  const filled = Object.entries(artifacts).map(
    ([
      name,
      {
        artifacts: [first, ...rest],
      },
    ]) => {
      if (first === undefined) return [name, { artifacts: [] }];
      const kind = first.type.schemaTitle;
      if (kind === 'system.HTML' && page !== undefined) write(pathOf(first.uri), page.content);
      const metadata = kind === 'system.Metrics' ? { ...publication.metrics } : { run: publication.id };
      return [name, { artifacts: [{ ...first, metadata }, ...rest] }];
    },
  );
  write(outputFile, JSON.stringify({ artifacts: Object.fromEntries(filled) }));
  return { run: publication.id, children: publication.children.length, notes: [] };
}

function pathOf(uri: string): string {
  for (const [scheme, directory] of MOUNTS) {
    if (uri.startsWith(scheme)) return join(directory, uri.slice(scheme.length));
  }
  return uri;
}

function write(path: string, text: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  } catch (cause) {
    throw new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, { cause });
  }
}
