import { type Command, Option } from 'commander';
import { longNamesOf, type OptionShape, type OptionTexts, textsOf } from '../core/options.ts';

const shapes = new WeakMap<Command, OptionShape>();

/** Gives a command the flags of its options; `optionsOf` then reads them. */
export function addOptions(command: Command, shape: OptionShape): Command {
  shapes.set(command, { ...shapes.get(command), ...shape });
  for (const type of Object.values(shape)) {
    const texts = textsOf(type);
    if (texts.flags !== null) command.addOption(flagOf(texts.flags, texts));
  }
  return command;
}

/** The options of a command; empty for one that has none. */
export function shapeOf(command: Command): OptionShape {
  return shapes.get(command) ?? {};
}

/** Commander only collects what is given: reading it, and what holds without it, are the option's own. */
function flagOf(flags: string, { description, repeatable, default: initial }: OptionTexts): Option {
  const [name] = longNamesOf(flags);
  const also = initial === null ? [] : [`default: ${[initial].flat().join(', ')}`];
  const notes = [...(repeatable ? ['repeatable'] : []), ...also];
  const option = new Option(flags, notes.length === 0 ? description : `${description} (${notes.join('; ')})`);
  if (name === undefined) throw new Error(`${flags} has no long name`);
  return repeatable
    ? option.argParser((given: string, before: string[] | undefined) => [...(before ?? []), given])
    : option;
}
