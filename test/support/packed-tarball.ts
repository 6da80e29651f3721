import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runProcess } from './process.ts';
import { repositoryRoot } from './shared-data.ts';

/** The published package as a user has it: packed, and unpacked below somebody else's `node_modules`. */
export interface InstalledPackage {
  /** The project it is installed in. */
  readonly project: string;
  /** `bin/reprise.js` of the installed package. */
  readonly bin: string;
  /** Every file of the tarball, from the package's root. */
  readonly files: readonly string[];
}

/**
 * Packs the checkout (which builds it) and installs the tarball in `project`. Dependencies are linked from the
 * checkout instead of fetched, so that this needs no registry; only those the package declares.
 */
export async function packAndInstall(project: string): Promise<InstalledPackage> {
  const packed = await runProcess('npm', ['pack', '--json', '--pack-destination', project], {
    cwd: repositoryRoot,
  });
  if (packed.status !== 0) throw new Error(`npm pack failed\n${packed.stdout}\n${packed.stderr}`);
  const { filename, files } = readManifest(packed.stdout);
  const modules = join(project, 'node_modules');
  const root = join(modules, 'reprise');
  mkdirSync(root, { recursive: true });
  const unpacked = await runProcess('tar', [
    '-xzf',
    join(project, filename),
    '-C',
    root,
    '--strip-components=1',
  ]);
  if (unpacked.status !== 0) throw new Error(`tar failed\n${unpacked.stderr}`);
  linkDependencies(root, modules);
  return { project, bin: join(root, 'bin', 'reprise.js'), files: files.map(({ path }) => path).sort() };
}

interface PackManifest {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** npm prints a list of packages, or since version 12 an object by name. */
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
