import { type Command, Option } from 'commander';
import {
  type Asked,
  longNamesOf,
  type OptionShape,
  type OptionTexts,
  type Origin,
  type ResolvedOptions,
  resolveOptions,
  type StatedOptions,
  textsOf,
} from '../core/options.ts';

const shapes = new WeakMap<Command, OptionShape>();

/**
 * Adds flags for its options to a command. `optionsOf` reads them later.
 * @param common Options in `--help`; `--help-all` shows the others too, by group. If empty, `--help` shows all.
 */
export function addOptions<Shape extends OptionShape>(
  command: Command,
  shape: Shape,
  common: readonly (keyof Shape & string)[] = [],
): Command {
  shapes.set(command, { ...shapes.get(command), ...shape });
  for (const key of new Set([...common, ...Object.keys(shape)])) {
    const texts = textsOf(shape[key] as OptionShape[string]);
    if (texts.flags === null) continue;
    const isRare = common.length > 0 && !common.includes(key);
    command.addOption(
      flagOf(texts.flags, texts).helpGroup(isRare ? `${texts.group ?? 'Other'}:` : 'Options:'),
    );
    if (isRare) rareOptions.add(command.options.at(-1) as Option);
  }
  return command;
}

const rareOptions = new WeakSet<Option>();

/** Whether only `--help-all` shows an option. */
export function isRare(option: Option): boolean {
  return rareOptions.has(option);
}

/** The options of a command; empty for one that has none. */
export function shapeOf(command: Command): OptionShape {
  return shapes.get(command) ?? {};
}

/** Commander only collects the given texts. The option itself parses them and has the default. */
function flagOf(flags: string, { description, repeatable, default: initial }: OptionTexts): Option {
  const [name] = longNamesOf(flags);
  const also = initial === null ? [] : [`default: ${[initial].flat().join(', ')}`];
  const notes = [...(repeatable ? ['repeatable'] : []), ...also];
  const option = new Option(flags, notes.length === 0 ? description : `${description} (${notes.join('; ')})`);
  if (name === undefined) throw new Error(`${flags} has no long name`);
  return repeatable
    ? option.argParser((given: string, before: string[] | undefined) => [...(before ?? []), given])
    : option;
}

/** One value that was stated for an option. */
export interface Stated {
  readonly value: unknown;
  readonly origin: Origin;
}

/** A source of settings besides the command line: the environment, or a configuration file. */
export interface SettingSource {
  /** The value of an option of the command with this path; null if the source has none. */
  settingOf(command: readonly string[], key: string, texts: OptionTexts): Stated | null;
}

const sources = new WeakMap<Command, readonly SettingSource[]>();

/** Sets the sources of settings for a program and its commands. An earlier source has priority. */
export function setSources(program: Command, ofProgram: readonly SettingSource[]): void {
  sources.set(program, ofProgram);
}

/**
 * The stated options of a command that is about to run. A flag has priority over a variable, and a variable over the
 * configuration file.
 * @throws AppError OPTION_INVALID for a boolean variable that is neither true nor false
 */
export function askedOf<Shape extends OptionShape>(command: Command, shape: Shape): Asked<Shape> {
  const entries = Object.keys(shape).flatMap((key) => {
    const stated = statedOf(command, key);
    return stated === null ? [] : [[key, stated.value]];
  });
  return {
    stated: Object.fromEntries(entries) as StatedOptions<Shape>,
    originOf: (key) => statedOf(command, key)?.origin ?? null,
  };
}

/** The options of a command that is about to run. @throws AppError OPTION_INVALID listing every problem */
export function optionsOf<Shape extends OptionShape>(command: Command, shape: Shape): ResolvedOptions<Shape> {
  return resolveOptions(shape, askedOf(command, shape));
}

/** The stated value of an option; null for none. @throws AppError OPTION_INVALID for an invalid boolean variable */
export function statedOf(command: Command, key: string): Stated | null {
  const type = shapeOf(command)[key];
  if (type === undefined) return null;
  if (command.getOptionValueSource(key) === 'cli') {
    return { value: command.getOptionValue(key), origin: { kind: 'flag', place: null } };
  }
  for (const source of sources.get(rootOf(command)) ?? []) {
    const stated = source.settingOf(pathOf(command), key, textsOf(type));
    if (stated !== null) return stated;
  }
  return null;
}

/** The names of a command and its parents, outermost first, without the program. */
export function pathOf(command: Command): string[] {
  return command.parent === null ? [] : [...pathOf(command.parent), command.name()];
}

export function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent);
}
