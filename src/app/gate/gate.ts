import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server } from 'node:http';
import { z } from 'zod';
import { systemClock } from '../../core/clock.ts';
import { AppError, Problems, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { type Asked, listOf, readOptions, text as textOption, value } from '../../core/options.ts';
import type { Logger } from '../../core/ports.ts';
import { parseCount, parseDurationMs, parsePositiveMs, refused } from '../../core/units.ts';
import { type Endpoint, formatEndpoint, isLoopback, parseEndpoint } from '../../proxy/net/endpoint.ts';
import { listenOn } from '../../proxy/net/listen.ts';
import { type Answer, bodyOf, json, smallServer, text } from '../../proxy/net/small-server.ts';
import { playByCommand } from './play-scenario.ts';
import {
  type PlayTest,
  type QueueLimits,
  type TestName,
  TestQueue,
  type TestView,
} from './scenario-queue.ts';

const BODY_BYTES = 64 * 1024;
const REQUEST_MS = 10_000;
/** The longest time that a request may wait for the end of a test. */
const LONGEST_WAIT_MS = 3_600_000;
const ID_LENGTH = 200;

const id = z.string().min(1).max(ID_LENGTH);
/** The body of Flagger's webhook. `metadata` is from the Canary. */
const flaggerBody = z.object({
  name: z.string().min(1).max(ID_LENGTH),
  namespace: z.string().min(1).max(ID_LENGTH),
  checksum: id,
  metadata: z.record(z.string(), z.string()).nullish(),
});
const argoBody = z.object({ id }).partial();

/**
 * The HTTP interface of a gate. All callers identify a deployment, by an id or by Flagger's checksum. The first request
 * starts its test, others join it.
 *
 * - `GET` or `POST /argo/SCENARIO?id=ID`: JSON with `result` for the `web` provider of Argo Rollouts; 503 if a wait
 *   ends before the test.
 * - `POST /flagger/SCENARIO`: Flagger's webhook; 200 only for a pass. `/flagger/SCENARIO/rollback` is 200 only for a
 *   fail, and starts nothing.
 * - `GET /tests`, `/livez`.
 *
 * With `wait=TIME` a request waits for the end of the test. Browsers are refused, so that a web page cannot reach a
 * local port.
 * @see https://argoproj.github.io/argo-rollouts/analysis/web/ and https://docs.flagger.app/usage/webhooks
 */
export class GateServer {
  readonly server: Server;
  readonly #queue: TestQueue;
  readonly #scenarios: ReadonlySet<string>;
  readonly #token: string | null;
  readonly #logger: Logger;
  readonly #closing = new AbortController();

  /** @param token the token that callers must send; null for none */
  constructor(queue: TestQueue, scenarios: Iterable<string>, token: string | null, logger: Logger) {
    this.#queue = queue;
    this.#scenarios = new Set(scenarios);
    this.#token = token;
    this.#logger = logger;
    this.server = smallServer({
      connections: LIMITS.probeConnections,
      callers: 'programs',
      requestMs: REQUEST_MS,
      takesBodies: true,
      answer: (request, gone) => this.#answerOf(request, AbortSignal.any([gone, this.#closing.signal])),
    });
  }

  /** Ends all waiting requests. */
  close(): void {
    this.#closing.abort();
  }

  async #answerOf(request: IncomingMessage, signal: AbortSignal): Promise<Answer> {
    const { headers, method = 'GET', url = '/' } = request;
    try {
      const { pathname, searchParams } = new URL(url, 'http://gate');
      const [kind = '', scenario = '', ...rest] = pathname.split('/').slice(1).map(decodeURIComponent);
      if (kind === 'livez' && scenario === '') return text(200, 'alive');
      const body = method === 'POST' ? parsedJson(await bodyOf(request, BODY_BYTES)) : null;
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
      return refusal(error, this.#logger);
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
    // Argo takes any 200 as a measurement and may not ask again. After an error it does.
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

  /** Null if too many tests are waiting. */
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

/** 409 means that the result is not known yet, 422 that it is negative. */
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

function waitOf(stated: string | null | undefined): number {
  return stated == null ? 0 : Math.min(LONGEST_WAIT_MS, parseDurationMs(stated, 'wait'));
}

function parsedJson(body: string | null): unknown {
  if (body === null) throw new AppError('INPUT_INVALID', `a body has at most ${BODY_BYTES} bytes`);
  if (body === '') return null;
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new AppError('INPUT_INVALID', 'the body is no JSON', { cause });
  }
}

/** Errors of the caller are sent back. Internal errors may contain paths, so they only go to the log. */
function refusal(error: unknown, logger: Logger): Answer {
  if (error instanceof AppError || error instanceof URIError) return text(400, reasonOf(error));
  if (error instanceof z.ZodError) return text(400, z.prettifyError(error));
  logger.error({ reason: reasonOf(error) }, 'a request could not be answered');
  return text(500, 'this could not be answered');
}

export const GATE_OPTIONS = {
  serve: textOption('--serve <address>', 'address to answer on, such as 127.0.0.1:8099', { required: true }),
  scenario: listOf('--scenario <name=file>', 'a scenario that callers may start, and its name', parseNamed, {
    required: true,
  }),
  tokenFile: textOption('--token-file <file>', 'file with the token that callers must send'),
  queue: value('--queue <n>', 'tests that may wait while another runs', parseCount, { default: '8' }),
  remember: value(
    '--remember <time>',
    'how long to answer the same id with the result of its test; after that it runs again',
    parsePositiveMs,
    { default: '24h' },
  ),
  budget: value(
    '--budget <time>',
    'how much longer to alternate two targets while noise leaves them undecided, or off',
    (given, what) => (given === 'off' ? 0 : parsePositiveMs(given, what)),
    { default: '30m' },
  ),
};

/** Most ended tests that are remembered. */
const REMEMBERED = 1_000;
const NAME = /^([A-Za-z0-9][\w.-]{0,99})=(.+)$/;

function parseNamed(stated: string, what: string): readonly [name: string, file: string] {
  const [, name, file] = NAME.exec(stated) ?? [];
  if (name !== undefined && file !== undefined) return [name, file];
  throw refused(what, stated, 'is not NAME=FILE', 'Such as --scenario spike=tests/spike.yaml.');
}

/** The options of a gate. */
interface GateOptions {
  readonly endpoint: Endpoint;
  /** Scenario files by name. */
  readonly scenarios: ReadonlyMap<string, string>;
  readonly token: string | null;
  readonly limits: QueueLimits;
  /** How long two targets are replayed further while noise leaves them undecided; 0 for not at all. */
  readonly budgetMs: number;
}

/** @throws AppError OPTION_INVALID listing every problem */
export function resolveGateOptions(asked: Asked<typeof GATE_OPTIONS>): GateOptions {
  const problems = new Problems();
  const read = readOptions(GATE_OPTIONS, asked, problems);
  const endpoint = problems.optional(read.serve || null, (text) =>
    parseEndpoint(text, '--serve', { anyPort: true }),
  );
  const token = problems.optional(read.tokenFile, tokenIn);
  if (endpoint?.kind === 'tcp' && !isLoopback(endpoint.host) && read.tokenFile === null) {
    problems.add(
      `--serve ${read.serve}: other hosts could start tests`,
      'Give --token-file, or an address of this machine: 127.0.0.1:8099.',
    );
  }
  if (endpoint?.kind === 'tcp' && endpoint.tls) {
    problems.add('--serve: https:// is not spoken here', 'Put a proxy with a certificate in front.');
  }
  const scenarios = new Map(read.scenario);
  if (scenarios.size < read.scenario.length) problems.add('--scenario: a name is given twice');
  problems.throwIfAny();
  const limits = { waiting: read.queue, remembered: REMEMBERED, rememberMs: read.remember };
  return { endpoint: endpoint as Endpoint, scenarios, token, limits, budgetMs: read.budget };
}

function tokenIn(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new AppError('OPTION_INVALID', `--token-file ${file} cannot be read: ${reasonOf(cause)}`, {
      cause,
    });
  }
  if (token.length >= 16) return token;
  throw new AppError('OPTION_INVALID', `--token-file ${file}: the token has fewer than 16 characters`, {
    hint: 'Make one: openssl rand -hex 32.',
  });
}

/** A running gate. */
export interface RunningGate {
  readonly address: string;
  /** Ends the running test, answers waiting requests, and stops. */
  stop(): Promise<void>;
}

/**
 * Answers deployment controllers and runs the tests that they request.
 * @param command the command that runs a scenario: the program and its first arguments
 * @throws AppError LISTEN_FAILED
 */
export async function startGate(
  { endpoint, scenarios, token, limits, budgetMs }: GateOptions,
  command: readonly string[],
  logger: Logger,
): Promise<RunningGate> {
  const play = logged(playByCommand(command, scenarios, budgetMs), logger);
  const versionOf = (scenario: string) => digestOf(scenarios.get(scenario) ?? '');
  const queue = new TestQueue({ play, versionOf }, systemClock, limits);
  const gate = new GateServer(queue, scenarios.keys(), token, logger);
  const listening = await listenOn(gate.server, endpoint);
  return {
    address: formatEndpoint(listening.endpoint),
    stop: async () => {
      await queue.close();
      gate.close();
      listening.remove();
      gate.server.closeIdleConnections();
      await new Promise((resolve) => gate.server.close(resolve));
    },
  };
}

/** A digest of a file, to detect changes. An unreadable file fails in its test, which reports the reason. */
function digestOf(file: string): string {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('hex');
  } catch (error) {
    return reasonOf(error);
  }
}

/** Logs the start and the end of each test. */
function logged(play: PlayTest, logger: Logger): PlayTest {
  return async (scenario, signal) => {
    logger.info({ scenario }, 'test started');
    const end = await play(scenario, signal);
    logger.info({ scenario, ...end }, 'test ended');
    return end;
  };
}
