// `node scripts/versions.mjs [TAG]`: checks that all files of this repository name the version of package.json, and
// that the tag does too. With exit status 1 it prints each place that differs. Runs on any Node since 18, from the
// root.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const wrong = [];

/** Patterns of versions by file. The named group of each match must be the version. */
const PLACES = [
  ['deploy', /\breprise[:@](?<version>\d+\.\d+\.\d+[\w.-]*)/g],
  ['docs', /\breprise[:@](?<version>\d+\.\d+\.\d+[\w.-]*)/g],
  ['deploy', /\breprise-(?<version>\d\S*?)\.tgz/g],
  ['docs', /\breprise-(?<version>\d\S*?)\.tgz/g],
  ['deploy/Dockerfile', /image\.version="(?<version>[^"]+)"/g],
  ['deploy/helm/reprise/Chart.yaml', /^(?:appVersion|version): (?<version>\S+)$/gm],
  ['deploy/helm/model/Chart.yaml', /name: reprise\n +version: (?<version>\S+)$/gm],
  ['docs/guides/helm.md', /name: reprise\n +version: (?<version>\S+)$/gm],
  [
    'package-lock.json',
    /^(?:\{| {4}"": \{)\n +"name": "@reprise-load\/reprise",\n +"version": "(?<version>[^"]+)"/gm,
  ],
  ['CHANGELOG.md', /^## (?<version>\d\S*)/m],
];

for (const [place, pattern] of PLACES) {
  const found = filesOf(place).flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(new RegExp(pattern, 'gm'))].map((match) => [
      file,
      match.groups.version,
    ]),
  );
  // The newest entry of the changelog is the first.
  const held = place === 'CHANGELOG.md' ? found.slice(0, 1) : found;
  if (held.length === 0 && place !== 'docs') wrong.push(`${place} names no version`);
  for (const [file, other] of held) if (other !== version) wrong.push(`${file} names ${other}`);
}

const tag = process.argv[2];
if (tag !== undefined) {
  if (tag !== `v${version}`) wrong.push(`the tag is ${tag}`);
  if (/^## .*unreleased/m.test(readFileSync('CHANGELOG.md', 'utf8')))
    wrong.push('CHANGELOG.md has "unreleased"');
}

console.log([version, ...wrong].join('\n'));
process.exitCode = wrong.length === 0 ? 0 : 1;

function filesOf(path) {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesOf(join(path, name)));
}
