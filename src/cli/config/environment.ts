import type { Command } from 'commander';
import { AppError } from '../../core/errors.ts';
import { longNamesOf, type OptionTexts, textsOf } from '../../core/options.ts';
import { nearest } from '../../core/text.ts';
import { type SettingSource, type Stated, shapeOf } from '../options.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** A `REPRISE_*` variable that belongs to no flag. */
interface UnknownVariable {
  readonly name: string;
  readonly suggestion: string | null;
}

/** Known variables that belong to no flag. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set(['REPRISE_DEBUG']);

/**
 * Kubernetes gives every pod variables for each service of its namespace, named after the service. Users name such a
 * service `reprise` or `reprise-recorder`.
 */
const SERVICE_VARIABLE =
  /^REPRISE(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

const WORDS: Readonly<Record<string, boolean>> = {
  '1': true,
  true: true,
  yes: true,
  on: true,
  '0': false,
  false: false,
  no: false,
  off: false,
};

/** `--max-disk` → `REPRISE_MAX_DISK`. */
export function variableOf(flag: string): string {
  return `REPRISE_${flag.replace(/^--/, '').replaceAll('-', '_').toUpperCase()}`;
}

/** The environment as a source of settings. Reading one can throw AppError OPTION_INVALID. */
export function environmentSource(environment: Environment): SettingSource {
  return { settingOf: (_command, _key, texts) => settingIn(environment, texts) };
}

/**
 * The value of an option in the environment; null if there is none. An empty variable counts as absent, because
 * `REPRISE_X=` in a manifest usually means that.
 * @throws AppError OPTION_INVALID for a boolean variable that is neither true nor false
 */
function settingIn(environment: Environment, { flags, repeatable }: OptionTexts): Stated | null {
  if (flags === null) return null;
  const name = variablesOf(flags).find((each) => (environment[each] ?? '') !== '');
  if (name === undefined) return null;
  const text = environment[name] ?? '';
  const origin = { kind: 'variable', place: name } as const;
  if (repeatable) return { origin, value: linesOf(text) };
  const word = WORDS[text.toLowerCase()];
  if (flags.includes('<')) return { origin, value: text.trim() };
  // If the value of a flag is optional, 0 and 1 are numbers, not booleans.
  if (flags.includes('[')) return { origin, value: /^[01]$/.test(text) ? text : (word ?? text.trim()) };
  if (word !== undefined) return { origin, value: word };
  throw new AppError('OPTION_INVALID', `${name}: ${JSON.stringify(text)} is neither true nor false`, {
    hint: 'Give true or false, or unset the variable.',
  });
}

/** The `REPRISE_*` variables that belong to no flag of these commands and not to Kubernetes. */
export function unknownVariables(commands: readonly Command[], environment: Environment): UnknownVariable[] {
  const known = new Set([...OTHER_VARIABLES, ...commands.flatMap(variablesIn)]);
  return Object.keys(environment)
    .filter((name) => name.startsWith('REPRISE_') && !known.has(name) && !SERVICE_VARIABLE.test(name))
    .sort()
    .map((name) => ({ name, suggestion: nearest(name, known, 'REPRISE_') }));
}

function variablesIn(command: Command): string[] {
  const own = Object.values(shapeOf(command)).flatMap((type) => variablesOf(textsOf(type).flags ?? ''));
  return [...own, ...command.commands.flatMap(variablesIn)];
}

/** The variables of an option, the main one first. */
export function variablesOf(flags: string): string[] {
  return longNamesOf(flags).map(variableOf);
}

/** One value per line. Empty lines are ignored, because a YAML block ends with one. */
function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
