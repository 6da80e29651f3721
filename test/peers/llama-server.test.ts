import { join } from 'node:path';
import { expect } from 'vitest';
import { profileSchema } from '../../src/documents/profile.ts';
import { runCommand } from '../support/command-here.ts';
import { afterwards } from '../support/leftovers.ts';
import { needing } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { startProcess } from '../support/process.ts';
import { converse } from '../support/prompt-cache.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SYSTEM = 'You answer the questions of customers about their orders, briefly and politely. '.repeat(4);
const [CHATS, TURNS] = [20, 5];
/** A turn comes long after the answer before it, so that a busy machine without a cache keeps up with the recording. */
const THINK_MS = 150;

/** llama.cpp's server with a model of random weights. */
async function llamaServer(python: string, cache: 'cache' | 'no-cache'): Promise<string> {
  const program = join(repositoryRoot, 'test/peers/programs/llama_server.py');
  const server = startProcess(python, [program, temporaryDirectory(), cache]);
  afterwards(() => server.kill('SIGKILL'));
  const [, url = ''] = await server.waitFor('stdout', /^(http:\S+)/m);
  return url;
}

/** Conversations with a common system prompt, one after another: what is found in the cache depends on their order. */
async function talk(port: number): Promise<void> {
  for (let chat = 0; chat < CHATS; chat += 1)
    await converse(port, { chat: `customer ${chat}`, turns: TURNS, system: SYSTEM, thinkMs: THINK_MS });
}

const codesOf = (found: readonly { readonly code: string }[]) => found.map(({ code }) => code);
const TTFT = ['--slo', 'ttft: p(50)<60000'];

needing(
  pythonWith(['xllamacpp==2026.10.11549', 'gguf==0.19.0']),
  "a replay hits the cache of llama.cpp's server as often as production did, and a server without one is told",
  async (python) => {
    const production = await llamaServer(python, 'cache');
    const capture = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(Number(new URL(production).port), capture, [
      ...['--identify-session', 'x-session-id'],
    ]);
    await talk(recording.port);
    expect((await recording.stop()).end).toMatchObject({ lost: {}, recorded: { turns: CHATS * TURNS } });

    const { stdout } = await runCommand(['profile', capture, '--json']);
    const { reuse } = profileSchema.parse(JSON.parse(stdout));
    const recorded = reuse?.reported?.share ?? 0;
    expect(recorded).toBeGreaterThan(0.5);
    expect(recorded).toBeLessThanOrEqual(reuse?.upperBound ?? 0);

    const like = documentOf(await replay(capture, await llamaServer(python, 'cache'), ['--json', ...TTFT]));
    expect(like).toMatchObject({ sent: CHATS * TURNS, failed: 0 });
    expect(codesOf([...like.reasons, ...like.notes])).not.toContain('cache_unlike');
    expect(Math.abs((like.cacheHits?.sent?.share ?? 0) - recorded)).toBeLessThan(0.03);

    const unlike = await replay(capture, await llamaServer(python, 'no-cache'), ['--json', ...TTFT]);
    const { verdict, reasons, cacheHits } = documentOf(unlike);
    expect([verdict, cacheHits?.sent?.cachedTokens]).toEqual(['INCONCLUSIVE', 0]);
    expect(codesOf(reasons)).toContain('cache_unlike');
  },
);
