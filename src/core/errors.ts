/** Every failure of the tool itself. A failed request is a value, not an error. */
export const ERROR_CODES = [
  'OPTION_INVALID',
  'INPUT_INVALID',
  'CAPTURE_NOT_FOUND',
  'CAPTURE_EMPTY',
  'CAPTURE_DAMAGED',
  'CAPTURE_ENCRYPTED',
  'SCHEMA_TOO_NEW',
  'SCHEMA_TOO_OLD',
  'OUTPUT_EXISTS',
  'OUTPUT_UNWRITABLE',
  'DISK_QUOTA',
  'LISTEN_FAILED',
  'TARGET_UNREACHABLE',
  'TARGET_FORBIDDEN',
  'RECORDER_UNREACHABLE',
  'TRACKER_FAILED',
  'RUN_ABORTED',
  'NODE_TOO_OLD',
  'INTERNAL',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * An error for the user: what failed with which input (`message`) and what to do (`hint`). The command line
 * maps `code` to its exit status; code below it neither exits nor prints.
 */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | null;

  constructor(code: ErrorCode, message: string, options: { hint?: string | null; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.hint = options.hint ?? null;
  }
}

/** The text of any thrown value, for messages that wrap a cause. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/**
 * Where an error of our own came from, without its message, which may quote what a client sent.
 * @returns its class, and the first line of its stack that names a place
 */
export function originOf(thrown: unknown): { readonly error: string; readonly at: string | null } {
  if (!(thrown instanceof Error)) return { error: typeof thrown, at: null };
  // A stack begins with the message.
  const stack = thrown.stack ?? '';
  const begin = stack.indexOf(thrown.message);
  // Without it, an earlier message may stand there.
  if (begin === -1) return { error: thrown.name, at: null };
  const frames = stack.slice(begin + thrown.message.length);
  const at = frames.split('\n').find((line) => /^\s+at /.test(line));
  return { error: thrown.name, at: at?.trim() ?? null };
}

/** Collects problems, so that one start shows all of them. */
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

  optional<T>(text: string | null | undefined, parse: (text: string) => T): T | null {
    return text == null ? null : this.attempt<T | null>(() => parse(text), null);
  }

  throwIfAny(): void {
    if (this.#messages.length === 0) return;
    const hint = [...this.#hints].join(' ');
    throw new AppError('OPTION_INVALID', this.#messages.join('\n'), hint === '' ? {} : { hint });
  }
}

/** Why a body is not stored at all. */
export const BODY_DROP_REASONS = [
  'truncated',
  'not_json',
  'too_deep',
  'too_large',
  'unknown_type',
  'unknown_coding',
  'bad_coding',
  'bad_tensors',
  'bad_event_stream',
  'bad_multipart',
  'bad_form',
  'not_protobuf',
  'unknown_field',
  'failed',
] as const;
export type BodyDropReason = (typeof BODY_DROP_REASONS)[number];

/**
 * A body that cannot be read reliably. Thrown and caught within body redaction, which then drops the body.
 */
export class UnreadableBody extends Error {
  readonly reason: BodyDropReason;

  constructor(reason: BodyDropReason) {
    super(`body cannot be redacted: ${reason}`);
    this.name = 'UnreadableBody';
    this.reason = reason;
  }
}
