import { Argument, Command } from 'commander';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { AppError } from '../../core/errors.ts';
import { textsOf, toggle } from '../../core/options.ts';
import { shownUrl, withShownUrls } from '../../core/text.ts';
import { configJsonSchema, configKeysOf } from '../config/file.ts';
import { scenarioCommands, scenarioJsonSchema } from '../config/scenario.ts';
import { addOptions, optionsOf, pathOf, shapeOf, statedOf } from '../options.ts';
import { assemble, bareProgram, type CommandEntry, everyCommand } from '../program.ts';
import { terminal } from '../terminal.ts';

/**
 * One setting in force, without values of headers and without credentials in URLs and addresses. Other secrets, such
 * as those in commands, cannot be recognized and are shown.
 */
interface Setting {
  readonly key: string;
  readonly value: unknown;
  /** `flag`, the variable, `file:line`, or `default`. */
  readonly origin: string;
}

const PRINT_OPTIONS = {
  showOrigin: toggle('--show-origin', 'show the origin of each value'),
  json: toggle('--json', 'print one JSON document'),
};

/** `reprise config print|schema`: the settings in force, and the schema of a configuration file. */
export function configCommand(entries: readonly CommandEntry[]): Command {
  const print = new Command('print')
    .description('print the settings that a command line results in')
    .argument('[command-line...]', 'a command with its flags, such as: record --listen :8080')
    .allowUnknownOption()
    .action(async (line: string[], _: object, command: Command) => {
      const { config: file } = command.optsWithGlobals<{ config?: string }>();
      const { showOrigin, json } = optionsOf(command, PRINT_OPTIONS);
      const found = await settingsOf(entries, file === undefined ? line : ['--config', file, ...line]);
      if (json) terminal.json({ schema: 'reprise-config/1', settings: found });
      else terminal.print(...linesOf(found, showOrigin));
    });
  const schema = new Command('schema')
    .description('print the JSON Schema of configuration files, or of scenarios')
    .addArgument(
      new Argument('[of]', 'files of which kind').choices(['config', 'scenario']).default('config'),
    )
    .action(async (of: string) => {
      terminal.json(
        of === 'scenario'
          ? scenarioJsonSchema(await scenarioCommands(entries))
          : configJsonSchema(bareProgram(), await everyCommand(entries)),
      );
    });
  return new Command('config')
    .description('print the settings in force and where each comes from')
    .addCommand(addOptions(print, PRINT_OPTIONS))
    .addCommand(schema);
}

async function settingsOf(entries: readonly CommandEntry[], line: readonly string[]): Promise<Setting[]> {
  const { program } = await assemble(line, entries);
  const commands = commandsIn(program, program.parseOptions([...line]).operands);
  for (const command of commands) neverRun(command);
  await program.parseAsync([...line], { from: 'user' });
  return commands.flatMap(readSettings);
}

/** The program and the named commands, outermost first. @throws AppError OPTION_INVALID for an unknown command. */
function commandsIn(program: Command, operands: readonly string[]): Command[] {
  const found = [program];
  for (const name of operands) {
    const parent = found.at(-1) as Command;
    if (parent.commands.length === 0) break;
    const command = parent.commands.find((one) => one.name() === name);
    if (command === undefined) {
      throw new AppError('OPTION_INVALID', `there is no command ${JSON.stringify(name)}`, {
        hint: 'See the commands in reprise --help.',
      });
    }
    found.push(command);
  }
  return found;
}

/** Makes a command parse its line and do nothing, even if arguments are missing. */
function neverRun(command: Command): void {
  command.action(() => undefined);
  for (const argument of command.registeredArguments) argument.argOptional();
}

function readSettings(command: Command): Setting[] {
  return Object.entries(shapeOf(command)).flatMap(([name, type]) => {
    const texts = textsOf(type);
    const [key] = configKeysOf(name, texts);
    if (key === undefined) return [];
    const stated = statedOf(command, name);
    return [
      {
        key: [...pathOf(command), key].join('.'),
        value: shownSetting(key, stated?.value ?? texts.default),
        origin: stated === null ? 'default' : (stated.origin.place ?? 'flag'),
      },
    ];
  });
}

function linesOf(settings: readonly Setting[], withOrigin: boolean): string[] {
  const rows = settings.map(({ key, value, origin }) => [
    key,
    value === null ? '–' : typeof value === 'string' ? value : JSON.stringify(value),
    ...(withOrigin ? [origin] : []),
  ]);
  return tableLines(columnsOf(['setting', 'value', ...(withOrigin ? ['origin'] : [])], []), rows);
}

/** The source of a header's value, which is no secret itself. */
const FROM_ELSEWHERE = /^(?:env|file):/;

/** A setting in a form that may be printed: without values of headers and without credentials in URLs. */
export function shownSetting(key: string, value: unknown): unknown {
  if (typeof value === 'string') {
    if (key === 'header') return shownHeader(value);
    // An address need not have a scheme.
    return key === 'target' || key.endsWith('listen') ? shownUrl(value) : withShownUrls(value);
  }
  if (Array.isArray(value)) return value.map((one) => shownSetting(key, one));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, shownSetting(name, one)]));
}

function shownHeader(text: string): string {
  const colon = text.indexOf(':');
  const value = text.slice(colon + 1).trim();
  if (colon >= 0 && FROM_ELSEWHERE.test(value)) return text;
  return `${text.slice(0, Math.max(0, colon))}: ***`;
}
