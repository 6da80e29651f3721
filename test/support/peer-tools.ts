import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { repositoryRoot } from './shared-data.ts';

/** Programs of others that a suite runs. They are installed once for each checkout and kept. */
const CACHE = join(repositoryRoot, 'node_modules', '.cache', 'reprise-peers');
const INSTALL_MS = 300_000;

/** The path of a tool, or why it is missing. */
export type Tool = { readonly path: string } | { readonly missing: string };

/**
 * Python packages in a separate virtual environment.
 * @param packages Exact requirements, such as `pyyaml==6.0.3`.
 * @param interpreter the one of the environment
 * @returns the path of its python
 */
export function pythonWith(packages: readonly string[], interpreter = 'python3'): Tool {
  const hash = createHash('sha256').update(packages.join('\n'));
  if (interpreter !== 'python3') hash.update(interpreter);
  const name = hash.digest('hex').slice(0, 12);
  const home = join(CACHE, `python-${name}`);
  const python = join(home, 'bin', 'python');
  return installed(home, python, () => [
    [interpreter, ['-m', 'venv', home]],
    [python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]],
  ]);
}

/**
 * Packages of the npm registry in a separate folder.
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

/** A program built from one of our Go files that needs only the standard library. */
export function goBuilt(source: string): Tool {
  const name = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const home = join(CACHE, `go-built-${name}`);
  const program = join(home, 'program');
  return installed(home, program, () => [['go', ['build', '-o', program, source]]]);
}

/** A program built from a directory with a `go.mod` and a `go.sum`, which state its exact modules. */
export function goPackage(directory: string): Tool {
  const sources = ['main.go', 'go.mod', 'go.sum'].map((name) => readFileSync(join(directory, name)));
  const name = createHash('sha256').update(Buffer.concat(sources)).digest('hex').slice(0, 12);
  const home = join(CACHE, `go-package-${name}`);
  const program = join(home, 'program');
  return installed(home, program, () => [['go', ['-C', directory, 'build', '-o', program, '.']]]);
}

/** The directory with the source of a Go module, which contains schemas. */
export function goModule(module: string): Tool {
  const { status, stdout, stderr } = spawnSync('go', ['mod', 'download', '-json', module], {
    cwd: '/',
    encoding: 'utf8',
    timeout: INSTALL_MS,
  });
  if (status !== 0) return { missing: `${module} cannot be downloaded: ${(stderr ?? 'no go').trim()}` };
  return { path: (JSON.parse(stdout) as { Dir: string }).Dir };
}

/** The root directory of a minimal Debian, like a base image. Needs root and debootstrap. */
export function debianRoot(release: string): Tool {
  const home = join(CACHE, `debian-${release}`);
  const root = join(home, 'root');
  return installed(home, root, () => [['debootstrap', ['--variant=minbase', release, root]]]);
}

/** A program of this machine. */
export function systemProgram(name: string): Tool {
  const { status, stdout } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
  return status === 0 ? { path: stdout.trim() } : { missing: `${name} is not installed` };
}

type Step = readonly [command: string, args: readonly string[], environment?: Record<string, string>];

/**
 * Runs the steps unless they ran before. An incomplete installation is restarted. If several processes need it at once,
 * one installs it under a lock that ends with the process, and the others wait.
 */
export function installed(home: string, program: string, steps: () => readonly Step[]): Tool {
  const done = join(home, '.complete');
  if (existsSync(done)) return { path: program };
  mkdirSync(dirname(home), { recursive: true });
  const lock = new Database(`${home}.lock`, { timeout: 2 * INSTALL_MS });
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return existsSync(done) ? { path: program } : made(home, done, program, steps());
  } finally {
    lock.close();
  }
}

function made(home: string, done: string, program: string, steps: readonly Step[]): Tool {
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  for (const [command, args, environment] of steps) {
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
