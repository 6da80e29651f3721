import { type Clock, systemClock } from '../core/clock.ts';
import { LogCommand, shownJsonText, shownLine, shownText, type Tone, type TonedLine } from '../core/text.ts';

export const LOG_FORMATS = ['pretty', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The part of a stream's interface that printing needs. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const PROGRESS_INTERVAL_NS = 200_000_000;
const CLEAR_LINE = '\r\u001b[2K';
const COLOURS: Readonly<Record<Tone, string>> = {
  good: '\u001b[32m',
  bad: '\u001b[31m',
  warn: '\u001b[33m',
  plain: '',
};
const PLAIN = '\u001b[0m';

/**
 * The only place that prints. stdout gets only the result, so that it can be piped. Notes and progress go to stderr.
 */
export class Terminal {
  readonly #stdout: Output;
  readonly #stderr: Output;
  readonly #clock: Clock;
  readonly #colours: boolean;
  #progressShown = false;
  #progressAtNs = Number.NEGATIVE_INFINITY;

  /** @param noColor the variable NO_COLOR (see no-color.org): any non-empty text turns colours off */
  constructor(stdout: Output, stderr: Output, clock: Clock, noColor = '') {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#clock = clock;
    this.#colours = stdout.isTTY === true && noColor === '';
  }

  /** Whether a progress line can be redrawn in place. If not, callers print an occasional line with `note`. */
  get interactive(): boolean {
    return this.#stderr.isTTY === true;
  }

  /** Result lines, to stdout. They are written in one piece: in a log of both streams, no note is between them. */
  print(...lines: readonly (string | TonedLine)[]): void {
    this.endProgress();
    if (lines.length > 0) this.#stdout.write(lines.map((line) => `${this.#shown(line)}\n`).join(''));
  }

  #shown(line: string | TonedLine): string {
    if (typeof line === 'string') return shownLine(line);
    const text = shownLine(line.text);
    return this.#colours ? `${COLOURS[line.tone]}${text}${PLAIN}` : text;
  }

  /** One JSON document, to stdout. */
  json(document: object): void {
    this.endProgress();
    this.#stdout.write(`${shownJsonText(JSON.stringify(document, null, 2))}\n`);
  }

  /** One JSON document on a line of its own, to stdout, for programs that read the output. */
  jsonLine(document: object): void {
    this.endProgress();
    this.#stdout.write(`${shownJsonText(JSON.stringify(document))}\n`);
  }

  /** A page or table, to stdout. It is not changed, because its producer has escaped it already. */
  document(text: string): void {
    this.endProgress();
    this.#stdout.write(text);
  }

  /** Lines for the person watching, to stderr. */
  note(...lines: readonly (string | LogCommand)[]): void {
    this.endProgress();
    const text = lines.map((line) => (line instanceof LogCommand ? shownText(line.text) : shownLine(line)));
    if (text.length > 0) this.#stderr.write(text.map((line) => `${line}\n`).join(''));
  }

  /**
   * Redraws the progress line, at most five times a second and only on a terminal. Parts that do not fit are left out
   * whole: half of a number would be another number.
   */
  progress(...parts: readonly string[]): void {
    if (!this.interactive) return;
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#progressAtNs < PROGRESS_INTERVAL_NS) return;
    this.#progressAtNs = nowNs;
    this.#progressShown = true;
    const width = this.#stderr.columns ?? 80;
    let [line = '', ...more] = parts.map(shownText);
    for (const part of more) {
      if (line.length + 2 + part.length >= width) break;
      line += `  ${part}`;
    }
    this.#stderr.write(`${CLEAR_LINE}${line.slice(0, width - 1)}`);
  }

  /** Clears the progress line, so that the next output starts on an empty line. */
  endProgress(): void {
    if (!this.#progressShown) return;
    this.#progressShown = false;
    this.#progressAtNs = Number.NEGATIVE_INFINITY;
    this.#stderr.write(CLEAR_LINE);
  }
}

/** The terminal of this process. */
export const terminal = new Terminal(
  process.stdout,
  process.stderr,
  systemClock,
  process.env['NO_COLOR'] ?? '',
);
