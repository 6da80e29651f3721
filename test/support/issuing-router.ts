import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What one session has been given. */
interface Issued {
  readonly server: number;
  readonly conversation: string;
  readonly cookie: string;
  readonly responses: Set<string>;
  readonly calls: Set<string>;
  readonly files: Set<string>;
  /** Replays that sent requests of it. */
  readonly runs: Set<string>;
}

/** Tokens that each turn adds to the prompt of its conversation. */
const TURN_TOKENS = 64;

/** What three servers hold of prompts: each has the conversations that it answered, as long as they were then. */
class PromptCaches {
  readonly #lengths = new Map<string, number>();
  readonly #cached = new Map<string, number>();
  #asked = 0;
  #hit = 0;

  /** Share of all tokens of prompts that the server which got them had in its cache. */
  get hitShare(): number {
    return this.#hit / this.#asked;
  }

  /** A prompt goes to a server. @returns its usage */
  ask(server: number, conversation: string): object {
    const at = `${server} ${conversation}`;
    const length = (this.#lengths.get(conversation) ?? 0) + TURN_TOKENS;
    const cached_tokens = this.#cached.get(at) ?? 0;
    this.#lengths.set(conversation, length);
    this.#cached.set(at, length);
    this.#asked += length;
    this.#hit += cached_tokens;
    return { input_tokens: length, output_tokens: 8, input_tokens_details: { cached_tokens } };
  }
}

const newId = (prefix: string): string => prefix + randomBytes(15).toString('base64url');

/**
 * A router in front of three servers of responses. Each server knows only its own sessions, and answers 404 to an id, a
 * token or a cookie that the session was not given.
 */
export class IssuingRouter {
  readonly #sessions = new Map<string, Issued>();
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  /** Answers by status and path. */
  readonly answers: string[] = [];
  readonly unknown: string[] = [];
  readonly cancelled = new Set<string>();
  /** Requests by server, and how long an answer takes. */
  readonly served = [0, 0, 0];
  delayMs: (body: string) => number = () => 5;
  readonly caches = new PromptCaches();
  /** Whether unknown ids are refused. Else whoever has an unknown token is taken for a new session. */
  refuses = true;
  /** Whether answers have tool calls. */
  callsTools = true;
  port = 0;

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** The replays that sent requests of a session, by session. */
  get runsBySession(): readonly (readonly string[])[] {
    return [...this.#sessions.values()].map(({ runs }) => [...runs]);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const piece of request) body += String(piece);
    const token = request.headers['x-session-token'];
    const isNew = token === undefined || (!this.refuses && !this.#sessions.has(String(token)));
    const key = isNew ? newId('st_') : String(token);
    if (isNew) {
      const server = this.#sessions.size % 3;
      const [responses, calls, files] = [new Set<string>(), new Set<string>(), new Set<string>()];
      const conversation = String(request.headers['x-session-id']);
      const given = { responses, calls, files, runs: new Set<string>() };
      this.#sessions.set(key, { server, conversation, cookie: newId('r'), ...given });
    }
    const session = this.#sessions.get(key);
    if (session === undefined) {
      this.#refuse(response, `token ${key}`);
      return;
    }
    const cookie = /(?:^|; )route=([^;]*)/.exec(request.headers.cookie ?? '')?.[1];
    if (this.refuses && !isNew && cookie !== session.cookie) {
      this.#refuse(response, `cookie ${cookie}`);
      return;
    }
    session.runs.add(String(request.headers['x-reprise-run']));
    const headers: Record<string, string> = { 'x-session-token': key };
    if (isNew) headers['set-cookie'] = `route=${session.cookie}; Path=/; HttpOnly`;
    this.served[session.server]! += 1;
    await sleep(this.delayMs(body));
    this.#serve(request.url ?? '', request.headers['content-type'] ?? '', body, session, headers, response);
  }

  #serve(
    path: string,
    contentType: string,
    body: string,
    session: Issued,
    headers: Record<string, string>,
    response: ServerResponse,
  ): void {
    const json = (document: object, more: Record<string, string> = {}): void => {
      this.answers.push(`200 ${path.replace(/resp_[\w-]+/, '{id}')}`);
      response.writeHead(200, { ...headers, ...more, 'content-type': 'application/json' });
      response.end(JSON.stringify(document));
    };
    const cancelled = /^\/v1\/responses\/([^/]+)\/cancel$/.exec(path)?.[1];
    if (cancelled !== undefined) {
      if (this.refuses && !session.responses.has(cancelled)) {
        this.#refuse(response, `response ${cancelled}`);
        return;
      }
      this.cancelled.add(cancelled);
      json({ status: 'cancelled' });
      return;
    }
    if (contentType.startsWith('multipart/')) {
      const parent = /name="parent_file_id"\r\n\r\n([^\r]*)/.exec(body)?.[1];
      if (parent !== undefined && !session.files.has(parent)) {
        this.#refuse(response, `file ${parent}`);
        return;
      }
      const id = newId('file-');
      session.files.add(id);
      json({ id, object: 'file' });
      return;
    }
    const asked = JSON.parse(body) as {
      previous_response_id?: string;
      stream?: boolean;
      input: string | { call_id: string }[];
    };
    const before = asked.previous_response_id;
    if (this.refuses && before !== undefined && !session.responses.has(before)) {
      this.#refuse(response, `response ${before}`);
      return;
    }
    for (const { call_id } of Array.isArray(asked.input) ? asked.input : [])
      if (this.refuses && !session.calls.has(call_id)) {
        this.#refuse(response, `call ${call_id}`);
        return;
      }
    const id = newId('resp_');
    session.responses.add(id);
    const usage = this.caches.ask(session.server, session.conversation);
    const calls = Array.from({ length: this.callsTools ? 2 : 0 }, () => newId('call_'));
    for (const call of calls) session.calls.add(call);
    const output = calls.map((call_id) => ({
      type: 'function_call',
      call_id,
      name: 'look_up',
      arguments: '{}',
    }));
    if (asked.stream !== true) {
      json({ id, object: 'response', status: 'completed', output, usage });
      return;
    }
    void this.#stream(id, { output, usage }, headers, response);
  }

  /** Answers with events. The last ones come after a moment in which the client may cancel. */
  async #stream(
    id: string,
    { output, usage }: { readonly output: readonly object[]; readonly usage: object },
    headers: Record<string, string>,
    response: ServerResponse,
  ): Promise<void> {
    response.writeHead(200, { ...headers, 'content-type': 'text/event-stream' });
    const event = (type: string, data: object): void => {
      response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
    };
    event('response.created', { response: { id } });
    for (let left = 40; left > 0 && !this.cancelled.has(id); left -= 1) await sleep(5);
    for (const item of output) event('response.output_item.added', { item });
    event('response.completed', { response: { id, output, usage } });
    this.answers.push('200 stream');
    response.end();
  }

  #refuse(response: ServerResponse, what: string): void {
    this.answers.push('404');
    this.unknown.push(what);
    response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}');
  }
}

/** An agent of one session, as its client library would speak. */
export class Agent {
  readonly #base: string;
  readonly #headers: Record<string, string>;

  constructor(port: number, session: string) {
    this.#base = `http://127.0.0.1:${port}`;
    this.#headers = { 'x-session-id': session };
  }

  async ask(path: string, body: string | FormData): Promise<Response> {
    const type = typeof body === 'string' ? { 'content-type': 'application/json' } : {};
    const response = await fetch(`${this.#base}${path}`, {
      method: 'POST',
      headers: { ...this.#headers, ...type },
      body,
    });
    this.#headers['x-session-token'] ??= response.headers.get('x-session-token') ?? '';
    this.#headers['cookie'] ??= response.headers.get('set-cookie')?.split(';')[0] ?? '';
    return response;
  }

  /** A turn. @returns the id of the response, and those of its calls */
  async turn(previous: string | null, calls: readonly string[]): Promise<{ id: string; calls: string[] }> {
    const input = calls.length === 0 ? 'What is new?' : calls.map((call_id) => ({ call_id, output: 'done' }));
    const before = previous === null ? {} : { previous_response_id: previous };
    const response = await this.ask('/v1/responses', JSON.stringify({ model: 'm', input, ...before }));
    const { id, output } = (await response.json()) as { id: string; output: { call_id: string }[] };
    return { id, calls: output.map(({ call_id }) => call_id) };
  }

  /** A streamed turn, which is cancelled by its id while it streams. */
  async cancelledTurn(previous: string): Promise<{ id: string; calls: string[] }> {
    const body = { model: 'm', stream: true, input: 'Think long.', previous_response_id: previous };
    const response = await this.ask('/v1/responses', JSON.stringify(body));
    let [text, id] = ['', ''];
    for await (const piece of response.body ?? []) {
      text += Buffer.from(piece).toString();
      const found = /"id":"(resp_[^"]+)"/.exec(text)?.[1];
      if (found === undefined || id !== '') continue;
      id = found;
      await (await this.ask(`/v1/responses/${id}/cancel`, '{}')).text();
    }
    return { id, calls: [...text.matchAll(/"call_id":"([^"]+)"/g)].map(([, call = '']) => call) };
  }

  async upload(parent: string | null): Promise<string> {
    const form = new FormData();
    if (parent !== null) form.set('parent_file_id', parent);
    form.set('purpose', 'assistants');
    return ((await (await this.ask('/v1/files', form)).json()) as { id: string }).id;
  }
}
