import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { z } from 'zod';
import { AppError, reasonOf } from '../../core/errors.ts';
import { longNamesOf, type OptionTexts, problemOf, textsOf } from '../../core/options.ts';
import { type SettingSource, type Stated, shapeOf } from '../options.ts';
import { nearest } from './environment.ts';

/** More than any configuration needs, and less than a mistaken path could make us read. */
const CONFIG_BYTES = 1024 * 1024;
/** What aliases stand for may hold aliases: with few lines more than any memory holds. */
const EXPANSIONS = 100;

type Section = Readonly<Record<string, unknown>>;

/** A configuration file, read and found to be in order. */
export class ConfigFile implements SettingSource {
  readonly path: string;
  readonly #values: Section;
  readonly #lineOf: (path: readonly string[]) => number | null;

  private constructor(path: string, values: Section, lineOf: (path: readonly string[]) => number | null) {
    this.path = path;
    this.#values = values;
    this.#lineOf = lineOf;
  }

  /**
   * Reads YAML 1.2, which includes JSON. `commands` are all there are: a key of any of them is known.
   * @throws AppError OPTION_INVALID naming every problem with its line.
   */
  static read(path: string, program: Command, commands: readonly Command[]): ConfigFile {
    const text = textOf(path);
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, version: '1.2' });
    const lineAt = (offset: number) => lines.linePos(offset).line;
    if (document.errors.length > 0) {
      const problems = document.errors.map(({ message, pos }) => {
        const [what = ''] = message.split('\n');
        return `line ${lineAt(pos[0])}: ${what.replace(/ at line \d+, column \d+:?$/, '')}`;
      });
      throw invalid(path, problems);
    }
    const lineOf = (keys: readonly string[]) => {
      const offset = offsetOf(document.contents, keys);
      return offset === null ? null : lineAt(offset);
    };
    const values = valuesOf(path, document);
    const checked = configSchema(program, commands).safeParse(values);
    if (!checked.success) {
      const problems = checked.error.issues.flatMap((issue) => problemsOf(issue, program, commands, lineOf));
      problems.sort((a, b) => a.line - b.line);
      throw invalid(
        path,
        problems.map(({ text }) => text),
      );
    }
    return new ConfigFile(path, values, lineOf);
  }

  /** What the section of a command says of an option; null where it says nothing. */
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
    const line = this.#lineOf(keys);
    return line === null ? this.path : `${this.path}:${line}`;
  }

  #sectionAt(keys: readonly string[]): Section | null {
    const found = keys.reduce<unknown>((value, key) => (value as Section | undefined)?.[key], this.#values);
    return (found as Section | null | undefined) ?? null;
  }
}

function textOf(path: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.length <= CONFIG_BYTES) return text;
  } catch (error) {
    throw new AppError('OPTION_INVALID', `configuration ${path} cannot be read: ${reasonOf(error)}`, {
      hint: 'Give a YAML file that this user can read with --config or REPRISE_CONFIG.',
      cause: error,
    });
  }
  throw new AppError('OPTION_INVALID', `configuration ${path} is larger than ${CONFIG_BYTES} bytes`);
}

function valuesOf(path: string, document: Document): Section {
  try {
    return (document.toJS({ maxAliasCount: EXPANSIONS }) ?? {}) as Section;
  } catch (error) {
    // An alias without its anchor, or aliases that stand for too much.
    if (!(error instanceof ReferenceError)) throw error;
    throw invalid(path, [error.message]);
  }
}

function invalid(path: string, problems: readonly string[]): AppError {
  const text = problems.length === 1 ? `: ${problems[0]}` : `:\n  ${problems.join('\n  ')}`;
  return new AppError('OPTION_INVALID', `configuration ${path}${text}`, {
    hint: 'Keys are the flags without their dashes, in a section named after the command; see reprise config schema.',
  });
}

/** One line a problem, with its place and, for a key that does not exist, the nearest that does. */
function problemsOf(
  issue: z.core.$ZodIssue,
  program: Command,
  commands: readonly Command[],
  lineOf: (path: readonly string[]) => number | null,
): { line: number; text: string }[] {
  const path = issue.path.map(String);
  const problem = (keys: readonly string[], what: string) => {
    const line = lineOf(keys);
    const name = keys.join('.') || 'the file';
    return { line: line ?? 0, text: `${line === null ? '' : `line ${line}: `}${name}${what}` };
  };
  if (issue.code !== 'unrecognized_keys') return [problem(path, `: ${problemOf(issue)}`)];
  return issue.keys.map((key) => {
    const suggestion = nearest(key, keysAt(path, program, commands));
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

/** Offset of the key that a path ends in; null if there is no such key. */
function offsetOf(contents: unknown, keys: readonly string[]): number | null {
  let node: unknown = contents;
  let offset: number | null = null;
  for (const key of keys) {
    if (!isMap(node)) return offset;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
    if (pair === undefined) return offset;
    offset = (pair.key as Node).range?.[0] ?? offset;
    node = pair.value;
  }
  return offset;
}

/** The option that names the file is the only one that is no setting of it. */
const NOT_A_SETTING = '--config';

/** `--max-disk` is the key `max-disk`. Empty for no setting. */
export function configKeysOf(key: string, { flags }: OptionTexts): string[] {
  if (flags === null) return [key];
  return longNamesOf(flags)
    .filter((name) => name !== NOT_A_SETTING)
    .map((name) => name.replace(/^--/, ''));
}

/** What a whole file may hold: the program's own settings, and a section for each command. */
export function configSchema(program: Command, commands: readonly Command[]): z.ZodType {
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

/** What may be empty is of two types, which editors follow better than a choice of two schemas. */
function flattenEmpty(schema: z.core.JSONSchema.BaseSchema): void {
  const [some, none, more] = schema.anyOf ?? [];
  if (some?.type !== 'object' && some?.type !== 'array') return;
  if (none?.type !== 'null' || more !== undefined) return;
  delete schema.anyOf;
  Object.assign(schema, some, { type: [some.type, 'null'] });
}

/** One whose keys are all commented out is empty, which YAML calls null. */
function sectionOf(command: Command): z.ZodType {
  return z.strictObject(keysOf(command)).describe(command.description()).nullable();
}

function keysOf(command: Command): Record<string, z.ZodType> {
  const keys: Record<string, z.ZodType> = {};
  for (const [name, type] of Object.entries(shapeOf(command))) {
    // A file need not state what a command cannot do without: the command line may.
    for (const key of configKeysOf(name, textsOf(type))) keys[key] = type.optional();
  }
  for (const child of command.commands) {
    if (Object.keys(keysOf(child)).length > 0) keys[child.name()] = sectionOf(child).optional();
  }
  return keys;
}
