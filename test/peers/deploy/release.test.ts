import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Manifest } from '../../support/manifests.ts';
import { goProgram, pythonWith } from '../../support/peer-tools.ts';
import { repositoryRoot } from '../../support/shared-data.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { needingAll, runTool } from './validators.ts';

const actionlint = goProgram('github.com/rhysd/actionlint/cmd/actionlint@v1.7.12', 'actionlint');
const schemas = pythonWith(['check-jsonschema==0.39.0']);
const zizmor = pythonWith(['zizmor==1.32.0']);
const helm = goProgram('helm.sh/helm/v3/cmd/helm@v3.21.4', 'helm');

const path = join(repositoryRoot, '.github', 'workflows', 'release.yml');
const text = readFileSync(path, 'utf8');
/** The workflow of pushes and pull requests. */
const pushes = join(dirname(path), 'check.yml');
const { jobs }: Manifest = parse(text);
const steps: Manifest[] = Object.values<Manifest>(jobs).flatMap((job) => job.steps);

/** The workflow with one text changed, as a file. */
function changed(from: string, to: string): string {
  expect(text).toContain(from);
  const file = join(temporaryDirectory(), 'release.yml');
  writeFileSync(file, text.replace(from, to));
  return file;
}

function scriptOf(name: string): string {
  return steps.find((step) => step.name === name)?.run;
}

describe('the release workflow', () => {
  test('takes each action by its commit', () => {
    const used = steps.flatMap((step) => step.uses ?? []);
    expect(used.length).toBeGreaterThan(10);
    for (const action of used) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
  });

  test('publishes only what was checked, and asks for rights by job', () => {
    expect(parse(text).permissions).toEqual({});
    expect(jobs.pack.needs).toBe('check');
    for (const name of ['npm', 'image', 'chart']) expect([jobs[name].needs].flat(), name).toContain('pack');
    for (const name of ['check', 'pack']) expect(jobs[name].permissions).toEqual({ contents: 'read' });
    expect([jobs.announce.needs].flat().sort()).toEqual(['chart', 'image', 'npm', 'pack']);
  });

  test('publishes to npm as a trusted publisher, by a npm that can', () => {
    expect(text).not.toMatch(/NPM_TOKEN|NODE_AUTH_TOKEN/);
    expect(jobs.npm.permissions['id-token']).toBe('write');
    expect(jobs.npm.environment).toBe('release');
    const node = jobs.npm.steps.find((step: Manifest) => step.uses?.startsWith('actions/setup-node@'));
    // Node 24.8 has npm 11.6, and 11.5.1 is the first that publishes so.
    expect(Number(/^24\.(\d+)\./.exec(node.with['node-version'])?.[1])).toBeGreaterThanOrEqual(8);
    expect(node.with['registry-url']).toBe('https://registry.npmjs.org');
  });

  test('stops before anything is published if the package names another repository', () => {
    const check = (repository: string) =>
      runTool('bash', ['-c', scriptOf('The package names this repository')], '', {
        ...process.env,
        GITHUB_SERVER_URL: 'https://github.com',
        GITHUB_REPOSITORY: repository,
      }).status;
    expect([check('reprise-load/reprise'), check('Example/reprise')]).toEqual([0, 1]);
    expect(jobs.check.steps.map((step: Manifest) => step.name)).toContain(
      'The package names this repository',
    );
  });

  test('builds the image for both platforms with an SBOM, and runs both before it is signed', () => {
    const { steps: ofImage } = jobs.image;
    const build = ofImage.find((step: Manifest) => step.id === 'build').with;
    expect(build).toMatchObject({ platforms: 'linux/amd64,linux/arm64', sbom: true, provenance: 'mode=max' });
    const names = ofImage.map((step: Manifest) => step.name);
    expect(names.indexOf('Both platforms run')).toBeGreaterThan(0);
    expect(names.at(-1)).toBe('Sign the image');
    for (const platform of build.platforms.split(','))
      expect(scriptOf('Both platforms run')).toContain(platform);
  });

  needingAll([actionlint], 'passes actionlint, which would find something', (program) => {
    expect(runTool(program as string, [path, pushes])).toMatchObject({ status: 0, said: '' });
    const wrong = runTool(program as string, [
      changed('needs.pack.outputs.owner', 'needs.pack.outputs.ownr'),
    ]);
    expect(wrong.status).toBe(1);
    expect(wrong.said).toContain('ownr');
  });

  needingAll([schemas], 'keeps to the schema of workflows', (python) => {
    const check = (file: string) =>
      runTool(join(python as string, '..', 'check-jsonschema'), [
        '--builtin-schema',
        'vendor.github-workflows',
        file,
      ]);
    for (const workflow of [path, pushes]) expect(check(workflow)).toMatchObject({ status: 0 });
    expect(check(changed('timeout-minutes: 180', 'timeout-minuts: 180')).status).toBe(1);
  });

  needingAll([zizmor], 'passes zizmor, which would find an input in a script', (python) => {
    const check = (file: string) =>
      runTool(join(python as string, '..', 'zizmor'), [
        '--offline',
        '--no-progress',
        '--persona',
        'regular',
        file,
      ]);
    for (const workflow of [path, pushes]) expect(check(workflow)).toMatchObject({ status: 0 });
    const wrong = check(
      changed(
        'node scripts/versions.mjs "$GITHUB_REF_NAME"',
        `node scripts/versions.mjs ${'$'}{{ github.ref_name }}`,
      ),
    );
    expect(wrong.status).not.toBe(0);
    expect(wrong.said).toContain('template-injection');
  });

  needingAll([helm], 'packs the package and the chart by its own script', (program) => {
    const copy = temporaryDirectory();
    const excluded = /^(?:\.git|node_modules|dist|artefacts)$/;
    for (const name of readdirSync(repositoryRoot).filter((each) => !excluded.test(each)))
      cpSync(join(repositoryRoot, name), join(copy, name), { recursive: true });
    const outputs = join(copy, 'outputs');
    const { version } = JSON.parse(readFileSync(join(copy, 'package.json'), 'utf8'));
    const env = {
      ...process.env,
      GITHUB_REF_NAME: `v${version}`,
      GITHUB_REPOSITORY_OWNER: 'Example',
      GITHUB_OUTPUT: outputs,
    };
    // What the lockfile and Go would fetch is here already.
    const script = scriptOf('Pack the package and the chart')
      .replace('npm ci\n', `ln -s '${join(repositoryRoot, 'node_modules')}' node_modules\n`)
      .replace(/GOBIN=.*\n/, `ln -s '${dirname(program as string)}' programs\n`);
    expect(script).not.toMatch(/npm ci|go install/);
    const packed = runTool('bash', ['-c', `cd '${copy}'\n${script}`], '', env);
    expect(packed.status, packed.said).toBe(0);
    expect(readFileSync(outputs, 'utf8')).toBe(`version=${version}\nowner=example\n`);
    const inPackage = (file: string) =>
      runTool('tar', ['-xzOf', join(copy, `out/npm/reprise-load-reprise-${version}.tgz`), file]).stdout;
    expect(JSON.parse(inPackage('package/package.json'))).toMatchObject({
      author: expect.stringMatching(/./),
      bugs: { url: 'https://github.com/reprise-load/reprise/issues' },
      repository: { type: 'git', url: 'git+https://github.com/reprise-load/reprise.git' },
    });
    const chart = join(copy, `out/chart/reprise-${version}.tgz`);
    const values = parse(runTool('tar', ['-xzOf', chart, 'reprise/values.yaml']).stdout);
    expect(values.image.repository).toBe('ghcr.io/example/reprise');
    // Links in the checkout, files in the package.
    const { stdout: packedFiles } = runTool('tar', ['-tzvf', chart]);
    for (const file of ['alerts.yaml', 'dashboards/recorder.json', 'dashboards/replay.json'])
      expect(packedFiles).toMatch(new RegExp(`^-.* reprise/files/${file}$`, 'm'));
  });

  test('announces what the newest entry of the changelog says', () => {
    const line = (scriptOf('Publish the release with what changed') as string)
      .split('\n')
      .find((each) => each.startsWith('awk '));
    const { stdout, status } = runTool('bash', [
      '-c',
      `cd '${repositoryRoot}'; ${line?.replace('> notes.md', '')}`,
    ]);
    expect(status).toBe(0);
    const [, newest] = readFileSync(join(repositoryRoot, 'CHANGELOG.md'), 'utf8').split(/^## .*\n/m);
    expect(stdout).toBe(newest);
  });
});
