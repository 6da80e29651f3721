import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterwards } from './leftovers.ts';

/** Bytes of one block of the cache: 16 tokens of 4 bytes. */
const BLOCK = 64;

/**
 * A model server with a cache of prefixes, as vLLM has one: a prompt reuses the whole blocks that an earlier prompt began
 * with. The first token takes as long as the rest of the prompt needs.
 */
export class PromptCacheServer {
  /** How many of the newest prompts it keeps; 0 for no cache. */
  keeps = 1_000;
  /** Whether answers report the tokens from the cache. */
  reports = true;
  /** Milliseconds per token that is not in the cache. */
  perTokenMs = 0;
  readonly prompts: string[] = [];
  #hits = 0;
  #queries = 0;
  #blocks: (readonly string[])[] = [];
  readonly #server = createServer((request, response) => {
    if (request.url === '/metrics') {
      response.setHeader('content-type', 'text/plain; version=0.0.4').end(this.#metrics());
      return;
    }
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', async () => {
      const { messages = [] } = JSON.parse(Buffer.concat(pieces).toString()) as {
        messages?: { content: string }[];
      };
      const prompt = messages.map(({ content }) => content).join('\n');
      const tokens = Math.ceil(Buffer.byteLength(prompt) / 4);
      const cached = this.#lookUp(prompt, tokens);
      await sleep((tokens - cached) * this.perTokenMs);
      const usage = {
        prompt_tokens: tokens,
        completion_tokens: 2,
        ...(this.reports && { prompt_tokens_details: { cached_tokens: cached } }),
      };
      response.setHeader('content-type', 'text/event-stream');
      for (const content of ['yes', ' sir'])
        response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`);
      response.end(
        `data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\n` +
          `data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`,
      );
    });
  });

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** It is closed when the test ends. */
  async listen(): Promise<this> {
    afterwards(() => {
      this.#server.close();
      this.#server.closeAllConnections();
    });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  empty(): void {
    this.#blocks = [];
  }

  #lookUp(prompt: string, tokens: number): number {
    this.prompts.push(prompt);
    const blocks = prompt.match(new RegExp(`.{${BLOCK}}`, 'gs')) ?? [];
    const common = this.#blocks.map((known) => {
      const at = blocks.findIndex((block, place) => block !== known[place]);
      return at < 0 ? blocks.length : at;
    });
    const cached = Math.max(0, ...common) * (BLOCK / 4);
    this.#blocks = this.keeps === 0 ? [] : [...this.#blocks, blocks].slice(-this.keeps);
    this.#hits += cached;
    this.#queries += tokens;
    return cached;
  }

  #metrics(): string {
    return [
      ['prefix_cache_queries', this.#queries],
      ['prefix_cache_hits', this.#hits],
    ]
      .map(
        ([name, value]) =>
          `# TYPE vllm:${name}_total counter\nvllm:${name}_total{engine="0",model_name="m"} ${value}\n`,
      )
      .join('');
  }
}

export interface Conversation {
  /** Its name. */
  readonly chat: string;
  readonly turns: number;
  /** The prompt that all have in common. */
  readonly system: string;
  /** Milliseconds from an answer to the next turn. */
  readonly thinkMs?: number;
}

/** Sends the turns of a conversation, each with all before it. */
export async function converse(
  port: number,
  { chat, turns, system, thinkMs = 20 }: Conversation,
): Promise<void> {
  const messages = [{ role: 'system', content: system }];
  for (let turn = 0; turn < turns; turn += 1) {
    messages.push({
      role: 'user',
      content: `Question ${turn} of ${chat}: ${`${chat} asks more `.repeat(12)}`,
    });
    const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-session-id': chat },
      body: JSON.stringify({
        model: 'm',
        stream: true,
        stream_options: { include_usage: true },
        messages,
      }),
    });
    await answer.text();
    messages.push({ role: 'assistant', content: 'yes sir' });
    await sleep(thinkMs);
  }
}
