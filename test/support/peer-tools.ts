import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from './shared-data.ts';

/** Programs of others that a suite runs, installed once a checkout and kept for the next run. */
const CACHE = join(repositoryRoot, 'node_modules', '.cache', 'reprise-peers');
const INSTALL_MS = 300_000;

/** A tool that is there, or why it is not. */
export type Tool = { readonly path: string } | { readonly missing: string };

/**
 * Python packages in a virtual environment of their own.
 * @param packages Exact requirements, such as `pyyaml==6.0.3`.
 * @returns the path of its python
 */
export function pythonWith(packages: readonly string[]): Tool {
  const name = createHash('sha256').update(packages.join('\n')).digest('hex').slice(0, 12);
  const home = join(CACHE, `python-${name}`);
  const python = join(home, 'bin', 'python');
  return installed(home, python, () => [
    ['python3', ['-m', 'venv', home]],
    [python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]],
  ]);
}

/**
 * Packages of the npm registry in a folder of their own.
 * @param packages Exact, such as `ajv@8.20.0`.
 * @returns the path of its `node_modules`
 */
export function npmPackages(packages: readonly string[]): Tool {
  const name = createHash('sha256').update(packages.join('\n')).digest('hex').slice(0, 12);
  const home = join(CACHE, `npm-${name}`);
  const flags = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts'];
  return installed(home, join(home, 'node_modules'), () => [
    ['npm', ['install', '--prefix', home, ...flags, ...packages]],
  ]);
}

/** A program built from the Go module proxy, such as `example.org/tool/v5@v5.7.1`. */
export function goProgram(module: string, name: string): Tool {
  const home = join(CACHE, `go-${name}-${module.split('@')[1] ?? 'latest'}`);
  return installed(home, join(home, name), () => [['go', ['install', module], { GOBIN: home }]]);
}

/** A program built from one Go file of ours that needs the standard library only. */
export function goBuilt(source: string): Tool {
  const name = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const home = join(CACHE, `go-built-${name}`);
  const program = join(home, 'program');
  return installed(home, program, () => [['go', ['build', '-o', program, source]]]);
}

/** The source of a Go module, for the schemas that lie in it: the directory it was downloaded to. */
export function goModule(module: string): Tool {
  const { status, stdout, stderr } = spawnSync('go', ['mod', 'download', '-json', module], {
    cwd: '/',
    encoding: 'utf8',
    timeout: INSTALL_MS,
  });
  if (status !== 0) return { missing: `${module} cannot be downloaded: ${(stderr ?? 'no go').trim()}` };
  return { path: (JSON.parse(stdout) as { Dir: string }).Dir };
}

/** A program of this machine. */
export function systemProgram(name: string): Tool {
  const { status, stdout } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
  return status === 0 ? { path: stdout.trim() } : { missing: `${name} is not installed` };
}

type Step = readonly [command: string, args: readonly string[], environment?: Record<string, string>];

/** Runs the steps unless they ran before; a half-made installation is begun anew. */
function installed(home: string, program: string, steps: () => readonly Step[]): Tool {
  const done = join(home, '.complete');
  if (existsSync(done)) return { path: program };
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  for (const [command, args, environment] of steps()) {
    const { status, stderr, error } = spawnSync(command, args, {
      encoding: 'utf8',
      timeout: INSTALL_MS,
      env: { ...process.env, ...environment },
    });
    if (status !== 0)
      return { missing: `${command} ${args.join(' ')}: ${(error?.message ?? stderr).trim()}` };
  }
  writeFileSync(done, '');
  return { path: program };
}
