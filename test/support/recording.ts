import { type ProcessOptions, type RunningProcess, startReprise } from './process.ts';

/** A `reprise record` under test. */
export interface RecordingProcess {
  readonly process: RunningProcess;
  readonly port: number;
  /** Drains and seals. Returns the final account. */
  readonly stop: () => Promise<FinalAccount>;
  /** Its process ids by role. */
  readonly children: () => { proxy: number; recorder: number };
}

export interface FinalAccount {
  readonly status: number | null;
  readonly log: readonly LogLine[];
  /** The last line: cut, seen, recorded, lost, omitted, pending … */
  readonly end: LogLine;
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly message: string };

/** Flags for tests: no drain delay, because there is no load balancer, and fail open
 * and append, as in deployments. */
const QUICK = [
  '--fail-open',
  '--append',
  '--drain-delay',
  '0s',
  '--drain-deadline',
  '5s',
  '--probe-listen',
  'off',
] as const;

/** Starts a recorder in front of a port of this machine and waits until it listens and records. */
export async function startRecording(
  targetPort: number,
  directory: string,
  flags: readonly string[] = [],
  options: ProcessOptions = {},
): Promise<RecordingProcess> {
  const args = ['--target', `127.0.0.1:${targetPort}`, '--listen', '127.0.0.1:0', '--dir', directory];
  const process = startReprise([...['--log-format', 'json', 'record', ...args], ...QUICK, ...flags], options);
  const [, port] = await process.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/);
  await process.waitFor('stderr', /"state":"(HEALTHY|OFF)"/);
  return {
    process,
    port: Number(port),
    stop: async () => {
      process.child.kill('SIGTERM');
      return await accountOf(process);
    },
    children: () => childrenOf(process),
  };
}

/** Waits until a recording has ended, for any reason. */
export async function accountOf(process: RunningProcess): Promise<FinalAccount> {
  const { status, stderr } = await process.finished;
  const log = stderr
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine);
  return { status, log, end: log.at(-1) as LogLine };
}

function childrenOf(process: RunningProcess): { proxy: number; recorder: number } {
  const started = [...process.stderr.matchAll(/"pid":(\d+),"message":"recorder started"/g)];
  return { proxy: process.child.pid ?? 0, recorder: Number(started.at(-1)?.[1] ?? 0) };
}
