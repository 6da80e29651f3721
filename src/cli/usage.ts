import { existsSync } from 'node:fs';
import type { Argument, Command, CommanderError, Option } from 'commander';
import { AppError } from '../core/errors.ts';
import { shownUrl } from '../core/text.ts';
import { whatIs } from '../storage/capture/directory.ts';
import { shownUsage } from './exit.ts';
import { pathOf } from './options.ts';

/** Other words for commands, and the commands they mean. */
const COMMANDS_MEANT: Readonly<Record<string, string>> = {
  ...{ start: 'record', proxy: 'record', capture: 'record', stop: 'drain' },
  ...{ info: 'inspect', ls: 'inspect', list: 'show', stats: 'profile', check: 'doctor' },
  ...{ load: 'replay', attack: 'replay', test: 'run' },
  ...{ find: 'capacity', search: 'capacity', breakpoint: 'capacity' },
  ...{ diff: 'compare', serve: 'mock', convert: 'import', upload: 'publish' },
  ...{ delete: 'forget', remove: 'forget', nginx: 'arrivals', apache: 'arrivals', log: 'arrivals' },
  ...{ version: '--version', csv: 'arrivals', trace: 'arrivals', opentelemetry: 'otlp' },
};

/** Of a command line that commander refuses: the error for the user, with what to type instead. */
export function usageError(error: CommanderError, command: Command): Error {
  const { code, exitCode } = error;
  // Help and version end a command too.
  if (exitCode === 0 || code === 'commander.help') return error;
  const { message, hint } = shownUsage(error);
  const given = /'([^']*)'/.exec(message)?.[1] ?? '';
  const refused = (text: string, advice: string) => new AppError('OPTION_INVALID', text, { hint: advice });
  if (code === 'commander.missingArgument') {
    const missing = command.registeredArguments.slice(command.args.length).filter(({ required }) => required);
    const means = missing.map((each) => `${nameOf(each)} is ${each.description}`).join('; ');
    return refused(message, `${usageOf(command)}: ${means}.`);
  }
  if (code === 'commander.excessArguments') {
    const args = command.args.map(shownUrl).join(' ');
    return refused(
      `too many arguments for reprise ${pathOf(command).join(' ')}: ${args}`,
      adviceOnArguments(command),
    );
  }
  if (code === 'commander.optionMissingArgument') {
    const option = optionsOf(command).find(({ flags }) => flags === given);
    if (option !== undefined) return noValue(option);
  }
  if (code === 'commander.unknownCommand') {
    const meant = COMMANDS_MEANT[given];
    const advice = existsSync(given) ? whatIs(given)?.hint : null;
    if (advice != null) return refused(message, advice);
    if (meant !== undefined) return refused(message, `Did you mean ${meant}?`);
  }
  if (code === 'commander.unknownOption' && takesCommand(command)) return refused(message, BEFORE_A_COMMAND);
  return hint === null ? refused(message, `See reprise ${[...pathOf(command), '--help'].join(' ')}.`) : error;
}

/** The error for a flag without its value. @param follows the flag in its place */
export function noValue({ flags, description }: Option, follows: string | null = null): AppError {
  const [name] = (flags.match(/--[\w-]+/g) ?? [flags]).slice(-1);
  const what = follows === null ? '' : `: ${follows} follows it`;
  return new AppError('OPTION_INVALID', `${name} has no value${what}`, { hint: `${flags}: ${description}.` });
}

export const BEFORE_A_COMMAND =
  'Put -- before the command that starts the server: reprise record --dir captures/today -- python3 server.py.';

/** Whether the arguments of a command are a command line themselves. */
export function takesCommand(command: Command): boolean {
  return command.registeredArguments.some((each) => each.name() === 'command');
}

function nameOf(argument: Argument): string {
  return argument.name().toUpperCase();
}

/** `reprise compare A [B]` */
function usageOf(command: Command): string {
  const names = command.registeredArguments.map((each) =>
    each.required ? nameOf(each) : `[${nameOf(each)}]`,
  );
  return `reprise ${[...pathOf(command), ...names].join(' ')}`;
}

/** The options of a command and its parents. */
function optionsOf(command: Command | null): Option[] {
  return command === null ? [] : [...command.options, ...optionsOf(command.parent)];
}

const ADDRESS = /^(?:https?:\/\/|[\w.-]+:\d+$)/;

export function looksLikeAddress(text: string): boolean {
  return ADDRESS.test(text);
}

/** What arguments look like, and the flags that take it: the first that the command has. */
const ARGUMENTS_MEANT: readonly (readonly [looks: RegExp, flags: readonly string[]])[] = [
  [ADDRESS, ['--target', '--to']],
  [/^\d+(?:\.\d+)?x$/, ['--multiplier']],
  [/^\d+(?:ms|s|m|h|d)$/, ['--duration', '--budget']],
  [/[<>]/, ['--slo']],
];

/** What to type instead of too many arguments. */
function adviceOnArguments(command: Command): string {
  const known = new Set(optionsOf(command).flatMap(({ flags }) => flags.match(/--[\w-]+/g) ?? []));
  const flagOf = (flags: readonly string[]) => flags.find((each) => known.has(each));
  const looked = command.args.map((arg) => ({
    arg,
    flag: flagOf(ARGUMENTS_MEANT.find(([pattern]) => pattern.test(arg))?.[1] ?? []),
  }));
  const surplus = looked
    .filter(({ flag }) => flag === undefined)
    .slice(command.registeredArguments.length)
    .map(({ arg }) => ({ arg, flag: flagOf(['--dir', '--out']) }));
  const meant = [...looked, ...surplus].flatMap(({ arg, flag }) =>
    flag === undefined ? [] : [`${flag} ${shownUrl(arg)}`],
  );
  if (meant.length > 0) return `Did you mean ${meant.join(' ')}? ${usageOf(command)} takes nothing else.`;
  return `It is ${usageOf(command)} with flags: see reprise ${pathOf(command).join(' ')} --help.`;
}
