import { type RunningProcess, startReprise } from './process.ts';

/** A `reprise record` under test. */
export interface RecordingProcess {
  readonly process: RunningProcess;
  readonly port: number;
  /** Drains and seals; the final account. */
  readonly stop: () => Promise<FinalAccount>;
  /** Process ids of its children, by what they do. */
  readonly children: () => { forwarder: number; recorder: number };
}

export interface FinalAccount {
  readonly status: number | null;
  readonly log: readonly LogLine[];
  /** The last line: cut, seen, recorded, lost, omitted, pending … */
  readonly end: LogLine;
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly message: string };

/** Starts a recorder in front of a port of this machine and waits until it listens and records. */
export async function startRecording(
  targetPort: number,
  directory: string,
  flags: readonly string[] = [],
): Promise<RecordingProcess> {
  const args = ['--target', `127.0.0.1:${targetPort}`, '--listen', '127.0.0.1:0', '--dir', directory];
  const process = startReprise([
    '--log-format',
    'json',
    'record',
    ...args,
    '--drain-deadline',
    '5s',
    ...flags,
  ]);
  const [, port] = await process.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/);
  await process.waitFor('stderr', /"state":"(HEALTHY|OFF)"/);
  return {
    process,
    port: Number(port),
    stop: async () => {
      const { status, stderr } = await process.kill('SIGTERM');
      const log = stderr
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as LogLine);
      return { status, log, end: log.at(-1) as LogLine };
    },
    children: () => childrenOf(process),
  };
}

function childrenOf(process: RunningProcess): { forwarder: number; recorder: number } {
  const pids = new Map<string, number>();
  for (const match of process.stderr.matchAll(/"pid":(\d+),"message":"(forwarder|recorder) started"/g)) {
    pids.set(match[2] as string, Number(match[1]));
  }
  return { forwarder: pids.get('forwarder') ?? 0, recorder: pids.get('recorder') ?? 0 };
}
