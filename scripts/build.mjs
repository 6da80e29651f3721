// Builds the package's `dist` from `src`: JavaScript, one file for each source file, and its public types. Entries find
// their siblings by the same relative paths as in the sources.
import { spawnSync } from 'node:child_process';
import { cpSync, globSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { libraryTypes, typesText } from './library-types.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = join(
  dirname(createRequire(import.meta.url).resolve('typescript/package.json')),
  'bin',
  'tsc',
);

// Removes old output, so that a deleted source file does not remain in the package.
rmSync(new URL('../dist', import.meta.url), { recursive: true, force: true });
const { status, error } = spawnSync(process.execPath, [compiler, '--project', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
if (error) throw error;
process.exitCode = status ?? 1;

// Scripts that are read at run time are beside the code that reads them.
cpSync(new URL('../src', import.meta.url), new URL('../dist', import.meta.url), {
  recursive: true,
  filter: (path) => statSync(path).isDirectory() || !path.endsWith('.ts'),
});

// The public types are one file, because those of the sources name packages whose types are not installed.
if (status === 0) {
  const types = typesText(libraryTypes());
  for (const file of globSync('dist/**/*.d.ts', { cwd: root })) rmSync(join(root, file));
  writeFileSync(join(root, 'dist', 'index.d.ts'), types);
}
