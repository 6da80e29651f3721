import { Command } from 'commander';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { DOCTOR_OPTIONS, examine, type Finding } from '../../app/doctor.ts';
import { toggle } from '../../core/options.ts';
import { EXIT } from '../exit.ts';
import { addOptions, optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

const OPTIONS = { ...DOCTOR_OPTIONS, json: toggle('--json', 'print one JSON document') };

/** `reprise doctor`: whether this host can record and replay, and what to improve. */
export function doctorCommand(): Command {
  return addOptions(new Command('doctor'), OPTIONS)
    .description('Check whether this host is ready to record and replay. Changes nothing.')
    .action(async (_: object, command: Command) => {
      const options = optionsOf(command, OPTIONS);
      const findings = await examine(options);
      if (options.json) terminal.json({ schema: 'reprise-doctor/1', findings });
      else terminal.print(...linesOf(findings));
      if (findings.some(({ result }) => result === 'fail')) process.exitCode = EXIT.fail;
    });
}

function linesOf(findings: readonly Finding[]): string[] {
  const rows = findings.map(({ check, result, found }) => [check, result, found]);
  const advice = findings.flatMap(({ check, advice: what }) => (what === null ? [] : [`${check}: ${what}`]));
  return [
    ...tableLines(columnsOf(['check', 'result', 'found'], []), rows),
    ...(advice.length === 0 ? [] : ['', ...advice]),
  ];
}
