import { ask } from '../app/recorder-control.ts';
import { LIMITS } from '../core/limits.ts';
import { type ResolvedOptions, text, value } from '../core/options.ts';
import { parseCount } from '../core/units.ts';
import { readHostLimits } from '../monitors/host-limits.ts';
import { parseEndpoint } from '../proxy/net/endpoint.ts';
import { PROBE_LISTEN, probeAddressOf } from './commands/record-options.ts';
import { encryptionFindings } from './doctor-capture.ts';
import {
  coreFinding,
  cpuFinding,
  diskFinding,
  type Finding,
  listenFinding,
  memoryFinding,
  nodeFinding,
  openFilesFinding,
  probeFinding,
  targetFinding,
  timerFinding,
} from './doctor-checks.ts';

export const DOCTOR_OPTIONS = {
  dir: text('--dir <directory>', 'where a capture would be kept', { default: '.' }),
  listen: value('--listen <address>', 'where clients would connect', (address, what) =>
    parseEndpoint(address, what, { anyPort: true }),
  ),
  probeListen: value(
    '--probe-listen <address>',
    'with --listen: where probes would be answered',
    probeAddressOf,
    { default: PROBE_LISTEN },
  ),
  target: value('--target <url>', 'the model server', (address, what) => parseEndpoint(address, what)),
  maxConnections: value('--max-connections <n>', 'as record would have it', parseCount, {
    default: String(LIMITS.connections),
  }),
};
export type DoctorOptions = ResolvedOptions<typeof DOCTOR_OPTIONS>;

/** Looks at what a recording or a replay needs of this host; changes nothing. */
export async function examine(options: DoctorOptions): Promise<Finding[]> {
  const { dir, listen, probeListen, target } = options;
  const limits = readHostLimits();
  const served = listen === null ? [] : await servedBy(dir);
  return [
    nodeFinding(process.versions.node),
    cpuFinding(limits),
    memoryFinding(limits, options),
    openFilesFinding(limits, options),
    coreFinding(limits),
    diskFinding(dir),
    ...encryptionFindings(dir),
    timerFinding(),
    ...(listen === null ? [] : [await listenFinding(listen, served)]),
    ...(listen === null || probeListen === null
      ? []
      : [await probeFinding({ kind: 'tcp', tls: false, ...probeListen }, { listen, served })]),
    ...(target === null ? [] : [await targetFinding(target)]),
  ];
}

/** Where the recording of this directory listens, if one runs: in its own container it is what holds the port. */
async function servedBy(directory: string): Promise<string[]> {
  try {
    return (await ask(directory, 'GET', '/status')).pairs.map(({ listen }) => listen);
  } catch {
    // None runs, or it belongs to somebody else: then what holds the port is a stranger to whoever asks.
    return [];
  }
}
