import { z } from 'zod';
import { AppError, Problems } from './errors.ts';
import { nearest } from './text.ts';

/** Texts of an option besides its type, stored in `OPTION_TEXTS` under its zod type. */
export interface OptionTexts {
  /**
   * In commander's format: `--max-disk <size>`, `-H, --header <header>`. Null if only a file can state it.
   */
  readonly flags: string | null;
  readonly description: string;
  /** Whether it may be given several times. */
  readonly repeatable: boolean;
  /** The default, as a user would write it; null if there is none. */
  readonly default: string | readonly string[] | null;
  /** Its heading in the long help; null for none. */
  readonly group: string | null;
  /** Null for an option of a command that is no replay. */
  readonly decides: Decides | null;
  /** Whether it is about one whole run, so that the steps of a search cannot have it. */
  readonly ofOneRun: boolean;
}

/**
 * What an option of a replay decides: what is sent and when, how this process sends it, how the result is judged, or
 * where results go. Shards of one plan may differ in all but the first.
 */
type Decides = 'plan' | 'process' | 'judgement' | 'output';

/** The texts of every option. A separate registry keeps them out of JSON Schemas. */
const OPTION_TEXTS = z.registry<OptionTexts>();

/** The options of a command, by flag name in camel case. */
export type OptionShape = Readonly<Record<string, z.ZodType>>;

/** What a caller may state: text as on the command line, numbers, and booleans for switches. */
export type StatedOptions<Shape extends OptionShape> = {
  readonly [Key in keyof Shape]?: z.input<Shape[Key]>;
};

/** Resolved options: every option has a value. */
export type ResolvedOptions<Shape extends OptionShape> = {
  readonly [Key in keyof Shape]: z.output<Shape[Key]>;
};

/** Reads user input. Throws AppError OPTION_INVALID, prefixed with `what`, for invalid input. */
export type OptionParser<Value> = (text: string, what: string) => Value;

/** One part of a value such as `total=300s,connect=10s`. */
export interface Part<Value> {
  readonly parse: OptionParser<Value>;
  /** As a user would write it; null if there is none. */
  readonly default: string | null;
  readonly isRepeatable: boolean;
  readonly isRequired: boolean;
  /** The value that its name alone stands for: `websocket` is `websocket=on`. */
  readonly alone?: string;
}

type PartValues<Parts> = {
  readonly [Name in keyof Parts]: Parts[Name] extends Part<infer Value> ? Value : never;
};

/** A part with one value; null if it is not stated and has no default. */
export function part<Value>(parse: OptionParser<Value>, initial: string): Part<Value>;
export function part<Value>(parse: OptionParser<Value>): Part<Value | null>;
export function part<Value>(parse: OptionParser<Value>, initial?: string): Part<Value | null> {
  return { parse, default: initial ?? null, isRepeatable: false, isRequired: false };
}

/** A part whose name alone stands for a value. */
export function partAlone<Value>(parse: OptionParser<Value>, alone: string): Part<Value | null> {
  return { ...part(parse), alone };
}

/** A part that must be given if the option is. */
export function requiredPart<Value>(parse: OptionParser<Value>): Part<Value> {
  return { parse, default: null, isRepeatable: false, isRequired: true };
}

/** A part that may be given several times. */
export function partList<Value>(parse: OptionParser<Value>): Part<readonly Value[]> {
  return { parse: parse as OptionParser<never>, default: null, isRepeatable: true, isRequired: false };
}

/** A part that is on or off: `websocket` is `websocket=on`. */
export function partSwitch(initial: 'on' | 'off' = OFF): Part<boolean> {
  return { parse: onOrOff, default: initial, isRepeatable: false, isRequired: false, alone: ON };
}

const ON = 'on';
const OFF = 'off';

const onOrOff: OptionParser<boolean> = (given, what) => {
  if (given === ON || given === OFF) return given === ON;
  throw new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(given)} is neither ${ON} nor ${OFF}`);
};

/**
 * Parses a value with named parts, in camel case here and `kebab-case` in the text: `connect=1s,first-byte=30s`. A comma
 * belongs to a value if no name follows it.
 * @param first the part that needs no name if it comes first: `30s` is `total=30s`
 */
export function partsOf<const Parts extends Readonly<Record<string, Part<unknown>>>>(
  parts: Parts,
  first?: keyof Parts & string,
): OptionParser<PartValues<Parts>> {
  const keys = new Map(Object.keys(parts).map((key) => [kebab(key), key]));
  const known = `Parts are ${[...keys.keys()].join(', ')}, such as ${[...keys.keys()].slice(0, 2).join('=…,')}=….`;
  return (given, what) => {
    const stated = new Map<string, string[]>();
    for (const { name, text } of namedIn(given, parts, keys)) {
      const key = name === null ? first : keys.get(name);
      if (key === undefined) {
        const near = nearest(name ?? text, keys.keys());
        const wrong =
          name === null ? `${JSON.stringify(text)} is not NAME=VALUE` : `there is no part ${name}`;
        const hint = near === null ? known : `Did you mean ${near}=…? ${known}`;
        throw new AppError('OPTION_INVALID', `${what}: ${wrong}`, { hint });
      }
      const before = stated.get(key) ?? [];
      if (before.length > 0 && !parts[key]?.isRepeatable)
        throw new AppError('OPTION_INVALID', `${what}: ${kebab(key)} is given twice`);
      stated.set(key, [...before, text]);
    }
    const read = Object.entries(parts).map(([key, { parse, default: initial, isRepeatable, isRequired }]) => {
      const of = key === first ? what : `${what} ${kebab(key)}`;
      const texts = stated.get(key) ?? (initial === null ? [] : [initial]);
      if (isRequired && texts.length === 0)
        throw new AppError('OPTION_INVALID', `${what}: ${kebab(key)} is missing`, { hint: known });
      const values = texts.map((text) => parse(text, of));
      return [key, isRepeatable ? values : (values[0] ?? null)];
    });
    return Object.fromEntries(read) as PartValues<Parts>;
  };
}

/** A value with two parts that are given together or not at all. */
export function bothOrNeither<Name extends string, Value extends Readonly<Record<Name, unknown>>>(
  one: Name,
  other: Name,
  parse: OptionParser<Value>,
): OptionParser<Value> {
  return (given, what) => {
    const value = parse(given, what);
    if ((value[one] === null) === (value[other] === null)) return value;
    const [stated, missing] = value[one] === null ? [other, one] : [one, other];
    throw new AppError('OPTION_INVALID', `${what}: ${kebab(stated)} is given without ${kebab(missing)}`, {
      hint: `Give both: ${kebab(one)}=…,${kebab(other)}=….`,
    });
  };
}

/** The named parts of a text, in their order. The name is null for a first part without one. */
function namedIn(
  given: string,
  parts: Readonly<Record<string, Part<unknown>>>,
  keys: ReadonlyMap<string, string>,
): { readonly name: string | null; text: string }[] {
  const found: { readonly name: string | null; text: string }[] = [];
  for (const piece of given.split(',')) {
    const [, name, text = ''] = /^\s*([a-z][\w-]*)\s*=(.*)$/s.exec(piece) ?? [];
    const alone = parts[keys.get(piece.trim()) ?? '']?.alone;
    const last = found.at(-1);
    if (name !== undefined) found.push({ name, text: text.trim() });
    else if (alone !== undefined) found.push({ name: piece.trim(), text: alone });
    else if (last === undefined) found.push({ name: null, text: piece.trim() });
    else last.text += `,${piece}`;
  }
  return found;
}

/** A parser for one of these words. */
export function word<const Word extends string>(words: readonly Word[]): OptionParser<Word> {
  return (text, what) => {
    const found = words.find((each) => each === text);
    if (found !== undefined) return found;
    throw new AppError(
      'OPTION_INVALID',
      `${what}: ${JSON.stringify(text)} is not one of ${words.join(', ')}`,
    );
  };
}

/** The default of an option with these parts, for its help. */
export function partDefaults(parts: Readonly<Record<string, Part<unknown>>>): string {
  return Object.entries(parts)
    .flatMap(([key, { default: initial, parse }]) =>
      initial === null || parse === onOrOff ? [] : [`${kebab(key)}=${initial}`],
    )
    .join(',');
}

/** `first-byte` for `firstByte`. */
export function kebab(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

type Scalar = string | number;

interface ValueSettings {
  /** Read like any other text. */
  readonly default?: string;
  /** The option must be stated. */
  readonly required?: boolean;
  /**
   * Allows an empty file or directory name. By default it is refused, because an unset variable causes it.
   */
  readonly mayBeEmpty?: boolean;
}

type Absent<Settings> = Settings extends { readonly default: string } | { readonly required: true }
  ? never
  : null;

/** An option with one value; null if it is not stated and has no default. */
export function value<Value, const Settings extends ValueSettings = Record<never, never>>(
  flags: string,
  description: string,
  parse: OptionParser<Value>,
  settings?: Settings,
): z.ZodType<Value | Absent<Settings>, Scalar | undefined> {
  const what = nameOf(flags);
  const kind = settings?.mayBeEmpty ? undefined : /<(directory|file)>/.exec(flags)?.[1];
  const read = scalar(what).transform(reading(what, kind === undefined ? parse : notEmpty(kind, parse)));
  return single(read, flags, description, settings);
}

/** An option whose text is used unchanged. */
export function text<const Settings extends ValueSettings = Record<never, never>>(
  flags: string,
  description: string,
  settings?: Settings,
): z.ZodType<string | Absent<Settings>, Scalar | undefined> {
  return value(flags, description, asIs, settings);
}

/**
 * An option whose value is optional: without a value it means `alone`. Null if it is not stated. It also accepts true
 * and false, as in a file.
 */
export function switchOrValue<Value>(
  flags: string,
  description: string,
  parse: OptionParser<Value>,
  alone: string,
): z.ZodType<Value | null, Scalar | boolean | undefined> {
  const read = reading(nameOf(flags), parse);
  const type = z
    .union([z.boolean(), z.string(), z.number()])
    .optional()
    .transform((stated, context) => {
      if (stated === undefined || stated === false) return null;
      return read(stated === true ? alone : stated, context);
    });
  return described(type, { flags, description });
}

/** An option that is on or off. */
export function toggle(flags: string, description: string): z.ZodType<boolean, boolean | undefined> {
  const type = z
    .boolean()
    .optional()
    .transform((stated) => stated ?? false);
  return described(type, { flags, description });
}

/** An option that accepts one of these words. */
export function choice<
  const Word extends string,
  const Settings extends ValueSettings = Record<never, never>,
>(
  flags: string,
  description: string,
  words: readonly Word[],
  settings?: Settings,
): z.ZodType<Word | Absent<Settings>, Scalar | undefined> {
  const what = nameOf(flags);
  // YAML reads `502` as a number.
  const numbers = words.map(Number).filter((number, at) => String(number) === words[at]);
  const type = z
    .literal([...words, ...numbers], {
      error: ({ input }) =>
        input === undefined
          ? `${what} is missing`
          : `${JSON.stringify(input)} is none of: ${words.join(', ')}`,
    })
    .transform((word) => String(word) as Word);
  return single(type, flags, description, settings);
}

/** An option with one value. If it is not stated, it gets its default, is refused if required, or is null. */
function single<Value, Settings extends ValueSettings>(
  type: z.ZodType<Value>,
  flags: string,
  description: string,
  settings: Settings | undefined,
): z.ZodType<Value | Absent<Settings>, Scalar | undefined> {
  const { default: initial, required = false }: ValueSettings = settings ?? {};
  const texts = { flags, description, default: initial ?? null };
  if (initial !== undefined) return described(type.prefault(initial), texts) as never;
  const resolved = required ? type : type.optional().transform((found) => found ?? null);
  return described(resolved, texts) as never;
}

interface ListSettings {
  readonly default?: readonly string[];
  /** At least one is needed unless there is a default. An explicitly empty list is refused. */
  readonly required?: boolean;
}

/** A repeatable option. A stated list replaces the default. */
export function list(
  flags: string,
  description: string,
  settings: ListSettings = {},
): z.ZodType<readonly string[], ListInput> {
  return listOf(flags, description, asIs, settings);
}

/** The same, with each value read by `parse`. */
export function listOf<Value>(
  flags: string,
  description: string,
  parse: OptionParser<Value>,
  { default: initial, required = false }: ListSettings = {},
): z.ZodType<readonly Value[], ListInput> {
  const what = nameOf(flags);
  const read = reading(what, parse);
  const toList = (stated: ListInput, context: z.RefinementCtx): Value[] =>
    [stated ?? initial ?? []].flat().map((each) => read(each, context));
  const texts = { flags, description, repeatable: true, default: initial ?? null };
  const values = z.array(scalar(what));
  if (required) {
    const type = z.union([scalar(what), values.min(1, EMPTY)], {
      error: ({ input }) => (input === undefined ? `${what} is missing` : input === null ? EMPTY : undefined),
    });
    return described((initial === undefined ? type : type.prefault([...initial])).transform(toList), texts);
  }
  // In a file, a list with all entries commented out is null. Then the default applies.
  const type = z.union([scalar(what), values, z.null()]).optional();
  return described(type.transform(toList), texts);
}
type ListInput = Scalar | readonly Scalar[] | null | undefined;

/** A setting too complex for a flag, stated in a file or by a program. Null if it is not stated. */
export function structure<Value>(
  type: z.ZodType<Value>,
  description: string,
): z.ZodType<Value | null, Value | null | undefined> {
  const nullable = type.nullish().transform((stated) => stated ?? null);
  return described(nullable, { flags: null, description }) as never;
}

/** Puts options under a heading of the long help, except those that have one. */
export function grouped<Shape extends OptionShape>(heading: string, shape: Shape): Shape {
  return marked(shape, (texts) => ({ group: texts.group ?? heading }));
}

/** States what options decide, except those of which it is stated. */
export function deciding<Shape extends OptionShape>(decides: Decides, shape: Shape): Shape {
  return marked(shape, (texts) => ({ decides: texts.decides ?? decides }));
}

/** Marks the type of an option about one whole run. No value has this key. */
export interface OfOneRun {
  readonly isOfOneRun: true;
}

/** Options about one whole run. */
export function ofOneRun<Shape extends OptionShape>(
  shape: Shape,
): { readonly [Key in keyof Shape]: Shape[Key] & OfOneRun } {
  return marked(shape, () => ({ ofOneRun: true })) as never;
}

/** The options that are not about one whole run. */
export function ofSteps<Shape extends OptionShape>(
  shape: Shape,
): { readonly [Key in keyof Shape as Shape[Key] extends OfOneRun ? never : Key]: Shape[Key] } {
  return Object.fromEntries(Object.entries(shape).filter(([, type]) => !textsOf(type).ofOneRun)) as never;
}

function marked<Shape extends OptionShape>(
  shape: Shape,
  marks: (texts: OptionTexts) => Partial<OptionTexts>,
): Shape {
  for (const type of Object.values(shape)) {
    const texts = textsOf(type);
    OPTION_TEXTS.add(type, { ...texts, ...marks(texts) });
  }
  return shape;
}

/** The texts of an option. @throws Error for a type that was not created by the functions here */
export function textsOf(type: z.ZodType): OptionTexts {
  const texts = OPTION_TEXTS.get(type);
  if (texts === undefined) throw new Error('a type without texts is no option');
  return texts;
}

/** The long names in `-H, --header <header>`, with dashes. The main name is last in the flags and first in the result. */
export function longNamesOf(flags: string): string[] {
  return (flags.match(/--[\w-]+/g) ?? []).reverse();
}

/** The source of a value. */
export interface Origin {
  readonly kind: 'flag' | 'variable' | 'file';
  /** `REPRISE_MAX_DISK`, `reprise.yaml:12`; null for a flag. */
  readonly place: string | null;
}

/** Requested options: their texts, and the origin of each. */
export interface Asked<Shape extends OptionShape> {
  readonly stated: StatedOptions<Shape>;
  /** Null if it was not stated. */
  readonly originOf: (key: keyof Shape & string) => Origin | null;
}

/**
 * Options requested by a program, treated like a command line.
 * @throws AppError OPTION_INVALID for unknown names
 */
export function byProgram<Shape extends OptionShape>(
  shape: Shape,
  stated: StatedOptions<Shape>,
): Asked<Shape> {
  const unknown = Object.keys(stated).filter((key) => !Object.hasOwn(shape, key));
  if (unknown.length > 0) {
    throw new AppError('OPTION_INVALID', `there is no option ${unknown.join(', ')}`, {
      hint: `Options: ${Object.keys(shape).join(', ')}.`,
    });
  }
  return {
    stated,
    originOf: (key) => (stated[key] === undefined ? null : { kind: 'flag', place: null }),
  };
}

/** Keeps only these options. */
export function askedFor<Shape extends OptionShape>(
  shape: Shape,
  { stated, originOf }: Asked<OptionShape>,
): Asked<Shape> {
  const own = Object.entries(stated).filter(([key]) => Object.hasOwn(shape, key));
  return { stated: Object.fromEntries(own) as StatedOptions<Shape>, originOf };
}

/** Whether the command line itself states an option. Variables and files apply to other commands too. */
export function isOnCommandLine<Shape extends OptionShape>(
  { originOf }: Asked<Shape>,
  key: keyof Shape & string,
): boolean {
  return originOf(key)?.kind === 'flag';
}

/**
 * Resolves every option and adds errors to the problems. A refused option gets its default, so that the
 * others can still be checked against each other.
 */
export function readOptions<Shape extends OptionShape>(
  shape: Shape,
  { stated, originOf }: Asked<Shape>,
  problems: Problems,
): ResolvedOptions<Shape> {
  const resolved = Object.entries(shape).map(([key, type]) => {
    const result = type.safeParse(stated[key]);
    if (result.success) return [key, result.data];
    const { flags, description, repeatable } = textsOf(type);
    const meaning = flags === null ? null : `${flags}: ${description}.`;
    const place = originOf(key)?.place ?? null;
    for (const issue of result.error.issues) {
      const text = messageOf(issue, flags === null ? pathOf(key, issue) : nameOf(flags));
      problems.add(place === null ? text : `${text} (${place})`, hintOf(issue) ?? meaning);
    }
    const otherwise = type.safeParse(undefined);
    return [key, otherwise.success ? otherwise.data : repeatable ? [] : ''];
  });
  return Object.fromEntries(resolved) as ResolvedOptions<Shape>;
}

/** The same without cross-checks. @throws AppError OPTION_INVALID listing every problem */
export function resolveOptions<Shape extends OptionShape>(
  shape: Shape,
  asked: Asked<Shape>,
  problems = new Problems(),
): ResolvedOptions<Shape> {
  const resolved = readOptions(shape, asked, problems);
  problems.throwIfAny();
  return resolved;
}

/** The problem text, to follow the name of the place. */
export function problemOf({ message, ...issue }: z.core.$ZodIssue): string {
  const what = detailOf(issue).what;
  return what !== undefined && message.startsWith(`${what}: `) ? message.slice(what.length + 2) : message;
}

const EMPTY = 'the list is empty';

function asIs(given: string): string {
  return given;
}

/** `--max-disk` from `--max-disk <size>`, for messages. */
function nameOf(flags: string): string {
  return longNamesOf(flags)[0] ?? flags;
}

/** YAML reads `2` as a number, a flag as text. Both mean the same. */
function scalar(what: string) {
  return z.union([z.string(), z.number()], {
    error: ({ input }) => (input === undefined ? `${what} is missing` : undefined),
  });
}

function described<Output, Input>(
  type: z.ZodType<Output, Input>,
  stated: Pick<OptionTexts, 'flags' | 'description'> & Partial<OptionTexts>,
): z.ZodType<Output, Input> {
  const texts = {
    repeatable: false,
    default: null,
    group: null,
    decides: null,
    ofOneRun: false,
    ...stated,
  };
  const { description, default: initial } = texts;
  // Our own code applies a list's default, so the JSON Schema needs it stated.
  const meta = Array.isArray(initial) ? { description, default: initial } : { description };
  const withMeta = type.meta(meta);
  OPTION_TEXTS.add(withMeta, texts);
  return withMeta;
}

/** A parser as a zod transform. Refusals become issues with the parser's message and hint. */
function reading<Value>(what: string, parse: OptionParser<Value>) {
  return (stated: Scalar, context: z.RefinementCtx): Value => {
    try {
      return parse(String(stated), what);
    } catch (thrown) {
      if (!(thrown instanceof AppError) || thrown.code !== 'OPTION_INVALID') throw thrown;
      context.addIssue({ code: 'custom', message: thrown.message, params: { what, hint: thrown.hint } });
      return z.NEVER;
    }
  };
}

/** The name of a file, as a part. */
export const fileName: OptionParser<string> = notEmpty('file', asIs);

function notEmpty<Value>(kind: string, parse: OptionParser<Value>): OptionParser<Value> {
  return (given, what) => {
    if (given !== '') return parse(given, what);
    throw new AppError('OPTION_INVALID', `${what}: the name of the ${kind} is empty`, {
      hint: 'Is a variable in the command line set?',
    });
  };
}

interface IssueDetail {
  readonly what?: string;
  readonly hint?: string | null;
}

function detailOf(issue: object): IssueDetail {
  return 'params' in issue ? (issue.params as IssueDetail) : {};
}

/** Messages of parsers, and of missing values, already name the option. */
function messageOf(issue: z.core.$ZodIssue, name: string): string {
  const isNamed = detailOf(issue).what !== undefined || issue.message.startsWith(name);
  return isNamed ? issue.message : `${name}: ${issue.message}`;
}

function hintOf(issue: z.core.$ZodIssue): string | null {
  return detailOf(issue).hint ?? null;
}

/** `routes[1].path` */
function pathOf(key: string, { path }: z.core.$ZodIssue): string {
  return path.reduce<string>(
    (name, step) => (typeof step === 'number' ? `${name}[${step}]` : `${name}.${String(step)}`),
    key,
  );
}
