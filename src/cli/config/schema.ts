import type { Command } from 'commander';
import { z } from 'zod';
import { longNamesOf, type OptionTexts, textsOf } from '../../core/options.ts';
import { shapeOf } from '../flags.ts';

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
