import type { EventEmitter } from 'node:events';
import { type Command, CommanderError, type Option } from 'commander';
import { AppError } from '../core/errors.ts';
import { failureOf } from './exit.ts';
import { nearest } from './nearest.ts';
import { longNamesOf } from './option-names.ts';
import { RepeatableOption } from './repeatable.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** A `REPRISE_*` variable that no flag answers to. */
export interface UnknownVariable {
  readonly name: string;
  readonly suggestion: string | null;
}

/** Variables that are read and are no flag. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set(['REPRISE_DEBUG']);

/** Flags that end the command at once; a variable for them would make every command do only that. */
const FLAGS_ONLY: ReadonlySet<string> = new Set(['--help', '--version']);

/**
 * Kubernetes describes every service of a namespace to every pod by variables named after it, and people name
 * that service `reprise` or `reprise-recorder`.
 */
const SERVICE_VARIABLE =
  /^REPRISE(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/** `--max-disk` → `REPRISE_MAX_DISK`; `--no-progress` → `REPRISE_PROGRESS`. */
export function variableOf(flag: string): string {
  return `REPRISE_${flag
    .replace(/^--(no-)?/, '')
    .replaceAll('-', '_')
    .toUpperCase()}`;
}

/**
 * Gives every flag of a command, and of the commands below it, its variable. Commander lets a flag win over
 * its variable; an empty variable counts as absent, as it does to whoever writes `REPRISE_X=` in a manifest.
 * @throws AppError OPTION_INVALID for a yes-or-no variable that says neither.
 */
export function bindEnvironment(command: Command, environment: Environment): void {
  for (const option of command.options) {
    const variable = variableIn(environment, option);
    if (variable === null) continue;
    const value = environment[variable] ?? '';
    const takesValue = option.required || option.optional;
    // Commander reads the mere presence of a yes-or-no variable as yes, so `=false` must not be bound.
    if (takesValue || isSet(option, variable, value)) bind(command, option, variable);
    else command.setOptionValueWithSource(option.attributeName(), option.negate, 'env');
  }
  for (const child of command.commands) bindEnvironment(child, environment);
}

/** The variable that gives a flag its value: the first of its names that is not empty; null where none is. */
export function variableIn(environment: Environment, option: Option): string | null {
  return variablesOf(option).find((name) => (environment[name] ?? '') !== '') ?? null;
}

/**
 * Commander listens for a variable only where the option knew its name when it was added; ours are named later,
 * by one rule for all. Commander still decides when: after the flags, and only where no flag was given.
 */
function bind(command: Command, option: Option, variable: string): void {
  option.env(variable);
  command.on(`optionEnv:${option.name()}`, (value?: string) => {
    try {
      // A Command is an EventEmitter; its published type leaves out half of that.
      const emitter = command as unknown as EventEmitter;
      const values = option instanceof RepeatableOption ? linesOf(value ?? '') : [value];
      for (const one of values) emitter.emit(`option:${option.name()}`, one?.trim());
      const name = option.attributeName();
      command.setOptionValueWithSource(name, command.getOptionValue(name), 'env');
    } catch (thrown) {
      if (!(thrown instanceof AppError || thrown instanceof CommanderError)) throw thrown;
      const { message, hint } = failureOf(thrown);
      throw new AppError('OPTION_INVALID', `${variable}: ${message}`, hint === null ? {} : { hint });
    }
  });
}

/** One value a line; a block of YAML ends with a line that is none. */
function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}

/** The `REPRISE_*` variables that neither a flag of these commands nor Kubernetes explains. */
export function unknownVariables(commands: readonly Command[], environment: Environment): UnknownVariable[] {
  const known = new Set(OTHER_VARIABLES);
  for (const command of commands) collectVariables(command, known);
  return Object.keys(environment)
    .filter((name) => name.startsWith('REPRISE_') && !known.has(name) && !SERVICE_VARIABLE.test(name))
    .sort()
    .map((name) => ({ name, suggestion: nearest(name, known, 'REPRISE_') }));
}

function collectVariables(command: Command, into: Set<string>): void {
  for (const option of command.options) {
    for (const variable of variablesOf(option)) into.add(variable);
  }
  for (const child of command.commands) collectVariables(child, into);
}

function variablesOf(option: Option): string[] {
  return longNamesOf(option)
    .filter((name) => !FLAGS_ONLY.has(name))
    .map(variableOf);
}

function isSet(option: Option, variable: string, value: string): boolean {
  switch (value.toLowerCase()) {
    case '':
      return false;
    case '1':
    case 'true':
    case 'yes':
    case 'on':
      return !option.negate;
    case '0':
    case 'false':
    case 'no':
    case 'off':
      return option.negate;
    default:
      throw new AppError(
        'OPTION_INVALID',
        `${variable}: ${JSON.stringify(value)} is neither true nor false`,
        {
          hint: 'Give true or false, or leave it out.',
        },
      );
  }
}
