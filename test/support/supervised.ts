import { join } from 'node:path';
import { entryPath } from '../../src/app/package.ts';
import { Recording, type RecordingDeps, type RecordingEnd } from '../../src/app/recording/recording.ts';
import { systemClock } from '../../src/core/clock.ts';
import { LIMITS } from '../../src/core/limits.ts';
import type { PlaneOptions } from '../../src/proxy/control/messages.ts';
import type { Pair } from '../../src/proxy/data-plane.ts';
import { GATEWAY_DEFAULTS } from '../../src/proxy/http/options.ts';
import type { Endpoint } from '../../src/proxy/net/endpoint.ts';
import { DEFAULT_RECORDING_POLICY } from '../../src/redaction/recording-policy.ts';
import { afterwards } from './leftovers.ts';
import { LogBook } from './log-book.ts';
import type { Plane } from './planes.ts';
import { repositoryRoot } from './shared-data.ts';
import { temporaryDirectory } from './temp-dir.ts';

export interface Supervised {
  readonly recording: Recording;
  readonly directory: string;
  readonly port: number;
  readonly log: LogBook;
  readonly stop: () => Promise<RecordingEnd>;
}

export interface SupervisedOptions {
  readonly recorderEntry?: string;
  readonly mode?: Plane;
  readonly onSeal?: string;
}

/** The start options of a recording in front of a port of this machine. */
export function recordingDeps(
  targetPort: number,
  directory: string,
  log: LogBook,
  { recorderEntry = entryPath('recorder'), mode = 'wire', onSeal }: SupervisedOptions = {},
): RecordingDeps {
  return {
    recorderEntry,
    plane: planeTo(targetPort, mode),
    recorder: {
      dir: directory,
      append: true,
      targets: [`127.0.0.1:${targetPort}`],
      labels: {},
      policy: DEFAULT_RECORDING_POLICY,
      hashKeyFile: null,
      encryptionKeyFile: null,
      maxDiskBytes: null,
      retainMs: null,
      fleetSize: null,
      mirror: null,
      serverDetails: null,
      proto: [],
      onSeal: onSeal ?? null,
    },
    version: '0',
    failOpen: true,
    probeListen: { host: '127.0.0.1', port: 0 },
    recorderNiceness: 10,
    estimated: () => undefined,
    logger: log,
    clock: systemClock,
  };
}

/** A recording whose proxy is this process; its recorder is a child. */
export async function startSupervised(
  targetPort: number,
  options: SupervisedOptions = {},
): Promise<Supervised> {
  const directory = join(temporaryDirectory(), 'capture');
  const log = new LogBook();
  const recording = new Recording(recordingDeps(targetPort, directory, log, options));
  let end: Promise<RecordingEnd> | undefined;
  const stop = () => {
    end ??= recording.stop({ delayMs: 0, deadlineMs: 5_000 });
    return end;
  };
  const [bound] = await recording.start();
  afterwards(stop);
  return { recording, directory, log, stop, port: (bound as Endpoint & { port: number }).port };
}

/** The entry file of a recorder that dies when a request's path contains `poison`. */
export const MORTAL_RECORDER = join(repositoryRoot, 'test', 'support', 'mortal-recorder.ts');

function planeTo(targetPort: number, mode: Plane): PlaneOptions {
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
    maxConnections: LIMITS.connections,
    refused: 'reset',
    connectRetryMs: 0,
    refuseWhenDown: false,
    tls: null,
    upstreamTls: null,
    acceptProxyProtocol: false,
    sendProxyProtocol: null,
  };
}
