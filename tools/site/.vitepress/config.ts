import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitepress';

const REPOSITORY = join(import.meta.dirname, '..', '..', '..');

/** The site's side bar is the list of pages in docs/README.md: its headings are groups, its links pages. */
function sidebar() {
  const groups: { text: string; collapsed: boolean; items: { text: string; link: string }[] }[] = [];
  for (const line of readFileSync(join(REPOSITORY, 'docs', 'README.md'), 'utf8').split('\n')) {
    const heading = /^##+ (.+)$/.exec(line)?.[1];
    if (heading !== undefined) groups.push({ text: heading, collapsed: false, items: [] });
    const [, text, file] = /^- \[([^\]]+)\]\(([^):]+)\.md\)/.exec(line) ?? [];
    if (text !== undefined) groups.at(-1)?.items.push({ text, link: join('/docs', `${file}.html`) });
  }
  return groups;
}

/** The anchor of a heading, as GitHub makes it, so that one link serves both. */
function slugify(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

/** The pages are built from a copy, because Vue is looked for in the folders above a page. */
const PAGES = join(import.meta.dirname, '..', 'pages');
rmSync(PAGES, { recursive: true, force: true });
for (const part of [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'docs',
  'deploy/README.md',
  'bench/README.md',
]) {
  cpSync(join(REPOSITORY, part), join(PAGES, part), { recursive: true });
}

export default defineConfig({
  title: 'Reprise',
  description: 'Records the real traffic of a model server and plays it back against staging.',
  srcDir: './pages',
  outDir: '../../artefacts/site',
  cacheDir: './cache',
  // The home page is the README, whose links are from the root as well.
  rewrites: { 'README.md': 'index.md' },
  markdown: { anchor: { slugify }, headers: { slugify } },
  // Links to files that are no pages: the files themselves lie beside the pages, see buildEnd.
  ignoreDeadLinks: [
    /\/deploy(?:\/|$)/,
    /\.(?:json|ya?ml|ts|service)$/,
    /^(?:\.\.?\/)+LICENSE$/,
    /Dockerfile/,
  ],
  buildEnd({ outDir }) {
    for (const folder of ['deploy', 'docs']) {
      const isFile = (path: string) => !path.endsWith('.md');
      cpSync(join(REPOSITORY, folder), join(outDir, folder), { recursive: true, filter: isFile });
    }
    cpSync(join(REPOSITORY, 'LICENSE'), join(outDir, 'LICENSE'));
  },
  themeConfig: {
    sidebar: sidebar(),
    nav: [{ text: 'First load test', link: '/docs/start/first-load-test.html' }],
    search: { provider: 'local' },
    outline: [2, 3],
  },
});
