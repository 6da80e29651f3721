import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { documentOf, requestsOf, serverOf } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A scenario file with this text; paths in it are absolute. */
function scenarioOf(text: string): string {
  const file = join(temporaryDirectory(), 'scenario.yaml');
  writeFileSync(file, text);
  return file;
}

test('a scenario is played as the command it stands for, and judged by its objectives', async () => {
  const server = await serverOf();
  const folder = temporaryDirectory();
  const file = scenarioOf(
    `name: nightly
capture: ${captureOf(requestsOf(200))}
target: http://127.0.0.1:1
slo:
  - 'latency: p(50)<60s'
  - 'errors: rate<0.01'
out: ${join(folder, 'run')}
ci-report: junit=${join(folder, 'verdict.xml')}
check: false
compare-at-1x: false
`,
  );
  const config = join(folder, 'reprise.yaml');
  writeFileSync(config, 'replay: {compare-at-1x: true}\n');
  const result = await runCommand(
    ['--config', config, 'run', file, '--target', server.url, '--set', 'multiplier=2', '--json'],
    { env: { REPRISE_CHECK: 'values' } },
  );
  const document = documentOf(result);
  // A busy machine may be late, which is never a FAIL.
  expect([
    [0, 'PASS'],
    [4, 'INCONCLUSIVE'],
  ]).toContainEqual([result.status, document.verdict]);
  expect(document).toMatchObject({
    sent: 200,
    multiplier: 2,
    options: { name: 'nightly', check: null, calibrateMs: null },
  });
  expect(server.requests).toHaveLength(200);
  expect(readFileSync(join(folder, 'verdict.xml'), 'utf8')).toContain('<testsuite name="nightly"');
});

test('a preset stands for a whole scenario, and a dry run prints its command without secrets', async () => {
  const { status, stdout } = await runCommand(
    [
      ...['run', '--preset', 'spike', 'captures/monday', '--target', 'http://user:secret@staging:8000'],
      ...[
        '--set',
        'check=false',
        '--set',
        'header=authorization: Bearer abc',
        '--set',
        'header=x-team: env:TEAM',
        '--dry-run',
      ],
    ],
    // Variables are for other commands too: a recorder names production as its target.
    { env: { REPRISE_TARGET: 'http://production' } },
  );
  expect(status).toBe(0);
  expect(stdout).toContain(
    'REPRISE_CHECK=false reprise replay captures/monday --window=peak=15m --stages=5m@1x,1m@4x,5m@1x ',
  );
  expect(stdout).toContain("'--name=spike of monday'");
  expect(stdout).toContain("'--header=authorization: ***' '--header=x-team: env:TEAM'");
  expect(stdout).toContain('@staging:8000');
  expect(stdout).not.toMatch(/secret|abc|production/);
});

test('scenarios have a schema, published as it is', async () => {
  const { stdout } = await runCommand(['config', 'schema', 'scenario']);
  const published = readFileSync(join(repositoryRoot, 'docs', 'scenario.schema.json'), 'utf8');
  expect(published, 'run: npm run --silent config-schema').toBe(stdout);
});
