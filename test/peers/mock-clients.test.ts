import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { npmPackages } from '../support/peer-tools.ts';
import { type RunningProcess, runProcess, startReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const VERSION = '7.59.0';
const sdk = npmPackages([`openai@${VERSION}`]);
const folder = temporaryDirectory();

/** Asks by OpenAI's own client: a completion, a stream, a list of models, and a request that nobody recorded. */
const CLIENT = `
import { createRequire } from 'node:module';
const require = createRequire(process.argv[2] + '/');
const { OpenAI } = require('openai');
const client = new OpenAI({ baseURL: process.argv[3] + '/v1', apiKey: process.argv[4], maxRetries: 0 });
const messages = [{ role: 'user', content: 'Hello' }];
const whole = await client.chat.completions.create({ model: 'm', messages });
const stream = await client.chat.completions.create({ model: 'm', messages, stream: true });
let text = '';
for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
const models = (await client.models.list()).data.map(({ id }) => id);
const other = await client.chat.completions.create({ model: 'm', messages: [...messages, ...messages] });
const missing = await client.embeddings.create({ model: 'm', input: 'x' }).catch((error) => error.status);
console.log(JSON.stringify({
  whole: whole.choices[0].message.content, text, models, missing, other: other.choices[0].message.content,
  usage: whole.usage.total_tokens,
}));
`;

/** A server of OpenAI's API, as much of it as the client asks. */
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const json = (document: object, status = 200) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(document));
  };
  if (request.url === '/v1/models') json({ object: 'list', data: [{ id: 'm', object: 'model' }] });
  else if (request.url !== '/v1/chat/completions') json({ error: { message: 'none' } }, 404);
  else if (JSON.parse(body).stream !== true) {
    const message = { role: 'assistant', content: 'Hello from production' };
    const usage = { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 };
    json({ object: 'chat.completion', model: 'm', choices: [{ index: 0, message }], usage });
  } else {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const content of ['A ', 'recorded ', 'stream']) {
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`);
      await sleep(20);
    }
    response.end('data: [DONE]\n\n');
  }
});

async function ask(base: string, key: string) {
  const { status, stdout, stderr } = await runProcess(process.execPath, [
    ...[join(folder, 'client.mjs'), 'path' in sdk ? sdk.path : '', base, key],
  ]);
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

let mock: RunningProcess;

beforeAll(async () => {
  if ('missing' in sdk) throw new Error(sdk.missing);
  writeFileSync(join(folder, 'client.mjs'), CLIENT);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const capture = join(folder, 'capture');
  const { port } = server.address() as AddressInfo;
  const recording = await startRecording(port, capture, ['--bodies', 'all']);
  await ask(`http://127.0.0.1:${recording.port}`, 'sk-of-production');
  await recording.stop();
  server.close();
  mock = startReprise(['--log-format', 'json', 'mock', capture, '--listen', '127.0.0.1:0', '--json']);
});
afterAll(() => server.close());

describe('a mock', () => {
  test(`serves the OpenAI SDK ${VERSION} what production answered, with the server gone`, async () => {
    const [, port] = await mock.waitFor('stderr', /"address":"127\.0\.0\.1:(\d+)"/);
    const answers = await ask(`http://127.0.0.1:${port}`, 'sk-of-a-laptop');
    expect(answers).toEqual({
      whole: 'Hello from production',
      text: 'A recorded stream',
      models: ['m'],
      usage: 4,
      other: 'Hello from production',
      missing: 404,
    });
    const { stdout } = await mock.kill('SIGTERM');
    // The 404 of production is a recorded answer too.
    expect(JSON.parse(stdout)).toMatchObject({ requests: 5, exact: 5, nearest: 0, unknown: 0 });
  });
});
