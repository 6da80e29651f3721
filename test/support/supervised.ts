import { join } from 'node:path';
import { afterEach } from 'vitest';
import { entryPath } from '../../src/app/workers.ts';
import type { RecorderSettings } from '../../src/cli/recording.ts';
import { systemClock } from '../../src/core/clock.ts';
import { LIMITS } from '../../src/core/limits.ts';
import type { Pair } from '../../src/proxy/data-plane.ts';
import type { Endpoint } from '../../src/proxy/endpoint.ts';
import { GATEWAY_DEFAULTS } from '../../src/proxy/http/options.ts';
import type { ForwarderOptions } from '../../src/proxy/messages.ts';
import { Supervisor } from '../../src/proxy/supervisor.ts';
import type { RecordingEnd } from '../../src/proxy/supervisor-deps.ts';
import { DEFAULT_RECORDING_POLICY } from '../../src/redaction/recording-policy.ts';
import { LogBook } from './log-book.ts';
import type { Plane } from './planes.ts';
import { repositoryRoot } from './shared-data.ts';
import { temporaryDirectory } from './temp-dir.ts';

const running = new Set<() => Promise<unknown>>();
afterEach(async () => {
  for (const stop of [...running]) await stop();
});

export interface Supervised {
  readonly supervisor: Supervisor<RecorderSettings>;
  readonly directory: string;
  readonly port: number;
  readonly log: LogBook;
  readonly stop: () => Promise<RecordingEnd>;
}

export interface SupervisedOptions {
  readonly forwarders?: number;
  readonly recorderEntry?: string;
  readonly mode?: Plane;
}

/** A supervisor in this very process, with forwarders and a recorder of its own. */
export async function startSupervised(
  targetPort: number,
  { forwarders = 1, recorderEntry = entryPath('recorder'), mode = 'wire' }: SupervisedOptions = {},
): Promise<Supervised> {
  const directory = join(temporaryDirectory(), 'capture');
  const log = new LogBook();
  const supervisor = new Supervisor<RecorderSettings>({
    forwarderEntry: entryPath('forwarder'),
    recorderEntry,
    forwarder: planeTo(targetPort, mode),
    forwarders,
    recorder: {
      dir: directory,
      targets: [`127.0.0.1:${targetPort}`],
      policy: DEFAULT_RECORDING_POLICY,
      hashKeyFile: null,
      encryptionKeyFile: null,
      maxDiskBytes: null,
      retainMs: null,
      fleetSize: null,
    },
    directory,
    version: '0',
    probeListen: { host: '127.0.0.1', port: 0 },
    captureReady: () => undefined,
    estimated: () => undefined,
    sealer: { seal: async () => undefined, stopWithin: () => undefined },
    settleSealed: async () => undefined,
    logger: log,
    clock: systemClock,
  });
  const stop = () => {
    running.delete(stop);
    return supervisor.stop({ delayMs: 0, deadlineMs: 5_000 });
  };
  const [bound] = await supervisor.start();
  running.add(stop);
  return { supervisor, directory, log, stop, port: (bound as Endpoint & { port: number }).port };
}

/** The entry of a recorder that dies of requests whose path names poison. */
export const MORTAL_RECORDER = join(repositoryRoot, 'test', 'support', 'mortal-recorder.ts');

function planeTo(targetPort: number, mode: Plane): ForwarderOptions {
  const pairs: Pair[] = [
    {
      listen: { kind: 'tcp', host: '127.0.0.1', port: 0, tls: false },
      target: { kind: 'tcp', host: '127.0.0.1', port: targetPort, tls: false },
    },
  ];
  if (mode === 'gateway') return { mode, ...GATEWAY_DEFAULTS, pairs };
  return {
    mode,
    pairs,
    reusePort: false,
    maxConnections: LIMITS.connections,
    refused: 'reset',
    tls: null,
    upstreamTls: null,
    acceptProxyProtocol: false,
    sendProxyProtocol: null,
  };
}
