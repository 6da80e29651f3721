import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runProcess } from './process.ts';
import { repositoryRoot } from './shared-data.ts';
import { temporaryDirectory } from './temp-dir.ts';

/** The published package as a user installs it: packed, and unpacked in the `node_modules` of a project. */
export interface InstalledPackage {
  /** The project in which it is installed. */
  readonly project: string;
  /** The packed file. */
  readonly tarball: string;
  /** `bin/reprise.js` of the installed package. */
  readonly bin: string;
  /** Every file of the tarball, from the package's root. */
  readonly files: readonly string[];
}

/** The packed files, and the files that are needed for the build. */
const PACKED = [
  ...['bin', 'src', 'docs', 'deploy', 'bench', 'scripts', 'tools/node', 'package.json', 'tsconfig.json'],
  ...['tsconfig.build.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'],
];

/**
 * Packs a copy of the checkout (which builds it) and installs the tarball in `project`. It uses a copy, because two
 * concurrent builds would delete each other's output. Declared dependencies are linked from the checkout, so no
 * registry is needed.
 */
export async function packAndInstall(project: string): Promise<InstalledPackage> {
  const copy = temporaryDirectory();
  for (const path of PACKED) cpSync(join(repositoryRoot, path), join(copy, path), { recursive: true });
  symlinkSync(join(repositoryRoot, 'node_modules'), join(copy, 'node_modules'));
  const packed = await runProcess('npm', ['pack', '--json', '--pack-destination', project], { cwd: copy });
  if (packed.status !== 0) throw new Error(`npm pack failed\n${packed.stdout}\n${packed.stderr}`);
  const { filename, files } = readManifest(packed.stdout);
  const modules = join(project, 'node_modules');
  const root = join(modules, '@reprise-load', 'reprise');
  mkdirSync(root, { recursive: true });
  const tarball = join(project, filename);
  const unpacked = await runProcess('tar', ['-xzf', tarball, '-C', root, '--strip-components=1']);
  if (unpacked.status !== 0) throw new Error(`tar failed\n${unpacked.stderr}`);
  linkDependencies(root, modules);
  const paths = files.map(({ path }) => path).sort();
  return { project, tarball, bin: join(root, 'bin', 'reprise.js'), files: paths };
}

interface PackManifest {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** Parses the output of npm: a list of packages, or since version 12 an object by name. */
function readManifest(json: string): PackManifest {
  const printed = JSON.parse(json) as readonly PackManifest[] | Readonly<Record<string, PackManifest>>;
  const [manifest] = Object.values(printed);
  if (manifest === undefined) throw new Error(`npm pack named no package: ${json}`);
  return manifest;
}

function linkDependencies(root: string, modules: string): void {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies: Readonly<Record<string, string>>;
  };
  for (const name of Object.keys(dependencies)) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(repositoryRoot, 'node_modules', name), join(modules, name));
  }
}
