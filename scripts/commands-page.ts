/**
 * Writes docs/reference/commands.md from the options of every command: `npm run commands-page`.
 */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { COMMANDS } from '../src/cli/commands/index.ts';
import { shapeOf } from '../src/cli/options.ts';
import { everyCommand, PROGRAM_OPTIONS } from '../src/cli/program.ts';
import { type OptionShape, textsOf } from '../src/core/options.ts';

const PAGE = new URL('../docs/reference/commands.md', import.meta.url);

/** The page that explains each command. For a command without a page, its flags are enough. */
const GUIDES: Readonly<Record<string, string>> = {
  record: '../guides/recording.md',
  inspect: '../guides/looking-into-a-capture.md',
  show: '../guides/looking-into-a-capture.md#single-requests',
  profile: '../guides/profile.md',
  windows: '../guides/choosing-a-window.md#the-hardest-window',
  explain: '../guides/report.md#why',
  replay: '../guides/replay.md',
  init: '../guides/scenarios.md#a-first-scenario',
  run: '../guides/scenarios.md',
  capacity: '../guides/capacity.md',
  statement: '../guides/statement.md',
  merge: '../guides/several-machines.md',
  report: '../guides/report.md',
  compare: '../guides/compare.md',
  gate: '../guides/deployment-gate.md',
  history: '../guides/history.md',
  publish: '../guides/mlflow.md',
  import: 'formats.md#import',
  export: 'formats.md#export',
  selftest: '../guides/several-machines.md#what-a-machine-can-send',
  doctor: '../guides/kubernetes.md',
  verify: '../guides/looking-into-a-capture.md#verify',
  forget: '../guides/privacy.md#forgetting',
  status: '../guides/recording.md#while-it-runs',
  drain: '../guides/recording.md#while-it-runs',
  pause: '../guides/recording.md#while-it-runs',
  resume: '../guides/recording.md#while-it-runs',
  mock: '../guides/mock.md',
  faults: '../guides/dependency-faults.md',
};

const HEAD = `# Commands

Every command and flag, made from the option schemas of the source by \`npm run commands-page\`. \`reprise COMMAND --help-all\` prints the same flags, and \`--help\` those that most runs need.

A flag wins over its variable, and a variable over the configuration file. \`--max-disk 20GiB\` is \`REPRISE_MAX_DISK=20GiB\`, and \`--json\` is \`REPRISE_JSON=true\`. In the file that \`--config\` names it is \`record: {max-disk: 20GiB}\`. A repeatable flag has one value a line in its variable. The [schema of the file](../config.schema.json) has every key.

The result goes to stdout; logs and progress go to stderr. [Exit codes](exit-codes.md) has the statuses.
`;

/** The complete page, as Markdown. */
export async function commandsPage(): Promise<string> {
  const commands = await everyCommand(COMMANDS);
  const replay = commands.find((command) => command.name() === 'replay');
  if (replay === undefined) throw new Error('there is no command replay');
  const sections = commands.map((command) => sectionOf(command, replay, '##', 'reprise'));
  const common = `## All commands\n\n${tableOf(Object.values(PROGRAM_OPTIONS).map(rowOf))}`;
  return `${[HEAD, common, ...sections].map((part) => part.trimEnd()).join('\n\n')}\n`;
}

function sectionOf(command: Command, replay: Command, level: string, above: string): string {
  const line = `${above} ${command.name()}`;
  const args = command.registeredArguments.map((each) => {
    const name = each.variadic ? `${each.name()}...` : each.name();
    return ` ${(each.required ? name : `[${name}]`).toUpperCase()}`;
  });
  const guide = level === '##' ? GUIDES[command.name()] : undefined;
  const description = command.description();
  const text = /[.!?]$/.test(description) ? description : `${description}.`;
  const parts = [
    `${level} ${line.replace('reprise ', '')}`,
    `\`${line}${args.join('')}\``,
    `${text}${guide === undefined ? '' : ` [The guide](${guide}).`}`,
    ...flagsOf(command, replay),
    ...command.commands.map((child) => sectionOf(child, replay, `${level}#`, line)),
  ];
  return parts.join('\n\n');
}

/** The table of a command's own flags. Flags that it shares with `replay` are only named. */
function flagsOf(command: Command, replay: Command): string[] {
  const ofReplay = new Set(Object.values(shapeOf(replay)));
  const types = Object.values(shapeOf(command)).filter((type) => textsOf(type).flags !== null);
  const shared = command === replay ? [] : types.filter((type) => ofReplay.has(type));
  const own = types.filter((type) => !shared.includes(type));
  return [
    ...(own.length === 0 ? [] : [tableOf(own.map(rowOf))]),
    ...(shared.length === 0
      ? []
      : [`As in [replay](#replay): ${shared.map((type) => `\`${textsOf(type).flags}\``).join(', ')}.`]),
  ];
}

function rowOf(type: OptionShape[string]): string {
  const { flags, description, repeatable, default: initial } = textsOf(type);
  const shown = initial === null ? '' : [initial].flat().map(code).join(', ');
  const notes = repeatable ? ' Repeatable.' : '';
  return `| ${code(flags ?? '')} | ${shown} | ${sentence(description)}${notes} |`;
}

function tableOf(rows: readonly string[]): string {
  return ['| flag | default | |', '| --- | --- | --- |', ...rows].join('\n');
}

const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``;

/** Help text as a table cell: a sentence, with escaped Markdown and HTML characters. */
function sentence(text: string): string {
  const shown = text.replace(/[|*<>{}_[\]]/g, (sign) => `\\${sign}`);
  const first = /^[a-z]\w* /.test(shown) ? shown.charAt(0).toUpperCase() + shown.slice(1) : shown;
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

if (process.argv[1] === import.meta.filename) writeFileSync(PAGE, await commandsPage());
