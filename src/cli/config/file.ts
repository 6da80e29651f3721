import type { Command } from 'commander';
import { z } from 'zod';
import { invalidYaml, readYaml, type YamlDocument, type YamlProblem } from '../../app/yaml-file.ts';
import { longNamesOf, type OptionTexts, problemOf, textsOf } from '../../core/options.ts';
import { nearest } from '../../core/text.ts';
import { type SettingSource, type Stated, shapeOf } from '../options.ts';
import { insteadOf } from './removed.ts';

const PURPOSE = {
  what: 'configuration',
  hint: 'Keys are the flags without their dashes, in a section named after the command; see reprise config schema.',
};

type Section = Readonly<Record<string, unknown>>;

/** A configuration file that was read and is valid. */
export class ConfigFile implements SettingSource {
  readonly path: string;
  readonly #values: Section;
  readonly #document: YamlDocument | null;

  private constructor(path: string, document: YamlDocument | null) {
    this.path = path;
    this.#document = document;
    this.#values = (document?.value ?? {}) as Section;
  }

  /**
   * Reads YAML 1.2, which includes JSON. `commands` are all commands, because a file may have keys of each.
   * @throws AppError OPTION_INVALID naming every problem with its line and column.
   */
  static read(path: string, program: Command, commands: readonly Command[]): ConfigFile {
    const [document = null, another] = readYaml(path, PURPOSE);
    if (another !== undefined) {
      throw invalidYaml(path, [{ text: 'it holds more than one document', place: null }], PURPOSE);
    }
    const checked = configSchema(program, commands).safeParse(document?.value ?? {});
    if (checked.success) return new ConfigFile(path, document);
    const problems = checked.error.issues.flatMap((issue) =>
      problemsOf(
        issue,
        document,
        ([section = ''], key) => insteadOf(section, key),
        (keys) => keysAt(keys, program, commands),
      ),
    );
    throw invalidYaml(path, problems, PURPOSE);
  }

  /** The value of an option in the section of a command; null if there is none. */
  settingOf(section: readonly string[], name: string, texts: OptionTexts): Stated | null {
    const values = this.#sectionAt(section);
    const key = configKeysOf(name, texts).find((each) => (values?.[each] ?? null) !== null);
    if (key === undefined) return null;
    const value = values?.[key];
    const isPlain = texts.flags !== null && typeof value !== 'boolean';
    const texted = texts.repeatable ? [value].flat().map(String) : isPlain ? String(value) : value;
    return { value: texted, origin: { kind: 'file', place: this.#placeOf([...section, key]) } };
  }

  /** `file:line` of a key, to show where a value came from. */
  #placeOf(keys: readonly string[]): string {
    const place = this.#document?.placeOf(keys) ?? null;
    return place === null ? this.path : `${this.path}:${place.line}`;
  }

  #sectionAt(keys: readonly string[]): Section | null {
    const found = keys.reduce<unknown>((value, key) => (value as Section | undefined)?.[key], this.#values);
    return (found as Section | null | undefined) ?? null;
  }
}

/**
 * The problems of a value, with their place. For an unknown key, the nearest known key is suggested.
 * @param instead what to type for a key that was removed at a path; null for any other
 * @param keysOf the keys that are allowed at a path
 */
export function problemsOf(
  issue: z.core.$ZodIssue,
  document: YamlDocument | null,
  instead: (path: readonly string[], flag: string) => string | null,
  keysOf: (path: readonly string[]) => Iterable<string>,
): YamlProblem[] {
  const path = issue.path.map(String);
  const problem = (keys: readonly string[], what: string) => ({
    place: document?.placeOf(keys) ?? null,
    text: `${keys.join('.') || 'the file'}${what}`,
  });
  if (issue.code !== 'unrecognized_keys') return [problem(path, `: ${problemOf(issue)}`)];
  return issue.keys.map((key) => {
    const removed = instead(path, `--${key}`);
    if (removed !== null) return problem([...path, key], ` is not a setting. ${removed}`);
    const suggestion = nearest(key, keysOf(path));
    const hint = suggestion === null ? '' : `; did you mean ${suggestion}?`;
    return problem([...path, key], ` is not a setting${hint}`);
  });
}

function keysAt(path: readonly string[], program: Command, commands: readonly Command[]): Set<string> {
  const [section, ...rest] = path;
  let command = section === undefined ? program : commands.find((one) => one.name() === section);
  for (const name of rest) command = command?.commands.find((one) => one.name() === name);
  const shape = command === undefined ? {} : shapeOf(command);
  const keys = Object.entries(shape).flatMap(([name, type]) => configKeysOf(name, textsOf(type)));
  const children = (section === undefined ? commands : (command?.commands ?? [])).map((one) => one.name());
  return new Set([...keys, ...children]);
}

/** The only option that is no setting in the file, because it names the file. */
const NOT_A_SETTING = '--config';

/** The keys of an option: `max-disk` for `--max-disk`. Empty if it is no setting. */
export function configKeysOf(key: string, { flags }: OptionTexts): string[] {
  if (flags === null) return [key];
  return longNamesOf(flags)
    .filter((name) => name !== NOT_A_SETTING)
    .map((name) => name.replace(/^--/, ''));
}

/** The schema of a whole file: the program's own settings, and a section for each command. */
function configSchema(program: Command, commands: readonly Command[]): z.ZodType {
  const sections = commands
    .filter((command) => Object.keys(keysOf(command)).length > 0)
    .map((command) => [command.name(), sectionOf(command).optional()] as const);
  return z.strictObject({ ...keysOf(program), ...Object.fromEntries(sections) });
}

/** The same as a JSON Schema, for editors and manifest checks. */
export function configJsonSchema(program: Command, commands: readonly Command[]): object {
  return {
    $id: 'https://reprise.invalid/config.schema.json',
    title: 'Configuration of Reprise',
    ...z.toJSONSchema(configSchema(program, commands), {
      target: 'draft-2020-12',
      io: 'input',
      override: ({ jsonSchema }) => flattenEmpty(jsonSchema),
    }),
  };
}

/** Gives a value that may be null two types, because editors support this better than a choice of two schemas. */
function flattenEmpty(schema: z.core.JSONSchema.BaseSchema): void {
  const [some, none, more] = schema.anyOf ?? [];
  if (some?.type !== 'object' && some?.type !== 'array') return;
  if (none?.type !== 'null' || more !== undefined) return;
  delete schema.anyOf;
  Object.assign(schema, some, { type: [some.type, 'null'] });
}

/** The section of a command. It may be null: YAML has null for a section whose keys are all commented out. */
function sectionOf(command: Command): z.ZodType {
  return z.strictObject(keysOf(command)).describe(command.description()).nullable();
}

function keysOf(command: Command): Record<string, z.ZodType> {
  const keys: Record<string, z.ZodType> = {};
  for (const [name, type] of Object.entries(shapeOf(command))) {
    // Required options are optional in a file, because the command line may state them.
    for (const key of configKeysOf(name, textsOf(type))) keys[key] = type.optional();
  }
  for (const child of command.commands) {
    if (Object.keys(keysOf(child)).length > 0) keys[child.name()] = sectionOf(child).optional();
  }
  return keys;
}
