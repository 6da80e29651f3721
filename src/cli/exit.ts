import { CommanderError } from 'commander';
import type { Judgement } from '../analysis/verdict/verdict.ts';
import { AppError, type ErrorCode } from '../core/errors.ts';
import { shownUrl, withShownUrls } from '../core/text.ts';
import type { CapacityDocument } from '../documents/capacity.ts';
import type { ComparisonDocument } from '../documents/comparison.ts';

/** Exit statuses. A command that ends with anything but 0 sets `process.exitCode`. */
export const EXIT = {
  /** Done, PASS, SAME or BETTER. */
  ok: 0,
  unexpected: 1,
  /** The command line, the environment, an input file or the configuration is at fault. */
  usage: 2,
  /** FAIL or WORSE. */
  fail: 3,
  inconclusive: 4,
  /** The target cannot be reached, or a guard stopped the run. */
  unreachable: 5,
  sigint: 130,
  sigterm: 143,
} as const;
export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** The exit status of a judged run. Without a verdict, it depends on whether the run is valid. */
export function statusOfVerdict({ verdict, valid }: Pick<Judgement, 'verdict' | 'valid'>): ExitStatus {
  if (verdict === 'FAIL') return EXIT.fail;
  return verdict === 'PASS' || (verdict === null && valid) ? EXIT.ok : EXIT.inconclusive;
}

export function statusOfComparison({ verdict }: Pick<ComparisonDocument, 'verdict'>): ExitStatus {
  if (verdict === 'WORSE') return EXIT.fail;
  return verdict === 'INCONCLUSIVE' ? EXIT.inconclusive : EXIT.ok;
}

/** The exit status of a search. Without an interval it is `unreachable` if the target failed, else `inconclusive`. */
export function statusOfSearch({ endedBy }: Pick<CapacityDocument, 'endedBy'>, isFound: boolean): ExitStatus {
  if (isFound) return EXIT.ok;
  return endedBy === 'target_failed' || endedBy === 'not_ready' ? EXIT.unreachable : EXIT.inconclusive;
}

/** Errors that the user cannot correct on the command line or in a file. All other errors are `usage`. */
const STATUS_OF_CODE: Readonly<Partial<Record<ErrorCode, ExitStatus>>> = {
  TARGET_UNREACHABLE: EXIT.unreachable,
  RECORDER_UNREACHABLE: EXIT.unreachable,
  TRACKER_FAILED: EXIT.unreachable,
  RUN_ABORTED: EXIT.unreachable,
  INTERNAL: EXIT.unexpected,
};

/** The end of a commander message with a suggestion, and messages that quote the user's input. */
const SUGGESTION = /\n\((Did you mean [^\n]*)\)$/;
const UNKNOWN = /^(unknown option ')([\s\S]*)'$/;
const INVALID =
  /^((?:option '[^']*' (?:argument|value)|command-argument value) ')([\s\S]*)('(?: from env '[^']*')? is invalid[\s\S]*)$/;

/** The message for a thrown error, and the exit status of the process. */
export interface Failure {
  readonly status: ExitStatus;
  /** Null if nothing failed: commander also throws to end a command after help and version. */
  readonly message: string | null;
  readonly hint: string | null;
}

/** Turns anything thrown by a command into a message for the user. */
export function failureOf(thrown: unknown): Failure {
  if (thrown instanceof AppError) {
    const { code, message, hint } = thrown;
    return { status: STATUS_OF_CODE[code] ?? EXIT.usage, message, hint };
  }
  if (thrown instanceof CommanderError) return failureOfUsage(thrown);
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return {
    status: EXIT.unexpected,
    message: `unexpected error: ${message}`,
    hint: 'Set REPRISE_DEBUG=1 to see the stack trace, and please report this error.',
  };
}

function failureOfUsage(error: CommanderError): Failure {
  if (error.exitCode === 0) return { status: EXIT.ok, message: null, hint: null };
  // `reprise` alone has already printed its help; there is nothing to add.
  if (error.code === 'commander.help') return { status: EXIT.usage, message: null, hint: null };
  const { message, hint } = shownUsage(error);
  return { status: EXIT.usage, message, hint: hint ?? 'See reprise --help.' };
}

/** What commander says of a command line, without secrets; null without a suggestion of its own. */
export function shownUsage(error: CommanderError): {
  readonly message: string;
  readonly hint: string | null;
} {
  const [text = '', hint = null] = error.message.replace(/^error: /, '').split(SUGGESTION);
  return { message: withShownUrls(text.replace(UNKNOWN, shownUnknown).replace(INVALID, shownInvalid)), hint };
}

/** Hides the value of an unknown flag: it may be a secret header. */
function shownUnknown(whole: string, before: string, flag: string): string {
  const [name = ''] = flag.match(/^[\p{L}\p{N}_-]*=?/u) ?? [];
  return name === flag ? whole : `${before}${name}***'`;
}

/** Hides credentials in a quoted value. `INVALID` matches it as a whole, even with quotes and spaces in it. */
function shownInvalid(whole: string, before: string, value: string, after: string): string {
  return /@|:\/\//.test(value) ? `${before}${shownUrl(value)}${after}` : whole;
}
