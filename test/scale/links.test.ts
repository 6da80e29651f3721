import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Linker } from '../../src/inference/links/linker.ts';

const SESSIONS = 10_000;
const TURNS = 12;
const PROMPT = 'Tell me about the history of the town of Bath in one paragraph, please. '.repeat(20);
const issued = (prefix: string) => prefix + randomBytes(18).toString('base64url');

function requestOf(session: Buffer, user: string, last: string | null) {
  const body = JSON.stringify({
    model: 'gpt-4o-mini',
    user,
    max_output_tokens: 512,
    previous_response_id: last,
    tools: [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } }],
    input: [{ role: 'user', content: PROMPT }],
  });
  const head = `POST /v1/responses HTTP/1.1\r\nhost: model\r\nuser-agent: OpenAI/Python 1.0\r\naccept: application/json\r\nx-session-id: ${session.toString('hex')}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  return {
    session,
    route: 'POST /v1/responses',
    head,
    body: Buffer.from(body),
    contentType: 'application/json',
  };
}

function answerOf(id: string): Buffer {
  const content = [{ type: 'output_text', text: 'The city was founded by the Romans. '.repeat(8) }];
  const output = [{ type: 'message', id: issued('msg_'), role: 'assistant', content }];
  return Buffer.from(JSON.stringify({ id, object: 'response', model: 'gpt-4o-mini-2024', output }));
}

function median(times: number[]): string {
  const at = times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
  return `${(at / 1e3).toFixed(1)} µs`;
}

describe('linking', () => {
  it('forgets no value of 10,000 open sessions with 12 turns each', () => {
    let missed = 0;
    const linker = new Linker([1, 2], () => {
      missed += 1;
    });
    const sessions = Array.from({ length: SESSIONS }, () => ({
      key: randomBytes(8),
      user: issued('user-'),
      last: null as string | null,
    }));
    const times = { request: [] as number[], answer: [] as number[] };
    let links = 0;
    const before = process.memoryUsage().arrayBuffers;
    for (let turn = 0; turn < TURNS; turn += 1) {
      for (const session of sessions) {
        const id = issued('resp_');
        const [request, answer] = [requestOf(session.key, session.user, session.last), answerOf(id)];
        const startNs = process.hrtime.bigint();
        const linked = linker.request(request);
        const askedNs = process.hrtime.bigint();
        const issuer = { number: linked.number, session: session.key };
        linker.answerDocument(answer, (low, high, place) => linker.issue(issuer, low, high, place));
        times.request.push(Number(askedNs - startNs));
        times.answer.push(Number(process.hrtime.bigint() - askedNs));
        links += linked.links.length;
        session.last = id;
      }
    }
    const mib = (process.memoryUsage().arrayBuffers - before) / 2 ** 20;
    console.log(
      `linking: request ${median(times.request)}, answer ${median(times.answer)}, tables about ${mib.toFixed(1)} MiB`,
    );
    expect(links).toBe(SESSIONS * (TURNS - 1));
    expect(missed).toBe(0);
  });
});
