import { Command } from 'commander';
import { LIMITS } from '../core/limits.ts';
import { parseCount } from '../core/units.ts';
import { readHostLimits } from '../monitors/host-limits.ts';
import { parseEndpoint } from '../proxy/endpoint.ts';
import { ask } from './control.ts';
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
import { EXIT } from './exit.ts';
import { PROBE_LISTEN } from './record-flags.ts';
import { forwardersOf, probeAddressOf } from './record-options.ts';
import { tableLines, terminal } from './terminal.ts';

interface DoctorFlags {
  readonly dir: string;
  readonly listen?: string;
  readonly probeListen: string;
  readonly target?: string;
  readonly forwarders: string;
  readonly maxConnections: string;
  readonly json?: boolean;
}

/** `reprise doctor`: whether this host can record and replay, and what would make it better. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check what a recording or a replay needs of this host; changes nothing')
    .option('--dir <directory>', 'where a capture would be kept', '.')
    .option('--listen <address>', 'where clients would connect')
    .option('--probe-listen <address>', 'with --listen: where probes would be answered', PROBE_LISTEN)
    .option('--target <url>', 'the model server')
    .option('--forwarders <n>', 'as record would have it', '1')
    .option('--max-connections <n>', 'as record would have it', String(LIMITS.connections))
    .option('--json', 'print one JSON document')
    .action(async (flags: DoctorFlags) => {
      const findings = await examine(flags);
      if (flags.json) terminal.json({ schema: 'reprise-doctor/1', findings });
      else terminal.print(...linesOf(findings));
      if (findings.some(({ result }) => result === 'fail')) process.exitCode = EXIT.fail;
    });
}

async function examine(flags: DoctorFlags): Promise<Finding[]> {
  const limits = readHostLimits();
  const size = {
    forwarders: forwardersOf(flags.forwarders),
    maxConnections: parseCount(flags.maxConnections, '--max-connections'),
  };
  const listen =
    flags.listen === undefined ? undefined : parseEndpoint(flags.listen, '--listen', { anyPort: true });
  const target = flags.target === undefined ? [] : [parseEndpoint(flags.target, '--target')];
  const probes = listen === undefined ? null : probeAddressOf(flags.probeListen);
  const served = listen === undefined ? [] : await servedBy(flags.dir);
  return [
    nodeFinding(process.versions.node),
    cpuFinding(limits),
    memoryFinding(limits, size),
    openFilesFinding(limits, size),
    coreFinding(limits),
    diskFinding(flags.dir),
    ...encryptionFindings(flags.dir),
    timerFinding(),
    ...(listen === undefined ? [] : [await listenFinding(listen, served)]),
    ...(probes === null
      ? []
      : [await probeFinding({ kind: 'tcp', tls: false, ...probes }, { listen, served })]),
    ...(await Promise.all(target.map((endpoint) => targetFinding(endpoint)))),
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

function linesOf(findings: readonly Finding[]): string[] {
  const rows = findings.map(({ check, result, found }) => [check, result, found]);
  const advice = findings.flatMap(({ check, advice: what }) => (what === null ? [] : [`${check}: ${what}`]));
  return [
    ...tableLines([{ title: 'check' }, { title: 'result' }, { title: 'found' }], rows),
    ...(advice.length === 0 ? [] : ['', ...advice]),
  ];
}
