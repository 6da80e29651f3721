import { AppError } from './errors.ts';
import { parseJsonPointer } from './json-pointer.ts';
import { BODY_PRESETS, type BodyPreset, presetTreatments } from './privacy/presets.ts';
import { STRENGTH, type Treatment } from './privacy/treatment.ts';

/** What becomes of a value that a pointer names, from the least hiding to the most. */
export const BODY_ACTIONS = ['hash', 'mask', 'drop'] as const;
export type BodyAction = (typeof BODY_ACTIONS)[number];

/** One rule as it was written: `pointer` is a JSON pointer (RFC 6901) in which `*` stands for any member. */
export interface BodyRule {
  readonly pointer: string;
  readonly action: BodyAction;
}

/** What is to be hidden in bodies; plain data, because it travels between processes and into the capture. */
export interface BodyRules {
  readonly rules: readonly BodyRule[];
  readonly presets: readonly BodyPreset[];
}

/** Bodies are stored as they came. */
export const NO_BODY_RULES: BodyRules = Object.freeze({ rules: [], presets: [] });

/** More than a service's payloads can need, and few enough to be tried on every value. */
const MAX_RULES = 64;

/**
 * Reads rules as the command line and the configuration write them.
 * @param texts `pointer=action`, such as `/prompt=mask`
 * @param presets names of presets
 * @throws AppError OPTION_INVALID saying which text is wrong, and how
 */
export function parseBodyRules(texts: readonly string[], presets: readonly string[] = []): BodyRules {
  if (texts.length > MAX_RULES) {
    throw new AppError('OPTION_INVALID', `${texts.length} redaction rules are more than ${MAX_RULES}`, {
      hint: 'name a value that holds the others: a rule covers everything below its pointer',
    });
  }
  return { rules: texts.map(parseBodyRule), presets: [...new Set(presets.map(parsePreset))] };
}

/**
 * @param text `pointer=action`; the last `=` divides, so that keys may hold one.
 * @throws AppError OPTION_INVALID
 */
export function parseBodyRule(text: string): BodyRule {
  const equals = text.lastIndexOf('=');
  const action = BODY_ACTIONS.find((known) => known === text.slice(equals + 1));
  if (equals < 0 || action === undefined) {
    throw new AppError('OPTION_INVALID', `redaction rule ${JSON.stringify(text)} names no action`, {
      hint: `write POINTER=ACTION with ${BODY_ACTIONS.join(', ')}, such as /messages/*/content=mask`,
    });
  }
  const pointer = text.slice(0, equals);
  parseJsonPointer(pointer);
  return { pointer, action };
}

/** What the rules say about values, the presets' rules included. */
export function bodyTreatments({ rules, presets }: BodyRules): Treatment[] {
  const asked = rules.map(({ pointer, action }) => ({
    covering: action,
    strength: STRENGTH.user[action],
    name: pointer,
  }));
  return [...asked, ...presets.flatMap(presetTreatments)];
}

function parsePreset(text: string): BodyPreset {
  const preset = BODY_PRESETS.find((known) => known === text);
  if (preset === undefined) {
    throw new AppError('OPTION_INVALID', `${JSON.stringify(text)} is no redaction preset`, {
      hint: `there are ${BODY_PRESETS.join(', ')}`,
    });
  }
  return preset;
}
