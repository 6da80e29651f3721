import { AppError, type Problems } from '../core/errors.ts';
import { type BodyChangeOptions, PIN_MODES } from './body-changes.ts';
import { CANCEL_POLICIES, type CancelPolicy } from './expected-answer.ts';

/** What was asked for about answers. */
export interface RawAnswerOptions {
  readonly cancels?: string | undefined;
  /** `true` where the flag stands alone. */
  readonly pinOutputLength?: string | boolean | undefined;
  readonly requestUsage?: boolean | undefined;
}

export const ANSWER_DEFAULTS = Object.freeze({ cancels: 'replay', pinOutputLength: 'limit' });

export interface AnswerOptions extends BodyChangeOptions {
  readonly cancels: CancelPolicy;
}

export function resolveAnswerOptions(raw: RawAnswerOptions, problems: Problems): AnswerOptions {
  const { pinOutputLength: pin } = raw;
  const mode = pin === true ? ANSWER_DEFAULTS.pinOutputLength : pin;
  return {
    cancels: problems.attempt(
      () => oneOf(CANCEL_POLICIES, raw.cancels ?? ANSWER_DEFAULTS.cancels, '--cancels'),
      'replay',
    ),
    pinOutputLength:
      mode === undefined || mode === false
        ? null
        : problems.attempt(() => oneOf(PIN_MODES, mode, '--pin-output-length'), null),
    requestUsage: raw.requestUsage ?? false,
  };
}

function oneOf<T extends string>(known: readonly T[], text: string, flag: string): T {
  const found = known.find((each) => each === text);
  if (found !== undefined) return found;
  throw new AppError('OPTION_INVALID', `${flag}: ${JSON.stringify(text)} is neither ${known.join(' nor ')}`);
}
