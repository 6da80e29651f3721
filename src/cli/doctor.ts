import { Command } from 'commander';
import { LIMITS } from '../core/limits.ts';
import { type ResolvedOptions, text, toggle, value } from '../core/options.ts';
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
import { addOptions } from './flags.ts';
import { optionsOf } from './options.ts';
import { PROBE_LISTEN } from './record-flags.ts';
import { probeAddressOf } from './record-options.ts';
import { tableLines, terminal } from './terminal.ts';

const OPTIONS = {
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
  json: toggle('--json', 'print one JSON document'),
};
type DoctorOptions = ResolvedOptions<typeof OPTIONS>;

/** `reprise doctor`: whether this host can record and replay, and what would make it better. */
export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('check what a recording or a replay needs of this host; changes nothing')
    .action(async (_: object, command: Command) => {
      const options = optionsOf(command, OPTIONS);
      const findings = await examine(options);
      if (options.json) terminal.json({ schema: 'reprise-doctor/1', findings });
      else terminal.print(...linesOf(findings));
      if (findings.some(({ result }) => result === 'fail')) process.exitCode = EXIT.fail;
    });
  return addOptions(command, OPTIONS);
}

async function examine(options: DoctorOptions): Promise<Finding[]> {
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

function linesOf(findings: readonly Finding[]): string[] {
  const rows = findings.map(({ check, result, found }) => [check, result, found]);
  const advice = findings.flatMap(({ check, advice: what }) => (what === null ? [] : [`${check}: ${what}`]));
  return [
    ...tableLines([{ title: 'check' }, { title: 'result' }, { title: 'found' }], rows),
    ...(advice.length === 0 ? [] : ['', ...advice]),
  ];
}
