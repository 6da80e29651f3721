/** Every failure of the tool itself (a failed request is a value, never one of these). */
export const ERROR_CODES = [
  'OPTION_INVALID',
  'INPUT_INVALID',
  'CAPTURE_NOT_FOUND',
  'CAPTURE_EMPTY',
  'CAPTURE_DAMAGED',
  'CAPTURE_ENCRYPTED',
  'SCHEMA_TOO_NEW',
  'OUTPUT_EXISTS',
  'OUTPUT_UNWRITABLE',
  'DISK_QUOTA',
  'LISTEN_FAILED',
  'TARGET_UNREACHABLE',
  'TARGET_FORBIDDEN',
  'RECORDER_UNREACHABLE',
  'RUN_ABORTED',
  'NODE_TOO_OLD',
  'INTERNAL',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * An error the user is told about: what went wrong with which input (`message`) and the way out (`hint`).
 * The command line maps `code` to its exit status; nobody below it exits or prints.
 */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | null;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.hint = options.hint ?? null;
  }
}

/** The text of anything thrown, for messages that wrap a cause. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
