import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { systemClock } from '../../core/clock.ts';
import { AppError, Problems, reasonOf } from '../../core/errors.ts';
import { type Asked, listOf, readOptions, text, value } from '../../core/options.ts';
import type { Logger } from '../../core/ports.ts';
import { parseCount, parsePositiveMs, refused } from '../../core/units.ts';
import { type Endpoint, formatEndpoint, isLoopback, parseEndpoint } from '../../proxy/net/endpoint.ts';
import { listenOn } from '../../proxy/net/listen.ts';
import { GateServer } from './gate-server.ts';
import { playByCommand } from './play-scenario.ts';
import { type PlayTest, type QueueLimits, TestQueue } from './scenario-queue.ts';

export const GATE_OPTIONS = {
  serve: text('--serve <address>', 'address to answer on, such as 127.0.0.1:8099', { required: true }),
  scenario: listOf('--scenario <name=file>', 'a scenario that may be asked for, by this name', parseNamed, {
    required: true,
  }),
  tokenFile: text('--token-file <file>', 'file with a token that callers must show'),
  queue: value('--queue <n>', 'tests that may wait for the one that plays', parseCount, { default: '8' }),
  remember: value(
    '--remember <time>',
    'how long the end of a test is the answer to the same id; then it is played again',
    parsePositiveMs,
    { default: '24h' },
  ),
};

/** Ends of tests that are remembered at most. */
const REMEMBERED = 1_000;
const NAME = /^([A-Za-z0-9][\w.-]{0,99})=(.+)$/;

function parseNamed(stated: string, what: string): readonly [name: string, file: string] {
  const [, name, file] = NAME.exec(stated) ?? [];
  if (name !== undefined && file !== undefined) return [name, file];
  throw refused(what, stated, 'is not NAME=FILE', 'Such as --scenario spike=tests/spike.yaml.');
}

/** How a gate is to run. */
export interface GateOptions {
  readonly endpoint: Endpoint;
  /** Files by name. */
  readonly scenarios: ReadonlyMap<string, string>;
  readonly token: string | null;
  readonly limits: QueueLimits;
}

/** @throws AppError OPTION_INVALID listing every problem */
export function resolveGateOptions(asked: Asked<typeof GATE_OPTIONS>): GateOptions {
  const problems = new Problems();
  const read = readOptions(GATE_OPTIONS, asked, problems);
  const endpoint = problems.attempt(() => parseEndpoint(read.serve, '--serve', { anyPort: true }), null);
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
  return { endpoint: endpoint as Endpoint, scenarios, token, limits };
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

/** A gate that answers. */
export interface RunningGate {
  readonly address: string;
  /** Ends the test that plays, answers those who wait, and stops. */
  stop(): Promise<void>;
}

/**
 * Answers deployment controllers, and plays the test they ask for.
 * @param command what plays a scenario: the program and its first arguments
 * @throws AppError LISTEN_FAILED
 */
export async function startGate(
  { endpoint, scenarios, token, limits }: GateOptions,
  command: readonly string[],
  logger: Logger,
): Promise<RunningGate> {
  const play = logged(playByCommand(command, scenarios), logger);
  const versionOf = (scenario: string) => digestOf(scenarios.get(scenario) ?? '');
  const queue = new TestQueue({ play, versionOf }, systemClock, limits);
  const gate = new GateServer(queue, scenarios.keys(), token);
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

/** Of a file, to see that it has changed. One that cannot be read plays nothing, and its test says why. */
function digestOf(file: string): string {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('hex');
  } catch (error) {
    return reasonOf(error);
  }
}

/** One line when a test begins, and one when it ends. */
function logged(play: PlayTest, logger: Logger): PlayTest {
  return async (scenario, signal) => {
    logger.info({ scenario }, 'test started');
    const end = await play(scenario, signal);
    logger.info({ scenario, ...end }, 'test ended');
    return end;
  };
}
