import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { parseDurationMs } from '../../core/units.ts';
import type { TestName, TestQueue, TestView } from './scenario-queue.ts';

const BODY_BYTES = 64 * 1024;
/** A request may wait so long for the end of a test. */
const LONGEST_WAIT_MS = 3_600_000;
const ID_LENGTH = 200;

interface Answer {
  readonly status: number;
  readonly type: 'application/json' | 'text/plain';
  readonly body: string;
}

const id = z.string().min(1).max(ID_LENGTH);
/** What Flagger posts; `metadata` is as the Canary states it. */
const flaggerBody = z.object({
  name: z.string().min(1).max(ID_LENGTH),
  namespace: z.string().min(1).max(ID_LENGTH),
  checksum: id,
  metadata: z.record(z.string(), z.string()).nullish(),
});
const argoBody = z.object({ id }).partial();

/**
 * The HTTP face of a gate. Both kinds of caller name a deployment, by an id or by Flagger's checksum: the first request
 * starts its test, others join it.
 *
 * - `GET` or `POST /argo/SCENARIO?id=ID`: JSON with `result` for the `web` provider of Argo Rollouts; 503 where a wait
 *   ends before the test.
 * - `POST /flagger/SCENARIO`: Flagger's webhook; 200 only for a pass. `/flagger/SCENARIO/rollback` is 200 only for a
 *   fail, and starts nothing.
 * - `GET /tests`, `/livez`.
 *
 * With `wait=TIME` a request waits for the end of the test. Browsers are refused: a page must not reach a local port.
 * @see https://argoproj.github.io/argo-rollouts/analysis/web/ and https://docs.flagger.app/usage/webhooks
 */
export class GateServer {
  readonly server: Server;
  readonly #queue: TestQueue;
  readonly #scenarios: ReadonlySet<string>;
  readonly #token: string | null;
  readonly #closing = new AbortController();

  /** @param token what callers must show; null for nothing */
  constructor(queue: TestQueue, scenarios: Iterable<string>, token: string | null) {
    this.#queue = queue;
    this.#scenarios = new Set(scenarios);
    this.#token = token;
    this.server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
      void this.#respond(request, response);
    });
    this.server.maxConnections = LIMITS.probeConnections;
  }

  /** Lets go of the requests that wait. */
  close(): void {
    this.#closing.abort();
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    const { status, type, body } = await this.#answerOf(request, signal);
    if (!request.complete) response.setHeader('Connection', 'close');
    response.writeHead(status, {
      'Content-Type': `${type}; charset=utf-8`,
      'Content-Length': Buffer.byteLength(body),
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
    });
    response.end(body);
  }

  async #answerOf(request: IncomingMessage, signal: AbortSignal): Promise<Answer> {
    const { headers, method = 'GET', url = '/' } = request;
    if (headers['user-agent']?.startsWith('Mozilla/') || headers.origin !== undefined) {
      return text(403, 'browsers are refused');
    }
    try {
      const { pathname, searchParams } = new URL(url, 'http://gate');
      const [kind = '', scenario = '', ...rest] = pathname.split('/').slice(1).map(decodeURIComponent);
      if (kind === 'livez' && scenario === '') return text(200, 'alive');
      const body = method === 'POST' ? parsedJson(await bodyOf(request)) : null;
      const flagger = kind === 'flagger' ? flaggerBody.safeParse(body) : null;
      if (!this.#isAllowed(headers.authorization, flagger?.data?.metadata?.['token'])) {
        return text(401, 'the token is missing or wrong');
      }
      if (kind === 'tests' && scenario === '') return json(200, { tests: this.#queue.list() });
      if ((kind !== 'argo' && kind !== 'flagger') || !this.#scenarios.has(scenario)) {
        return text(404, `there is no ${pathname}; scenarios: ${[...this.#scenarios].join(', ')}`);
      }
      const waitMs = waitOf(searchParams.get('wait') ?? flagger?.data?.metadata?.['wait']);
      if (flagger !== null) return await this.#flagger(scenario, flagger, rest, waitMs, signal);
      return await this.#argo(
        scenario,
        searchParams.get('id') ?? argoBody.parse(body ?? {}).id,
        waitMs,
        signal,
      );
    } catch (error) {
      return refusal(error);
    }
  }

  async #argo(
    scenario: string,
    asked: string | undefined,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<Answer> {
    const known = id.safeParse(asked);
    if (!known.success) return text(400, `give an id of 1 to ${ID_LENGTH} characters: ?id=REVISION`);
    const test = await this.#test({ scenario, subject: 'argo', id: known.data }, waitMs, signal);
    if (test === null) return full();
    // Argo takes any 200 for a measurement, and may take none after it; an error is asked again.
    return json(waitMs > 0 && test.result === 'RUNNING' ? 503 : 200, test);
  }

  async #flagger(
    scenario: string,
    { data, error }: ReturnType<typeof flaggerBody.safeParse>,
    rest: readonly string[],
    waitMs: number,
    signal: AbortSignal,
  ): Promise<Answer> {
    if (data === undefined) return text(400, `this is no webhook of Flagger: ${z.prettifyError(error)}`);
    const subject = `${data.namespace}/${data.name}`;
    const name = { scenario, subject, id: `${subject}/${data.checksum}` };
    if (rest.length === 0) {
      const test = await this.#test(name, waitMs, signal);
      return test === null ? full() : text(test.result === 'PASS' ? 200 : statusOf(test), sentenceOf(test));
    }
    if (rest.length > 1 || rest[0] !== 'rollback')
      return text(404, 'there is only /rollback below a scenario');
    const test = this.#queue.look(name);
    if (test === null) return text(404, 'nobody has asked for this test');
    return text(test.result === 'FAIL' ? 200 : statusOf(test), sentenceOf(test));
  }

  /** Null where too many wait. */
  #test(name: TestName, waitMs: number, signal: AbortSignal): Promise<TestView | null> {
    const until = waitMs === 0 ? AbortSignal.abort() : AbortSignal.timeout(waitMs);
    return this.#queue.ask(name, AbortSignal.any([signal, until]));
  }

  #isAllowed(authorization: string | undefined, stated: string | undefined): boolean {
    if (this.#token === null) return true;
    const given = authorization?.replace(/^Bearer /, '') ?? stated ?? '';
    const digest = (value: string) => createHash('sha256').update(value).digest();
    return timingSafeEqual(digest(given), digest(this.#token));
  }
}

/** 409 says that it is too early to tell, 422 that the answer is no. */
function statusOf({ result }: TestView): number {
  return result === 'RUNNING' ? 409 : 422;
}

function sentenceOf({ result, reasons, scenario, run, ahead }: TestView): string {
  const where = run === null ? '' : ` (run ${run})`;
  if (result === 'RUNNING') return `${scenario}: ${ahead === 0 ? 'playing' : `waiting, ${ahead} before it`}`;
  return [`${scenario}: ${result}${where}`, ...reasons].join('; ');
}

function full(): Answer {
  return text(429, 'too many tests wait already, or the gate is stopping');
}

function text(status: number, line: string): Answer {
  return { status, type: 'text/plain', body: `${line}\n` };
}

function json(status: number, document: object): Answer {
  return { status, type: 'application/json', body: `${JSON.stringify(document)}\n` };
}

function waitOf(stated: string | null | undefined): number {
  return stated == null ? 0 : Math.min(LONGEST_WAIT_MS, parseDurationMs(stated, 'wait'));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length;
    if (bytes > BODY_BYTES) throw new AppError('INPUT_INVALID', `a body has at most ${BODY_BYTES} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString();
}

function parsedJson(body: string): unknown {
  if (body === '') return null;
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new AppError('INPUT_INVALID', 'the body is no JSON', { cause });
  }
}

/** What a caller did wrong is said; what went wrong here may hold paths, and is not. */
function refusal(error: unknown): Answer {
  if (error instanceof AppError || error instanceof URIError) return text(400, reasonOf(error));
  if (error instanceof z.ZodError) return text(400, z.prettifyError(error));
  return text(500, 'this could not be answered');
}
