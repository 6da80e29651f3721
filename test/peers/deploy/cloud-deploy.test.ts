import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { goModule, pythonWith } from '../../support/peer-tools.ts';
import { runProcess } from '../../support/process.ts';
import { repositoryRoot } from '../../support/shared-data.ts';

const python = pythonWith(['google-cloud-deploy==2.12.0', 'jsonschema==4.26.0', 'pyyaml==6.0.4']);
const skaffold = goModule('github.com/GoogleContainerTools/skaffold/v2@v2.16.1');

test.for([
  ['skaffold.yaml', 'executionMode:', 'executionMod:'],
  ['clouddeploy.yaml', 'verify:', 'verifi:'],
])('%s of Cloud Deploy is what its tools know', async ([name = '', right = '', wrong = ''], { skip }) => {
  if ('missing' in python) return skip(python.missing);
  if ('missing' in skaffold) return skip(skaffold.missing);
  const schema = join(skaffold.path, 'docs-v2/content/en/schemas/v4beta13.json');
  const kind = name === 'skaffold.yaml' ? ['skaffold', schema] : ['pipeline'];
  const program = join(repositoryRoot, 'test/peers/deploy/validate-cloud-deploy.py');
  const text = readFileSync(join(repositoryRoot, 'deploy/cloud-deploy', name), 'utf8');
  const check = (stdin: string) => runProcess(python.path, [program, ...kind], { stdin });
  expect(await check(text)).toMatchObject({ status: 0 });
  const misspelt = await check(text.replace(right, wrong));
  expect(misspelt).toMatchObject({ status: 1, stderr: expect.stringContaining(wrong.replace(':', '')) });
});
