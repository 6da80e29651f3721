import { Command, type Option } from 'commander';
import { AppError } from '../core/errors.ts';
import type { ConfigFile } from './config-file.ts';
import { configJsonSchema, configKeysOf, structuredKeysOf } from './config-schema.ts';
import { variableIn } from './environment.ts';
import type { Settings } from './program.ts';
import { shownSetting } from './shown-setting.ts';
import { tableLines, terminal } from './terminal.ts';

/**
 * One setting as it is in force, without the values of headers and the credentials of URLs and addresses. Commands
 * and files are shown as they are otherwise: what they hold of secrets is not known.
 */
interface Setting {
  readonly key: string;
  readonly value: unknown;
  /** `flag`, the variable, `file:line`, or `default`. */
  readonly origin: string;
}

/** `reprise config print|schema`: the settings in force, and what a file may hold. */
export function configCommand(settings: Settings): Command {
  const print = new Command('print')
    .description('print the settings that a command line would run with')
    .argument('[command-line...]', 'a command with its flags, such as: record --listen :8080')
    .option('--origin', 'say where each value comes from')
    .option('--json', 'print one JSON document')
    .allowUnknownOption()
    .action(async (line: string[], flags: { origin?: boolean; json?: boolean }, command: Command) => {
      const { config: file } = command.optsWithGlobals<{ config?: string }>();
      const found = await settingsOf(settings, file === undefined ? line : ['--config', file, ...line]);
      if (flags.json) terminal.json({ schema: 'reprise-config/1', settings: found });
      else terminal.print(...linesOf(found, flags.origin ?? false));
    });
  const schema = new Command('schema')
    .description('print the JSON Schema of configuration files')
    .action(async () => {
      terminal.json(configJsonSchema(settings.bareProgram(), await settings.everyCommand()));
    });
  return new Command('config')
    .description('print the settings in force and where each comes from')
    .addCommand(print)
    .addCommand(schema);
}

async function settingsOf(settings: Settings, line: readonly string[]): Promise<Setting[]> {
  const { program, config } = await settings.prepare(line);
  const commands = commandsIn(program, program.parseOptions([...line]).operands);
  for (const command of commands) neverRun(command);
  await program.parseAsync([...line], { from: 'user' });
  const names = commands.map((command) => command.name()).slice(1);
  return commands.flatMap((command, depth) => readSettings(command, names.slice(0, depth), config));
}

/** The program and what is named below it, outermost first. @throws AppError OPTION_INVALID for no such command. */
function commandsIn(program: Command, operands: readonly string[]): Command[] {
  const found = [program];
  for (const name of operands) {
    const parent = found.at(-1) as Command;
    if (parent.commands.length === 0) break;
    const command = parent.commands.find((one) => one.name() === name);
    if (command === undefined) {
      throw new AppError('OPTION_INVALID', `there is no command ${JSON.stringify(name)}`, {
        hint: 'Name one of those that reprise --help lists.',
      });
    }
    found.push(command);
  }
  return found;
}

/** Lets a command parse its line and do nothing, whatever it still misses. */
function neverRun(command: Command): void {
  command.action(() => undefined);
  for (const option of command.options) option.makeOptionMandatory(false);
  for (const argument of command.registeredArguments) argument.argOptional();
}

function readSettings(command: Command, path: readonly string[], config: ConfigFile | null): Setting[] {
  const found: Setting[] = [];
  for (const option of command.options) {
    const [key] = configKeysOf(option);
    if (key === undefined) continue;
    const value = command.getOptionValue(option.attributeName()) as unknown;
    const source = command.getOptionValueSource(option.attributeName());
    found.push({
      key: [...path, key].join('.'),
      value: shownSetting(key, value ?? null),
      origin: originOf(source, option, [...path, config?.keyOf(option, path) ?? key], config),
    });
  }
  for (const key of Object.keys(structuredKeysOf(command))) {
    const value = command.getOptionValue(key) as unknown;
    const keys = [...path, key];
    const origin = value === undefined || config === null ? 'default' : config.originOf(keys);
    found.push({ key: keys.join('.'), value: shownSetting(key, value ?? null), origin });
  }
  return found;
}

function originOf(
  source: string | undefined,
  option: Option,
  keys: readonly string[],
  config: ConfigFile | null,
): string {
  if (source === 'cli') return 'flag';
  if (source === 'env') return variableIn(process.env, option) ?? 'default';
  return source === 'config' && config !== null ? config.originOf(keys) : 'default';
}

function linesOf(settings: readonly Setting[], withOrigin: boolean): string[] {
  const rows = settings.map(({ key, value, origin }) => [
    key,
    value === null ? '–' : typeof value === 'string' ? value : JSON.stringify(value),
    ...(withOrigin ? [origin] : []),
  ]);
  return tableLines(
    [{ title: 'setting' }, { title: 'value' }, ...(withOrigin ? [{ title: 'origin' }] : [])],
    rows,
  );
}
