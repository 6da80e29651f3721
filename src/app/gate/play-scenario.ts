import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { z } from 'zod';
import { AppError, reasonOf } from '../../core/errors.ts';
import { choice, list, type ResolvedOptions } from '../../core/options.ts';
import { formatMs } from '../../core/units.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import type { ComparisonDocument } from '../../documents/comparison.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import type { StatementDocument } from '../../documents/statement.ts';
import { type PresetName, SCENARIO_PRESETS } from './scenario-presets.ts';
import type { PlayTest, TestEnd } from './scenario-queue.ts';

export const SCENARIO_OPTIONS = {
  preset: choice(
    '--preset <kind>',
    `run a kind of test on a capture: ${Object.keys(SCENARIO_PRESETS).join(', ')}`,
    Object.keys(SCENARIO_PRESETS) as PresetName[],
  ),
  target: list('--target <url>', 'the server to test, in place of that of the scenario; two are compared'),
  set: list('--set <key=value>', 'override a setting of the scenario'),
};

/** The largest output of a command. The document of a run has some hundred kilobytes. */
const DOCUMENT_BYTES = 64 * 1024 * 1024;
/** Only the end of a command's stderr is kept, because errors are there. */
const SAID_BYTES = 4 * 1024;
/** A stopped replay still waits for its last answers. */
const STOP_MS = 45_000;
/** Most reasons, because an event log shows them in one line. */
const MOST_REASONS = 10;

const PASSED = 0;
/** The verdicts of a comparison of two targets, for a gate. */
const OF_COMPARISON: Readonly<Record<string, string>> = { SAME: 'PASS', BETTER: 'PASS', WORSE: 'FAIL' };
/**
 * Exit statuses of a failed test. 5 means that a guard stopped the run. If the target fails every request, this run has
 * a verdict too.
 */
const FAILED: ReadonlySet<number | null> = new Set([3, 5]);

/** The used parts of the document that `reprise run --json` prints. */
const judged = z.object({
  verdict: z.string().nullish(),
  run: z.string().nullish(),
  reasons: z.array(z.object({ code: z.string(), text: z.string() })).default([]),
  limits: z
    .array(z.object({ code: z.string(), text: z.string(), decides: z.boolean() }))
    .default([])
    .describe('Of a statement, in place of reasons.'),
  moreS: z.number().nullish(),
});
/** What a dry run prints of a scenario of two targets. */
const alternated = z.object({
  settings: z.object({
    target: z.array(z.string()).length(2),
    repeat: z.union([z.string(), z.number()]).optional(),
  }),
});

/**
 * Runs each scenario by the command in a process of its own. So the memory of a test is freed at its end.
 * @param command the program and its first arguments, such as `node bin/reprise.js`
 * @param files scenario files by name
 * @param budgetMs how long two targets are replayed further while noise leaves them undecided
 */
export function playByCommand(
  command: readonly string[],
  files: ReadonlyMap<string, string>,
  budgetMs: number,
): PlayTest {
  return async (scenario, signal) => {
    try {
      const [program = '', ...first] = command;
      const args = [...first, '--log-format', 'json', 'run', files.get(scenario) ?? '', '--json'];
      const planned = budgetMs > 0 ? await run(program, [...args, '--dry-run'], signal) : null;
      return endOf(await run(program, [...args, ...goingOn(planned, budgetMs)], signal));
    } catch (error) {
      return { result: 'INCONCLUSIVE', reasons: [`it could not be started: ${reasonOf(error)}`], run: null };
    }
  };
}

/** The setting by which a scenario of two targets goes on, unless it has a budget of its own. */
function goingOn(planned: Ended | null, budgetMs: number): string[] {
  const { settings } = alternated.safeParse(parsed(planned?.stdout ?? null)).data ?? {};
  if (settings === undefined || String(settings.repeat).includes('budget')) return [];
  const times = settings.repeat === undefined ? '' : `${settings.repeat},`;
  return ['--set', `repeat=${times}budget=${budgetMs}ms`];
}

interface Ended {
  readonly status: number | null;
  /** Null if the output was larger than any document. */
  readonly stdout: string | null;
  readonly said: string;
}

async function run(program: string, args: readonly string[], signal: AbortSignal): Promise<Ended> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: Buffer[] = [];
  let [bytes, said] = [0, ''];
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= DOCUMENT_BYTES) chunks.push(chunk);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-SAID_BYTES);
  });
  let killing: NodeJS.Timeout | null = null;
  const stop = () => {
    child.kill('SIGTERM');
    killing = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  };
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, stdout: bytes > DOCUMENT_BYTES ? null : Buffer.concat(chunks).toString(), said };
  } finally {
    signal.removeEventListener('abort', stop);
    if (killing !== null) clearTimeout(killing);
  }
}

/** A scenario that produced a document. */
export interface PlayedScenario {
  /** Exit status of the command. 0: a pass or a result, 3: FAIL, 4: INCONCLUSIVE, 5: ended by a guard, 143: stopped. */
  readonly status: number | null;
  /** Its `kind` shows which it is. That of two targets is a comparison. */
  readonly document: ReplayDocument | CapacityDocument | ComparisonDocument | StatementDocument;
}

/**
 * Runs one scenario by the command, in a process of its own.
 * @param command the program and its first arguments
 * @param named the file of a scenario; with a preset, the directory of a capture
 * @throws AppError with the command's message if it produced no document
 */
export async function playScenario(
  command: readonly string[],
  named: string,
  options: ResolvedOptions<typeof SCENARIO_OPTIONS>,
  signal: AbortSignal,
): Promise<PlayedScenario> {
  const { status, document } = await documentBy<PlayedScenario['document']>(
    [...command, 'run', named, ...argsOf(options)],
    signal,
  );
  return { status, document };
}

/** Checks scenarios by a dry run of each. @throws AppError for an invalid one */
export async function assertScenarios(command: readonly string[], files: Iterable<string>): Promise<void> {
  const { signal } = new AbortController();
  for (const file of files) await documentBy([...command, 'run', file, '--dry-run'], signal);
}

function argsOf({ preset, target, set }: ResolvedOptions<typeof SCENARIO_OPTIONS>): string[] {
  return [
    ...(preset === null ? [] : [`--preset=${preset}`]),
    ...target.map((each) => `--target=${each}`),
    ...set.map((each) => `--set=${each}`),
  ];
}

/** The document that a command prints. @throws AppError with the command's message if it prints none */
async function documentBy<Document>(
  [program = '', ...args]: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly status: number | null; readonly document: Document }> {
  const { status, stdout, said } = await run(program, [...args, '--json'], signal);
  const document = parsed(stdout) as Document | null;
  if (document !== null) return { status, document };
  const [, message = said, hint = null] = /reprise: (.*?)(?:\n {2}hint: (.*))?$/s.exec(said.trim()) ?? [];
  const code = status === 2 ? 'INPUT_INVALID' : status === 5 ? 'TARGET_UNREACHABLE' : 'INTERNAL';
  throw new AppError(code, message || `the scenario ended with ${status ?? 'a signal'}`, { hint });
}

/** A pass needs both the exit status and the verdict. Everything else proves nothing. */
function endOf({ status, stdout, said }: Ended): TestEnd {
  const document = judged.safeParse(parsed(stdout)).data;
  const given = document?.verdict ?? null;
  const verdict = given === null ? null : (OF_COMPARISON[given] ?? given);
  const run = document?.run ?? null;
  const limits = document?.limits.filter(({ decides }) => decides) ?? [];
  const reasons = [...(document?.reasons ?? []), ...limits]
    .slice(0, MOST_REASONS)
    .map(({ code, text }) => `${code}: ${text}`);
  if (document?.moreS != null)
    reasons.push(`more_needed: about ${formatMs(document.moreS * 1e3)} more of both targets would tell`);
  if (status === PASSED && verdict === 'PASS') return { result: 'PASS', reasons: [], run };
  if (FAILED.has(status) && verdict === 'FAIL') return { result: 'FAIL', reasons, run };
  if (reasons.length > 0) return { result: 'INCONCLUSIVE', reasons, run };
  if (status === PASSED)
    return {
      result: 'INCONCLUSIVE',
      reasons: ['there is no verdict: a replay needs an objective, and a search has none'],
      run,
    };
  const lines = said.trim().split('\n').slice(-MOST_REASONS);
  return { result: 'INCONCLUSIVE', reasons: [`exit status ${status ?? 'by a signal'}`, ...lines], run };
}

function parsed(stdout: string | null): unknown {
  try {
    return JSON.parse(stdout ?? '');
  } catch {
    // It ended without a document. Its exit status and stderr have the reason.
    return null;
  }
}
