import { Command } from 'commander';
import { INIT_OPTIONS, nameOf, writeFirstScenario } from '../../app/gate/first-scenario.ts';
import { SCENARIO_OPTIONS } from '../../app/gate/play-scenario.ts';
import type { PresetName } from '../../app/gate/scenario-presets.ts';
import { AppError } from '../../core/errors.ts';
import {
  CALL_OPTIONS,
  type ResolvedScenario,
  resolveScenario,
  scenarioCommands,
  shellLine,
} from '../config/scenario.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import type { CommandEntry } from '../program.ts';
import { runInThread } from '../signals.ts';
import { terminal } from '../terminal.ts';
import { shownSetting } from './config.ts';

const OPTIONS = { ...SCENARIO_OPTIONS, ...CALL_OPTIONS };

/** `reprise run scenario.yaml`, `reprise run --preset spike CAPTURE`: runs a named test. */
export function runCommand(entries: readonly CommandEntry[]): Command {
  return addOptions(new Command('run'), OPTIONS)
    .description('Run a named test: a scenario file, or a preset on a capture.')
    .argument('<scenario>', 'a scenario (YAML); with --preset, the directory of a capture')
    .action(async (named: string, _: object, command: Command) => {
      const { preset, set, dryRun, json, ndjson } = optionsOf(command, OPTIONS);
      // Only a flag sets the target. The variable may be a recorder's, and name production.
      const isStated = askedOf(command, OPTIONS).originOf('target')?.kind === 'flag';
      const targets = isStated ? optionsOf(command, OPTIONS).target : [];
      const scenario = resolveScenario(
        {
          file: preset === null ? named : null,
          stated: preset === null ? {} : presetOn(preset, named),
          sets: [...set, ...targets.map((target) => `target=${target}`)],
        },
        await scenarioCommands(entries),
      );
      if (targets.length > 1 && scenario.command !== 'replay') {
        throw new AppError('OPTION_INVALID', `--target: reprise ${scenario.command} has one target`, {
          hint: 'Only a replay compares two.',
        });
      }
      if (dryRun) {
        show(scenario, json);
        return;
      }
      const forms = [...(json ? ['--json'] : []), ...(ndjson ? ['--ndjson'] : [])];
      // Runs the equivalent command line, so that its options are checked in only one place.
      await runInThread([...globalArgs(command), ...scenario.args, ...forms], scenario.variables);
    });
}

/** `reprise init CAPTURE`: writes a scenario that `reprise run` takes as it is. */
export function initCommand(): Command {
  return addOptions(new Command('init'), INIT_OPTIONS)
    .description(
      'Write a first scenario for a capture: its busiest window, and objectives from its recorded latencies.',
    )
    .argument('<capture>', 'the directory of a capture')
    .action(async (capture: string, _: object, command: Command) => {
      const options = optionsOf(command, INIT_OPTIONS);
      // Only a flag sets the target. The variable may be a recorder's, and name production.
      const isStated = askedOf(command, INIT_OPTIONS).originOf('target')?.kind === 'flag';
      const target = isStated ? options.target : null;
      const objectives = await writeFirstScenario(capture, { ...options, target });
      const also = target === null ? ['--target', 'http://staging:8000'] : [];
      terminal.print(
        `Wrote ${options.out}`,
        ...objectives.map((objective) => `  ${objective}`),
        `See what it would send: reprise ${shellLine(['run', options.out, ...also, '--dry-run'])}`,
        `Run it: reprise ${shellLine(['run', options.out, ...also])}`,
      );
    });
}

function presetOn(preset: PresetName, capture: string): Record<string, string> {
  return { preset, capture, name: `${preset} of ${nameOf(capture)}` };
}

/** The flags of the program that stand before its command. */
function globalArgs(command: Command): string[] {
  const { config, logFormat } = command.optsWithGlobals<{ config?: string; logFormat?: string }>();
  return [
    ...(config === undefined ? [] : [`--config=${config}`]),
    ...(logFormat === undefined ? [] : [`--log-format=${logFormat}`]),
  ];
}

function show(
  { description, command, capture, settings, args, variables }: ResolvedScenario,
  json: boolean,
): void {
  const shown = settings.map(([key, value]) => [key, shownSetting(key, value)] as const);
  if (json) {
    terminal.json({
      schemaVersion: 1,
      kind: 'scenario',
      description,
      command,
      capture,
      settings: Object.fromEntries(shown),
    });
    return;
  }
  if (description !== null) terminal.print(`# ${description}`);
  const masked = args.map((arg) => shownArgument(arg));
  const said = Object.entries(variables).map(([name, value]) => `${name}=${value} `);
  terminal.print(`${said.join('')}reprise ${shellLine(masked)}`);
}

/** A flag in a form that may be printed: without secrets. */
function shownArgument(arg: string): string {
  const [, key, value] = /^--([\w-]+)=(.*)$/s.exec(arg) ?? [];
  return key === undefined || value === undefined ? arg : `--${key}=${String(shownSetting(key, value))}`;
}
