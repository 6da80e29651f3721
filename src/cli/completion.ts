import { Argument, Command, type Option } from 'commander';
import { z } from 'zod';
import { shapeOf } from './options.ts';
import { type CommandEntry, everyCommand } from './program.ts';
import { terminal } from './terminal.ts';

const TOP_FLAGS = ['--help', '--version', '--config', '--log-format'] as const;
const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** `reprise completion bash|zsh|fish`: a script that completes commands, flags, values of flags and paths. */
export function completionCommand(entries: readonly CommandEntry[]): Command {
  return new Command('completion')
    .description(
      'Print a script for your shell, such as: source <(reprise completion bash), or reprise completion fish | source',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action(async (shell: (typeof SHELLS)[number]) => {
      const commands = (await everyCommand(entries)).flatMap(withChildren);
      const names = entries.map(({ name }) => name);
      const lines = shell === 'fish' ? fishLines(commands, entries) : bashLines(commands, names);
      // zsh can load bash completion functions.
      const head =
        shell === 'zsh'
          ? ['autoload -U +X compinit && compinit', 'autoload -U +X bashcompinit && bashcompinit']
          : [];
      terminal.print(...head, ...lines);
    });
}

function withChildren(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withChildren)];
}

/** The values that a flag completes to: these words, or a path. Null for any other value. */
function offeredBy(command: Command, option: Option): readonly string[] | 'path' | null {
  if (/[<[](?:directory|file|path)[>\]]/.test(option.flags)) return 'path';
  const type = shapeOf(command)[option.attributeName()];
  if (type === undefined) return null;
  const { enum: words } = z.toJSONSchema(type, { io: 'input', unrepresentable: 'any' });
  return words?.filter((each) => typeof each === 'string') ?? null;
}

/** The words that may follow a command: its subcommands, or the choices of its first argument. */
function wordsAfter(command: Command): readonly string[] {
  return [
    ...command.commands.map((each) => each.name()),
    ...(command.registeredArguments[0]?.argChoices ?? []),
  ];
}

function namesOf({ flags }: Option): string[] {
  return flags.match(/(?<![\w-])--?[a-zA-Z][\w-]*/g) ?? [];
}

/** A bash function that offers words, depending on the words before the cursor. */
function bashLines(commands: readonly Command[], names: readonly string[]): string[] {
  const flags: string[] = [];
  const values: string[] = [];
  for (const command of commands) {
    const path = wholePathOf(command);
    flags.push(
      `    '${path}') words='${[...wordsAfter(command), ...command.options.flatMap(namesOf), '--help', '--help-all'].join(' ')}' ;;`,
    );
    for (const option of command.options) {
      const offered = offeredBy(command, option);
      if (offered === null) continue;
      const act = offered === 'path' ? 'paths=1' : `words='${offered.join(' ')}'`;
      values.push(
        `    ${namesOf(option)
          .map((name) => `'${path} ${name}'`)
          .join('|')}) ${act} ;;`,
      );
    }
  }
  return [
    '_reprise() {',
    `  local word at="" words="" paths="" current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"`,
    `  for word in "\${COMP_WORDS[@]:1:$((COMP_CWORD-1))}"; do`,
    `    case "$at $word" in ${commands.map((command) => `'${parentPathOf(command)} ${command.name()}'`).join('|')}) at="\${at:+$at }$word" ;; esac`,
    '  done',
    '  case "$at $before" in',
    ...values,
    '  esac',
    `  if [ -z "$words$paths" ]; then case "$at" in`,
    `    '') words='${[...names, ...TOP_FLAGS].join(' ')}' ;;`,
    ...flags,
    '  esac; fi',
    // In zsh, compgen -W does not filter by the typed prefix.
    `  COMPREPLY=(); for word in $words; do case "$word" in "$current"*) COMPREPLY+=("$word") ;; esac; done`,
    `  if [ -n "$paths" ] || [ "\${#COMPREPLY[@]}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi`,
    '}',
    'complete -o filenames -F _reprise reprise',
  ];
}

function fishLines(commands: readonly Command[], entries: readonly CommandEntry[]): string[] {
  const top = entries.map(
    ({ name, summary }) => `complete -c reprise -f -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
  );
  const flags = TOP_FLAGS.map((flag) => `complete -c reprise -n __fish_use_subcommand -l ${flag.slice(2)}`);
  const rest = commands.flatMap((command) => {
    const seen = wholePathOf(command)
      .split(' ')
      .map((name) => `__fish_seen_subcommand_from ${name}`);
    const when = `-n '${seen.join('; and ')}'`;
    const children = wordsAfter(command).map((word) => `complete -c reprise -f ${when} -a ${word}`);
    return [
      ...children,
      ...command.options.map((option) => `complete -c reprise ${when} ${fishOption(command, option)}`),
    ];
  });
  return [...top, ...flags, ...rest];
}

function fishOption(command: Command, option: Option): string {
  const names = namesOf(option).map((name) =>
    name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
  );
  const offered = offeredBy(command, option);
  const value =
    offered === 'path'
      ? '-r -F'
      : offered !== null
        ? `-x -a '${offered.join(' ')}'`
        : option.required
          ? '-x'
          : '';
  return `${names.join(' ')} ${value} -d ${quoted(option.description)}`;
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}

/** The names of a command and its parents. These commands belong to no program, so the outermost is included. */
function wholePathOf(command: Command): string {
  const outermost = command.parent === null ? command.name() : '';
  return outermost || `${wholePathOf(command.parent as Command)} ${command.name()}`;
}

function parentPathOf(command: Command): string {
  return command.parent === null ? '' : wholePathOf(command.parent);
}
