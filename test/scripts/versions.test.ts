import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const script = join(repositoryRoot, 'scripts', 'versions.mjs');
const { version } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8'));

/** A copy of what names versions, with texts changed in some files. */
function changed(...changes: readonly (readonly [file: string, from: string, to: string])[]): string {
  const root = temporaryDirectory();
  for (const path of ['package.json', 'package-lock.json', 'CHANGELOG.md', 'deploy', 'docs/guides'])
    cpSync(join(repositoryRoot, path), join(root, path), { recursive: true });
  for (const [file, from, to] of changes) {
    const text = readFileSync(join(root, file), 'utf8');
    expect(text).toContain(from);
    writeFileSync(join(root, file), text.replace(from, to));
  }
  return root;
}

async function saidIn(root: string, ...args: readonly string[]) {
  const { status, stdout } = await runProcess(process.execPath, [script, ...args], { cwd: root });
  return { status, said: stdout.split('\n').slice(0, -1) };
}

describe('scripts/versions.mjs', () => {
  test('finds one version in the whole repository', async () => {
    expect(await saidIn(repositoryRoot)).toEqual({ status: 0, said: [version] });
  });

  test('names each place that differs', async () => {
    const places = [
      ['deploy/kubernetes/base/deployment.yaml', `reprise:${version}`],
      ['deploy/github/action.yml', `reprise-${version}.tgz`],
      ['deploy/Dockerfile', `image.version="${version}"`],
      ['deploy/helm/reprise/Chart.yaml', `appVersion: ${version}`],
      ['deploy/helm/model/Chart.yaml', `version: ${version}\n    #`],
      ['docs/guides/helm.md', `version: ${version}`],
      ['package-lock.json', `"version": "${version}"`],
      ['CHANGELOG.md', `## ${version}`],
    ] as const;
    const root = changed(
      ...places.map(([file, text]) => [file, text, text.replace(version, '9.9.9')] as const),
    );
    const { status, said } = await saidIn(root);
    expect(status).toBe(1);
    expect(said.slice(1).sort()).toEqual(places.map(([file]) => `${file} names 9.9.9`).sort());
  });

  test('takes the tag of the version alone, and no changelog that says unreleased', async () => {
    const text = readFileSync(join(repositoryRoot, 'CHANGELOG.md'), 'utf8');
    const heading = /^## \d.*$/m.exec(text)?.[0] as string;
    const released = changed(['CHANGELOG.md', heading, `## ${version} (2026-12-01)`]);
    expect(await saidIn(released, `v${version}`)).toMatchObject({ status: 0 });
    expect(await saidIn(released, 'v0.0.9')).toEqual({ status: 1, said: [version, 'the tag is v0.0.9'] });
    const open = changed(['CHANGELOG.md', heading, `## ${version} (unreleased)`]);
    expect((await saidIn(open, `v${version}`)).said).toEqual([version, 'CHANGELOG.md has "unreleased"']);
  });
});
