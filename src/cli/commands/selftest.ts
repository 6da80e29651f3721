import { Command } from 'commander';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { DOCTOR_OPTIONS, examine, type Finding } from '../../app/doctor.ts';
import {
  conclusionLines,
  resolveSelftestOptions,
  SELFTEST_OPTIONS,
  type SelftestOptions,
  type SelftestStep,
  selftest,
  selftestDocument,
  selftestDoubts,
} from '../../app/selftest.ts';
import { toggle } from '../../core/options.ts';
import { formatBytes, formatMs } from '../../core/units.ts';
import { EXIT } from '../exit.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { interruptible } from '../signals.ts';
import { terminal } from '../terminal.ts';

const OUTPUT = { json: toggle('--json', 'print one JSON document') };
const OPTIONS = { ...SELFTEST_OPTIONS, ...OUTPUT };

/** `reprise selftest`: the highest rate at which this machine sends on time. */
export function selftestCommand(): Command {
  return addOptions(new Command('selftest'), OPTIONS)
    .description(
      'Replay synthetic requests against a built-in server at increasing rates, and print the highest rate at which this ' +
        'machine keeps its schedule. Takes under a minute, sends nothing to other hosts and leaves no files.',
    )
    .action(async (_: object, command: Command) => {
      await run(resolveSelftestOptions(askedOf(command, OPTIONS)), optionsOf(command, OUTPUT).json);
    });
}

async function run(options: SelftestOptions, json: boolean): Promise<void> {
  await interruptible(async (interruption) => {
    const tested = await selftest(options, {
      signal: interruption.signal,
      onBegin: () => json || terminal.print(headline(options), '', ...tableLines(COLUMNS, [])),
      onRate: (rate) => terminal.progress(`${rate} requests/s for ${options.seconds} s`),
      onStep: (step) => json || terminal.print(...tableLines(COLUMNS, [cellsOf(step)]).slice(1)),
    });
    if (json) terminal.json(selftestDocument(options, tested));
    else terminal.print('', ...conclusionLines(tested));
    process.exitCode =
      interruption.status ?? (tested.highestHonestRate === null ? EXIT.inconclusive : EXIT.ok);
  });
}

function headline({ protocol, bodySize, seconds, threads }: SelftestOptions): string {
  const by = threads === 1 ? 'one sender' : `${threads} senders`;
  return `Poisson arrivals of ${protocol === 'grpc' ? 'gRPC calls' : 'POSTs'} with ${formatBytes(bodySize)}, ${seconds} s each, by ${by}, to a server of our own on this machine`;
}

/** Columns wide enough for any value, because each row is printed before the next is known. */
const COLUMNS = [
  ...columnsOf([], ['requests/s', '   lag p50', '   lag p90', '   lag p99', '      max', 'achieved', 'busy']),
  ...columnsOf([''], []),
];

function cellsOf(step: SelftestStep): string[] {
  const ms = (us: number | null) => (us === null ? '–' : formatMs(us / 1e3));
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  const { p50, p90, p99, max } = step.lagUs;
  const doubts = selftestDoubts(step);
  return [
    String(step.ratePerSecond),
    ...[p50, p90, p99, max].map(ms),
    percent(step.achievedShare),
    percent(step.senderBusyShare),
    doubts.length === 0 ? 'kept' : `not kept: ${doubts.join(', ')}`,
  ];
}

const DOCTOR = { ...DOCTOR_OPTIONS, ...OUTPUT };

/** `reprise doctor`: whether this host can record and replay, and what to improve. */
export function doctorCommand(): Command {
  return addOptions(new Command('doctor'), DOCTOR)
    .description('Check whether this host is ready to record and replay. Changes nothing.')
    .action(async (_: object, command: Command) => {
      const options = optionsOf(command, DOCTOR);
      const findings = await examine(options);
      if (options.json) terminal.json({ schema: 'reprise-doctor/1', findings });
      else terminal.print(...findingLines(findings));
      if (findings.some(({ result }) => result === 'fail')) process.exitCode = EXIT.fail;
    });
}

function findingLines(findings: readonly Finding[]): string[] {
  const rows = findings.map(({ check, result, found }) => [check, result, found]);
  const advice = findings.flatMap(({ check, advice: what }) => (what === null ? [] : [`${check}: ${what}`]));
  return [
    ...tableLines(columnsOf(['check', 'result', 'found'], []), rows),
    ...(advice.length === 0 ? [] : ['', ...advice]),
  ];
}
