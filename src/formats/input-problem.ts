import { AppError } from '../core/errors.ts';

/** What is wrong with an input file, before it is known how the file is called. */
export class InputProblem extends Error {
  /** From 1; null when it concerns the file as a whole. */
  readonly line: number | null;
  readonly hint: string | null;

  constructor(reason: string, options: { line?: number | null; hint?: string; cause?: unknown } = {}) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'InputProblem';
    this.line = options.line ?? null;
    this.hint = options.hint ?? null;
  }

  /** The same problem, placed on a line unless it names one already. */
  at(line: number): InputProblem {
    return this.line === null ? this.#copy(this.message, line) : this;
  }

  /** The same problem of the whole file (a gzip cut short), with the last line that was read before it. */
  after(line: number): InputProblem {
    return this.line !== null || line === 0 ? this : this.#copy(`${this.message} (after line ${line})`, null);
  }

  /** The error the user is told: file, line, reason, way out. */
  toAppError(file: string): AppError {
    const place = this.line === null ? file : `${file}, line ${this.line}`;
    const hint = this.hint === null ? {} : { hint: this.hint };
    return new AppError('INPUT_INVALID', `${place}: ${this.message}`, { cause: this, ...hint });
  }

  #copy(reason: string, line: number | null): InputProblem {
    const hint = this.hint === null ? {} : { hint: this.hint };
    return new InputProblem(reason, { line, cause: this, ...hint });
  }
}

/** For a file that is something else than was said. */
export const OTHER_FORMAT = 'Name a file of this format; reprise import --help lists those that can be read.';
/** For a file in which there is nothing to import. */
export const NOTHING_IN_IT = 'Look at what wrote it: there is nothing in it to make a capture of.';

/** A piece of the input as it may be shown: quoted, and short whatever it is. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);
}
