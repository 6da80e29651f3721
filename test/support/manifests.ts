import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { repositoryRoot } from './shared-data.ts';

export const deploy = join(repositoryRoot, 'deploy');
export const guide = readFileSync(join(repositoryRoot, 'docs', 'guides', 'kubernetes.md'), 'utf8');

// biome-ignore lint/suspicious/noExplicitAny: manifests are other people's trees, read at a dozen places
export type Manifest = any;

export function yamlOf(path: string): Manifest {
  return parse(readFileSync(join(deploy, path), 'utf8'));
}

export function filesUnder(directory: string): string[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });
}
