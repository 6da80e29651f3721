import { AppError, reasonOf } from './errors.ts';

/** Collects what is wrong, so that one start shows everything there is to mend. */
export class Problems {
  readonly #messages: string[] = [];
  readonly #hints = new Set<string>();

  add(message: string, hint: string | null = null): void {
    this.#messages.push(message);
    if (hint !== null) this.#hints.add(hint);
  }

  attempt<T>(parse: () => T, otherwise: T): T {
    try {
      return parse();
    } catch (thrown) {
      if (!(thrown instanceof AppError) || thrown.code !== 'OPTION_INVALID') throw thrown;
      this.add(reasonOf(thrown), thrown.hint);
      return otherwise;
    }
  }

  optional<T>(text: string | undefined, parse: (text: string) => T): T | null {
    return text === undefined ? null : this.attempt<T | null>(() => parse(text), null);
  }

  throwIfAny(): void {
    if (this.#messages.length === 0) return;
    const hint = [...this.#hints].join(' ');
    throw new AppError('OPTION_INVALID', this.#messages.join('\n'), hint === '' ? {} : { hint });
  }
}
