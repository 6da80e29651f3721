import type { Command, Option } from 'commander';
import { z } from 'zod';
import { longNamesOf } from './option-names.ts';
import { RepeatableOption } from './repeatable.ts';

/** Options that say where settings come from, or that end the command at once: no settings themselves. */
const NOT_SETTINGS: ReadonlySet<string> = new Set(['--help', '--version', '--config']);

const EMPTY = 'the list is empty';

/** Keys of a command's section that are too rich for a flag, such as a list of routes. */
const structured = new WeakMap<Command, Readonly<Record<string, z.ZodType>>>();

/** Lets the section of a command hold more than its flags say; the action finds the value under the key. */
export function acceptStructured(command: Command, keys: Readonly<Record<string, z.ZodType>>): Command {
  structured.set(command, keys);
  return command;
}

export function structuredKeysOf(command: Command): Readonly<Record<string, z.ZodType>> {
  return structured.get(command) ?? {};
}

/** `--max-disk` is the key `max-disk`; `--no-progress` is `progress`, to be set to false. Empty for no setting. */
export function configKeysOf(option: Option): string[] {
  return longNamesOf(option)
    .filter((name) => !NOT_SETTINGS.has(name))
    .map((name) => name.replace(/^--(no-)?/, ''));
}

/** What a whole file may hold: the program's own settings, and a section for each command. */
export function configSchema(program: Command, commands: readonly Command[]): z.ZodType {
  const sections = commands
    .filter((command) => Object.keys(keysOf(command)).length > 0)
    .map((command) => [command.name(), sectionOf(command).optional()] as const);
  return z.strictObject({ ...keysOf(program), ...Object.fromEntries(sections) });
}

/** The same as a JSON Schema, for editors and for whoever checks a manifest. */
export function configJsonSchema(program: Command, commands: readonly Command[]): object {
  return {
    $id: 'https://reprise.invalid/config.schema.json',
    title: 'Configuration of Reprise',
    ...z.toJSONSchema(configSchema(program, commands), {
      target: 'draft-2020-12',
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

/** A list whose entries are all commented out is null as well, and left out: what holds without it does. */
function keysOf(command: Command): Record<string, z.ZodType> {
  const keys: Record<string, z.ZodType> = {};
  for (const option of command.options) {
    for (const key of configKeysOf(option)) {
      keys[key] = valueSchema(option).describe(option.description).optional();
    }
  }
  for (const [key, schema] of Object.entries(structuredKeysOf(command))) keys[key] = schema.nullish();
  for (const child of command.commands) {
    if (Object.keys(keysOf(child)).length > 0) keys[child.name()] = sectionOf(child).optional();
  }
  return keys;
}

function valueSchema(option: Option): z.ZodType {
  if (option instanceof RepeatableOption) {
    const list = z.array(scalar());
    if (option.neverEmpty)
      return z.union([scalar(), list.min(1, EMPTY)], {
        error: ({ input }) => (input === null ? EMPTY : undefined),
      });
    return z.union([scalar(), list, z.null()]);
  }
  if (!option.required && !option.optional) return z.boolean();
  // Without its value such a flag says yes.
  if (option.optional) return z.union([z.boolean(), scalar()]);
  return option.argChoices === undefined ? scalar() : choice(option.argChoices);
}

/** YAML reads `2` as a number where a flag has a text; both say the same. */
function scalar(): z.ZodType {
  return z.union([z.string(), z.number()]);
}

function choice(words: readonly string[]): z.ZodType {
  const numbers = words.map(Number).filter((number, at) => String(number) === words[at]);
  return z.literal([...words, ...numbers]);
}
