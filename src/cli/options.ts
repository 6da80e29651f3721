import type { Command } from 'commander';
import {
  type Asked,
  type OptionShape,
  type Origin,
  type ResolvedOptions,
  resolveOptions,
  type StatedOptions,
  textsOf,
} from '../core/options.ts';
import { type Environment, valueInEnvironment } from './config/environment.ts';
import type { ConfigFile } from './config/file.ts';
import { shapeOf } from './flags.ts';

/** Where the settings of a program come from, beside its command line. */
export interface Surroundings {
  readonly environment: Environment;
  readonly config: ConfigFile | null;
}

/** One value that was stated for an option. */
export interface Stated {
  readonly value: unknown;
  readonly origin: Origin;
}

const surroundings = new WeakMap<Command, Surroundings>();

/** Says where the settings of a program and of the commands below it come from. */
export function setSurroundings(program: Command, ofProgram: Surroundings): void {
  surroundings.set(program, ofProgram);
}

/**
 * What is asked of a command that is about to run: a flag wins over a variable, and that over the configuration file.
 * @throws AppError OPTION_INVALID for a variable that is no yes or no
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

/** What was stated for an option; null for nothing. @throws AppError OPTION_INVALID for a variable that is no yes or no */
export function statedOf(command: Command, key: string): Stated | null {
  const type = shapeOf(command)[key];
  if (type === undefined) return null;
  if (command.getOptionValueSource(key) === 'cli') {
    return { value: command.getOptionValue(key), origin: { kind: 'flag', place: null } };
  }
  const { environment, config } = surroundings.get(rootOf(command)) ?? { environment: {}, config: null };
  const texts = textsOf(type);
  const variable = valueInEnvironment(environment, texts);
  if (variable !== null) {
    return { value: variable.value, origin: { kind: 'variable', place: variable.name } };
  }
  const setting = config?.settingOf(pathOf(command), key, texts) ?? null;
  return setting === null ? null : { value: setting.value, origin: { kind: 'file', place: setting.place } };
}

/** The names of a command and of those above it, less the program's own. */
export function pathOf(command: Command): string[] {
  return command.parent === null ? [] : [...pathOf(command.parent), command.name()];
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent);
}
