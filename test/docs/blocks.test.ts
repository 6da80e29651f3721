import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { blocksOf, commandsOf, docPages, isShell } from './doc-blocks.ts';
import { type Ground, makeGround, Scene } from './scene.ts';

/** The demo records for half a minute. */
const GROUND_MS = 180_000;

let ground: Ground;
beforeAll(async () => {
  ground = await makeGround();
}, GROUND_MS);
afterAll(() => ground.close());

describe('every command of a page is run as it is printed', () => {
  // The page that takes longest is among the last, and would be left to run alone.
  const pages = docPages()
    .filter((page) => blocksOf(page).some(isShell))
    .toReversed();
  test.concurrent.each(pages)('%s', async (page) => {
    const blocks = blocksOf(page);
    const scene = await Scene.of(page, blocks, ground);
    try {
      for (const block of blocks) {
        if (block.file !== null) scene.write(block.file, block.text);
        else if (isShell(block) && block.notRun === null) await scene.run(block);
      }
    } finally {
      await scene.close();
    }
  });
});

describe('what a page says our tests do not run is still checked', () => {
  const notRun = docPages()
    .flatMap(blocksOf)
    .filter((block) => isShell(block) && block.notRun !== null);

  test.each(notRun.map((block) => [block.at, block] as const))('%s', async (_, block) => {
    const script = commandsOf(block).join('\n');
    expect(await runProcess('bash', ['-n'], { stdin: script })).toMatchObject({ status: 0, stderr: '' });
    const files = [...script.matchAll(/(?:-f|-k) (deploy\/\S+)/g)].map(([, path = '']) => path);
    expect(files.filter((path) => !existsSync(join(repositoryRoot, path)))).toEqual([]);
    for (const [line] of script.matchAll(
      /(?<=^(?:npx )?)reprise (?:record|replay|doctor|faults --listen).*/gm,
    )) {
      const words = await runProcess('bash', [
        '-c',
        `printf '%s\\n' ${line.replace('reprise ', '').replace(/ &$/, '')}`,
      ]);
      const printed = await runCommand(['config', 'print', ...words.stdout.trimEnd().split('\n')]);
      expect(printed, line).toMatchObject({ status: 0 });
    }
  });
});
