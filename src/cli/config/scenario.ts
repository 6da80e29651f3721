import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { z } from 'zod';
import { type PresetName, SCENARIO_PRESETS } from '../../app/gate/scenario-presets.ts';
import { withOpenSlo } from '../../app/open-slo.ts';
import { isCheckImplied } from '../../app/replay/document.ts';
import { invalidYaml, readYaml, type YamlDocument } from '../../app/yaml-file.ts';
import { AppError, Problems } from '../../core/errors.ts';
import { type OptionTexts, textsOf, toggle } from '../../core/options.ts';
import { nearest } from '../../core/text.ts';
import { namesBesideOurs } from '../../documents/metrics/objectives.ts';
import { parseStages } from '../../replay/plan/stages.ts';
import { kindOf, whatIs } from '../../storage/capture/directory.ts';
import { shapeOf } from '../options.ts';
import { type CommandEntry, everyCommand } from '../program.ts';
import { variablesOf } from './environment.ts';
import { configKeysOf, problemsOf } from './file.ts';
import { insteadOf } from './removed.ts';

type Values = Readonly<Record<string, unknown>>;

/** Keys that describe the test itself. Every other key is an option of the command that it runs. */
const OWN_KEYS = {
  $schema: z.string().optional().describe('The JSON Schema of scenarios, for editors.'),
  description: z.string().optional().describe('What the test is for; shown by --dry-run.'),
  preset: z
    .enum(Object.keys(SCENARIO_PRESETS) as [PresetName, ...PresetName[]])
    .optional()
    .describe('A kind of test, whose settings hold if the scenario has none.'),
  command: z.string().optional().describe('The command to run. Default: that of the preset, else replay.'),
  capture: z.string().min(1).describe('The directory of the capture to replay.'),
};
/** Options of one call of `run`. So a scenario cannot set them. */
export const CALL_OPTIONS = {
  dryRun: toggle('--dry-run', 'print the command that would run; send nothing'),
  json: toggle('--json', 'print one JSON document'),
  ndjson: toggle('--ndjson', 'print events as they happen, one JSON document per line'),
};

const PURPOSE = {
  what: 'scenario',
  hint: 'Keys are those of docs/guides/scenarios.md and the flags of the command without their dashes; see reprise config schema scenario.',
};

/** A test that is ready to run: a command with all its settings. */
export interface ResolvedScenario {
  readonly description: string | null;
  readonly command: string;
  readonly capture: string;
  /** Stated options by key, in display order. */
  readonly settings: readonly (readonly [key: string, value: unknown])[];
  /** The command line that does the same, with these variables. */
  readonly args: readonly string[];
  /** Options set to false. No flag can say that, and variables win over a configuration file. */
  readonly variables: Readonly<Record<string, string>>;
}

/** Where a test comes from: a file, or a preset with a capture. `sets` are `key=value` and have priority. */
interface ScenarioRequest {
  readonly file: string | null;
  readonly stated: Values;
  readonly sets: readonly string[];
}

/**
 * Resolves a test into one command line.
 * @param commands the commands that a scenario can run, with all their options
 * @throws AppError OPTION_INVALID naming every problem, in a file with line and column
 */
export function resolveScenario(request: ScenarioRequest, commands: readonly Command[]): ResolvedScenario {
  const document = request.file === null ? null : documentOf(request.file);
  const inFile = valuesOf(request.file, document);
  const base = { ...request.stated, ...inFile };
  const command = commandOf(base, commands, request, document);
  const keys = optionKeys(command);
  const stated = { ...base, ...readSets(request.sets, keys, command) };
  const withPreset = { ...presetOf(stated), ...withoutNulls(stated) };
  const needed = missingOf(stated);
  if (needed !== null)
    throw refusal(request.file, [{ text: needed, place: document?.placeOf(['preset']) ?? null }]);
  const checked = scenarioSchema(command).safeParse(withPreset);
  if (!checked.success) {
    const problems = checked.error.issues.flatMap((issue) =>
      problemsOf(
        issue,
        document,
        (_, flag) => insteadOf(command.name(), flag),
        () => [...Object.keys(OWN_KEYS), ...keys.keys()],
      ),
    );
    throw refusal(request.file, problems);
  }
  const {
    $schema: _schema,
    description,
    preset: _preset,
    command: _command,
    capture,
    ...settings
  } = withStageLength(withMismatch(withPreset), stated);
  const entries = Object.entries(settings);
  return {
    description: typeof description === 'string' ? description : null,
    command: command.name(),
    capture: String(capture),
    settings: entries,
    args: [
      command.name(),
      String(capture),
      ...entries.flatMap(([key, value]) => argsOf(key, value, keys.get(key) as OptionTexts)),
    ],
    variables: Object.fromEntries(
      entries
        .filter(([, value]) => value === false)
        .flatMap(([key]) => variablesOf(keys.get(key)?.flags ?? '').map((name) => [name, 'false'])),
    ),
  };
}

/** The commands that a scenario can run, with their options. */
export function scenarioCommands(entries: readonly CommandEntry[]): Promise<Command[]> {
  return everyCommand(entries.filter(({ inScenario }) => inScenario === true));
}

/** The schema of a scenario for this command. */
function scenarioSchema(command: Command): z.ZodType {
  const keys = [...optionKeys(command).keys()];
  const shape = Object.entries(shapeOf(command)).flatMap(([name, type]) =>
    configKeysOf(name, textsOf(type))
      .filter((key) => keys.includes(key))
      .map((key): [string, z.ZodType] => [key, type.optional()]),
  );
  return z.strictObject({ ...OWN_KEYS, ...Object.fromEntries(shape) });
}

/** The JSON Schema of scenario files: a choice by command. */
export function scenarioJsonSchema(commands: readonly Command[]): object {
  const choices = commands.map((command) =>
    z
      .strictObject({
        ...(scenarioSchema(command) as z.ZodObject).shape,
        capture: OWN_KEYS.capture,
      })
      .describe(`A scenario for reprise ${command.name()}.`),
  );
  return {
    $id: 'https://reprise.invalid/scenario.schema.json',
    title: 'Scenario of Reprise',
    ...z.toJSONSchema(choices.length === 1 ? (choices[0] as z.ZodType) : z.union(choices), {
      target: 'draft-2020-12',
      io: 'input',
    }),
  };
}

function optionKeys(command: Command): Map<string, OptionTexts> {
  const keys = new Map<string, OptionTexts>();
  for (const [name, type] of Object.entries(shapeOf(command))) {
    const texts = textsOf(type);
    if (name in CALL_OPTIONS || texts.flags === null) continue;
    for (const key of configKeysOf(name, texts)) keys.set(key, texts);
  }
  return keys;
}

function documentOf(file: string): YamlDocument {
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) {
    const known = kindOf(file) === 'capture' ? null : whatIs(file);
    throw new AppError('OPTION_INVALID', `${file} is a directory, and a scenario is a YAML file`, {
      hint:
        known?.hint ??
        `For a capture: reprise init ${file} writes a scenario, reprise run --preset sustained ${file} --target http://staging:8000 needs none. For a run: reprise report ${file}.`,
    });
  }
  const [document, another] = readYaml(file, PURPOSE);
  if (document === undefined || another !== undefined) {
    const text = document === undefined ? 'it is empty' : 'it holds more than one document';
    throw invalidYaml(file, [{ text, place: null }], PURPOSE);
  }
  return document;
}

function valuesOf(file: string | null, document: YamlDocument | null): Values {
  const value = document?.value ?? {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Values;
  throw invalidYaml(file ?? '', [{ text: 'it holds no keys', place: null }], PURPOSE);
}

function commandOf(
  values: Values,
  commands: readonly Command[],
  { file }: ScenarioRequest,
  document: YamlDocument | null,
): Command {
  const preset = SCENARIO_PRESETS[values['preset'] as PresetName] as { command?: string } | undefined;
  const name = values['command'] ?? preset?.command ?? 'replay';
  const command = commands.find((each) => each.name() === name);
  if (command !== undefined) return command;
  const known = commands.map((each) => each.name()).join(', ');
  const text = `command: ${JSON.stringify(name)} is none of: ${known}`;
  throw refusal(file, [{ text, place: document?.placeOf(['command']) ?? null }]);
}

function refusal(file: string | null, problems: Parameters<typeof invalidYaml>[1]): AppError {
  if (file !== null) return invalidYaml(file, problems, PURPOSE);
  return new AppError('OPTION_INVALID', problems.map(({ text }) => text).join('\n'), { hint: PURPOSE.hint });
}

/** The settings of the preset that apply. Its window applies only if the scenario states none. */
function presetOf(stated: Values): Values {
  const preset = SCENARIO_PRESETS[stated['preset'] as PresetName];
  if (preset === undefined) return {};
  const { window, settings } = preset;
  return stated['window'] != null ? settings : { ...window, ...settings };
}

/** Adds the preset's limit of mismatches, unless the objectives state one. */
function withMismatch(values: Values): Values {
  const preset = SCENARIO_PRESETS[values['preset'] as PresetName] as { mismatch?: string } | undefined;
  if (preset?.mismatch === undefined) return values;
  const slo = [values['slo']].flat().map(String);
  const texts = withOpenSlo(slo);
  return isCheckImplied(texts, namesBesideOurs(texts))
    ? values
    : { ...values, slo: [...slo, preset.mismatch] };
}

/** Sets the duration to that of the scenario's own stages, so that the preset's duration does not change them. */
function withStageLength(values: Values, stated: Values): Values {
  if (values['preset'] === undefined || stated['stages'] == null || stated['duration'] != null) return values;
  const ms = parseStages(String(values['stages'])).reduce((sum, { durationMs }) => sum + durationMs, 0);
  return { ...values, duration: ms % 60_000 === 0 ? `${ms / 60_000}m` : `${ms / 1e3}s` };
}

/** A problem if the scenario lacks a setting that its preset needs; else null. */
function missingOf(stated: Values): string | null {
  const preset = SCENARIO_PRESETS[stated['preset'] as PresetName] as { needs?: string } | undefined;
  if (preset?.needs === undefined || stated[preset.needs] != null) return null;
  return `preset ${stated['preset']}: ${preset.needs} is missing`;
}

/** Drops nulls: YAML has null for a key whose values are all commented out. */
function withoutNulls(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}

/** Parses `key=value` texts. A repeatable key collects all its values. */
function readSets(sets: readonly string[], keys: ReadonlyMap<string, OptionTexts>, command: Command): Values {
  const problems = new Problems();
  const values: Record<string, unknown> = {};
  for (const text of sets) {
    const at = text.indexOf('=');
    const key = text.slice(0, Math.max(0, at));
    const texts = keys.get(key);
    const isOwn = key === 'capture' || key === 'description';
    if (texts === undefined && !isOwn) {
      const suggestion = nearest(key || text, [...keys.keys(), 'capture']);
      const removed = insteadOf(command.name(), `--${key}`);
      const hint = removed ?? (suggestion === null ? null : `Did you mean ${suggestion}?`);
      problems.add(`--set ${text}: ${at < 1 ? 'it is not KEY=VALUE' : `${key} is not a setting`}`, hint);
      continue;
    }
    const value = text.slice(at + 1);
    if (texts?.repeatable) values[key] = [...((values[key] as string[] | undefined) ?? []), value];
    else values[key] = texts !== undefined && isSwitch(texts) ? (SWITCHES[value] ?? value) : value;
  }
  problems.throwIfAny();
  return values;
}

const SWITCHES: Readonly<Record<string, boolean>> = { true: true, false: false };

/** Whether a flag has no value, or an optional one. */
function isSwitch({ flags }: OptionTexts): boolean {
  return flags !== null && !flags.includes('<');
}

function argsOf(key: string, value: unknown, texts: OptionTexts): string[] {
  if (value === false) return [];
  if (value === true) return [`--${key}`];
  const values = texts.repeatable ? [value].flat() : [value];
  return values.map((each) => `--${key}=${String(each)}`);
}

/** A command line, quoted for a shell. */
export function shellLine(args: readonly string[]): string {
  return args
    .map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`))
    .join(' ');
}
