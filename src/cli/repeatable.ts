import { Option } from 'commander';

/**
 * An option that may be given several times; its variable holds one value a line. Values of the command line replace those of the configuration
 * file and the default, and never add to them: who states a list states all of it.
 */
export class RepeatableOption extends Option {
  readonly #given = new WeakSet<object>();
  /** A file may not state a list without anything in it. */
  neverEmpty = false;

  constructor(flags: string, description: string) {
    super(flags, `${description}; repeatable`);
    this.argParser((value: string, previous: unknown) => this.#append(value, previous));
  }

  makeNeverEmpty(): this {
    this.neverEmpty = true;
    return this;
  }

  #append(value: string, previous: unknown): readonly string[] {
    const before = Array.isArray(previous) && this.#given.has(previous) ? (previous as string[]) : [];
    const values = [...before, value];
    this.#given.add(values);
    return values;
  }
}
