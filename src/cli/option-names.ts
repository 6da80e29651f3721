import type { Option } from 'commander';

/**
 * The long names of a flag, dashes included: the one it is known by, then its short form, which commander keeps
 * apart (`--markdown` and `--md`). All of them can be said as a variable or a key too.
 */
export function longNamesOf({ long, short }: Option): string[] {
  return [long, short].filter((name) => name?.startsWith('--') === true) as string[];
}
